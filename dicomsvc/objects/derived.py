"""Writes images that a model made of a slide, such as virtual stains (PS3.3 A.32.8, C.8.12.4)."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID, VLWholeSlideMicroscopyImageStorage
from pydicom.valuerep import format_number_as_ds

from dicomsvc.errors import ModelFailure
from dicomsvc.objects.colour import srgb_profile
from dicomsvc.objects.common import (
    NOT_VERIFIED,
    code_item,
    common_modules,
    derivation_item,
    derived_uid,
    instance_reference,
)
from dicomsvc.objects.encoding import ByteEncoder, FrameEncoder, JpegEncoder, ShortEncoder
from dicomsvc.objects.levels import Pixels, Strips, Target, write_levels
from dicomsvc.objects.part10 import header
from dicomsvc.objects.provenance import Provenance
from dicomsvc.objects.reduction import Rows
from dicomsvc.objects.source import SourceSlide
from dicomsvc.objects.tiled import Header, Organisation
from dicomsvc.objects.tiled_image import add_full_organisation, add_tiling, shared_groups

SYNTHETIC: Final = "Synthetic image made by a model"
_FULL_SPECTRUM: Final = Code("414298005", "SCT", "Full Spectrum")
_BRIGHTFIELD: Final = Code("111744", "DCM", "Brightfield illumination")


@dataclass(frozen=True, slots=True)
class DerivedChannel:
    """A channel of the image: a picture in colour, or one of several modalities as grey values of one ``colour``."""

    identifier: str
    description: str
    colour: tuple[int, int, int] = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class DerivedImage:
    """What the model makes: RGB of 8 bits in one channel, or grey values of ``bits`` (8 or 16) in one or several.

    ``title`` goes into the derivation's description. ``quality`` is the one of Baseline JPEG, None for no compression;
    16 bits are never compressed.
    """

    title: str
    channels: tuple[DerivedChannel, ...]
    rgb: bool = False
    bits: int = 8
    quality: int | None = 90

    def __post_init__(self) -> None:
        if not self.channels or (self.rgb and (len(self.channels) > 1 or self.bits != 8)) or self.bits not in (8, 16):
            raise ValueError("a derived image is RGB of 8 bits in one channel, or grey of 8 or 16 bits")

    @property
    def compressed(self) -> bool:
        return self.quality is not None and self.bits == 8

    def encoder(self, tile_size: int) -> FrameEncoder:
        """Return what encodes its frames."""
        tile = (tile_size, tile_size)
        if self.bits == 16:
            return ShortEncoder(tile)
        samples = 3 if self.rgb else 1
        return ByteEncoder(tile, samples) if self.quality is None else JpegEncoder(tile, samples, self.quality)


def write_derived_image(
    targets: Sequence[Target],
    source: SourceSlide,
    image: DerivedImage,
    strips: Strips,
    provenance: Provenance,
    *,
    tile_size: int = 256,
    scratch: Path | None = None,
) -> None:
    """Write an image that a model made, one instance for each target, from fine to coarse; coarser levels are means.

    ``strips`` gives rows of ``tile_size`` pixels of the finest target's level, of the image's own type: ``(channels,
    rows, columns)``, or ``(1, rows, columns, 3)`` for RGB.

    Raises
    ------
    ModelFailure
        When a row has another shape than the slide, or another type than the image.
    TooLarge
        When an instance would have more than 4 GB uncompressed.
    InvalidInstance
        When an attribute cannot be written.
    """
    dtype = np.uint16 if image.bits == 16 else np.uint8

    def typed(number: int) -> Rows | None:
        strip = strips(number)
        if strip is None and image.rgb:
            # Where a model saw nothing a slide is white.
            level = source.levels[targets[0].level]
            return np.full((1, min(tile_size, level.rows - number * tile_size), level.columns, 3), 255, dtype)
        if strip is not None and strip.dtype != dtype:
            raise ModelFailure(f"row {number} of tiles is of type {strip.dtype}, not {np.dtype(dtype)}")
        return strip

    pixels = Pixels(
        encoder=image.encoder(tile_size),
        channels=len(image.channels),
        stored_channels=len(image.channels),
        dtype=dtype,
        averaged=lambda rows: rows,
        shown=lambda rows, reduced: rows,
        samples=3 if image.rgb else 1,
    )
    finest = min(target.level for target in targets)
    write_levels(
        targets,
        source,
        typed,
        pixels,
        lambda target: _header(target, source, image, provenance, tile_size, target.level != finest),
        Organisation.FULL,
        scratch,
    )


def _header(
    target: Target,
    source: SourceSlide,
    image: DerivedImage,
    provenance: Provenance,
    tile_size: int,
    resampled: bool,
) -> Header:
    encoder = image.encoder(tile_size)

    def make(numbers: npt.NDArray[np.int64] | None, count: int, length: int) -> bytes:
        ds = _dataset(target, source, image, provenance, tile_size, resampled)
        add_full_organisation(ds, count)
        if image.compressed:
            ratio = count * encoder.frame_bytes / max(1, length)
            _add_lossy_compression(ds, ratio)
        return header(ds, encoder.transfer_syntax_uid)

    return make


def _dataset(
    target: Target, source: SourceSlide, image: DerivedImage, provenance: Provenance, tile_size: int, resampled: bool
) -> Dataset:
    level, identity = source.levels[target.level], target.identity
    uid = str(VLWholeSlideMicroscopyImageStorage)
    ds = common_modules(source, identity, provenance, "SM", uid, referenced=[level])
    # One level, and only one, is not RESAMPLED: readers take that for the base of the pyramid.
    ds.ImageType = ["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED" if resampled else "NONE"]
    ds.AcquisitionUID = UID(derived_uid("acquisition", identity.series_instance_uid))
    acquired = source.dataset.get("AcquisitionDateTime")
    ds.AcquisitionDateTime = acquired or f"{ds.ContentDate}{ds.ContentTime}"
    text = f"{SYNTHETIC} ({provenance.algorithm.name} {provenance.algorithm.version}): {image.title}. {NOT_VERIFIED}"
    ds.DerivationDescription = text[:1024]
    ds.ImageComments = text[:1024]
    ds.SourceImageSequence = [instance_reference(level)]
    add_tiling(ds, source, level, (tile_size, tile_size))
    _add_image(ds, source, image)
    ds.ImagedVolumeWidth = level.columns * level.pixel_spacing_mm[1]
    ds.ImagedVolumeHeight = level.rows * level.pixel_spacing_mm[0]
    ds.ImagedVolumeDepth = float(source.dataset.get("ImagedVolumeDepth") or 1)
    ds.OpticalPathSequence = [_optical_path(channel, rgb=image.rgb, bits=image.bits) for channel in image.channels]
    ds.NumberOfOpticalPaths = len(image.channels)
    groups = shared_groups(source, level)
    kind = Dataset()
    kind.FrameType = list(ds.ImageType)
    groups.WholeSlideMicroscopyImageFrameTypeSequence = [kind]
    groups.DerivationImageSequence = [derivation_item(level, SYNTHETIC, codes.DCM.ImageProcessing)]
    if len(image.channels) == 1:
        path = Dataset()
        path.OpticalPathIdentifier = image.channels[0].identifier
        groups.OpticalPathIdentificationSequence = [path]
    ds.SharedFunctionalGroupsSequence = [groups]
    return ds


def _add_image(ds: Dataset, source: SourceSlide, image: DerivedImage) -> None:
    ds.AcquisitionContextSequence = []
    ds.VolumetricProperties = "VOLUME"
    ds.SpecimenLabelInImage = "NO"
    ds.BurnedInAnnotation = "NO"
    ds.FocusMethod = source.dataset.get("FocusMethod") or "AUTO"
    ds.ExtendedDepthOfField = "NO"
    ds.SamplesPerPixel = 3 if image.rgb else 1
    if image.rgb:
        ds.PhotometricInterpretation = "YBR_FULL_422" if image.compressed else "RGB"
        ds.PlanarConfiguration = 0
    else:
        ds.PhotometricInterpretation = "MONOCHROME2"
        ds.PresentationLUTShape = "IDENTITY"
        ds.RescaleIntercept, ds.RescaleSlope = "0", "1"
    ds.BitsAllocated = ds.BitsStored = image.bits
    ds.HighBit = image.bits - 1
    ds.PixelRepresentation = 0


def _optical_path(channel: DerivedChannel, *, rgb: bool, bits: int) -> Dataset:
    item = Dataset()
    item.OpticalPathIdentifier = channel.identifier
    item.OpticalPathDescription = f"{SYNTHETIC}: {channel.description}"[:64]
    item.IlluminationTypeCodeSequence = [code_item(_BRIGHTFIELD)]
    item.IlluminationColorCodeSequence = [code_item(_FULL_SPECTRUM)]
    if not rgb and bits == 8:
        item.PaletteColorLookupTableSequence = [_palette(channel.colour)]
    if rgb or bits == 8:
        item.ICCProfile = srgb_profile()
        item.ColorSpace = "SRGB"
    return item


def _palette(colour: tuple[int, int, int]) -> Dataset:
    """Return a table from black to the colour (PS3.3 C.7.9)."""
    item = Dataset()
    for name, full in zip(("Red", "Green", "Blue"), colour, strict=True):
        setattr(item, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        ramp = np.rint(np.arange(256) * (full * 257 / 255)).astype("<u2")
        setattr(item, f"{name}PaletteColorLookupTableData", ramp.tobytes())
    return item


def _add_lossy_compression(ds: Dataset, ratio: float) -> None:
    """Append this compression to those that the slide went through (PS3.3 C.7.6.1.1.5)."""
    before = {}
    for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        value: Any = deepcopy(ds.get(keyword)) or []
        before[keyword] = [value] if isinstance(value, str | float | int) else list(value)
    ds.LossyImageCompression = "01"
    ds.LossyImageCompressionRatio = [*before["LossyImageCompressionRatio"], format_number_as_ds(round(ratio, 3))]
    ds.LossyImageCompressionMethod = [*before["LossyImageCompressionMethod"], "ISO_10918_1"]
