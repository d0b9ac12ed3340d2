"""Writes parametric maps of slides: a real value a pixel, 32 bit floating point (PS3.3 A.75, C.8.32)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian, ParametricMapStorage
from pydicom.valuerep import format_number_as_ds

from dicomsvc.errors import InvalidInstance
from dicomsvc.objects.common import (
    NOT_VERIFIED,
    code_item,
    common_modules,
    content_identification,
    derivation_item,
    instance_reference,
)
from dicomsvc.objects.encoding import FloatEncoder
from dicomsvc.objects.levels import Pixels, Strips, Target, write_levels
from dicomsvc.objects.part10 import header
from dicomsvc.objects.provenance import Provenance
from dicomsvc.objects.reduction import Rows
from dicomsvc.objects.source import SourceLevel, SourceSlide
from dicomsvc.objects.tiled import Header, Organisation
from dicomsvc.objects.tiled_image import add_full_organisation, add_tiling, shared_groups

_IMAGE_TYPE = ("DERIVED", "PRIMARY", "VOLUME", "QUANTITY")
_UNITLESS = Code("1", "UCUM", "no units")


@dataclass(frozen=True, slots=True)
class MapQuantity:
    """What the values of a map are.

    ``label`` (16 characters) and ``explanation`` are for people; ``units`` a UCUM code; ``minimum`` and ``maximum``
    bound the values and are the window that the map is first shown with.
    """

    label: str
    explanation: str
    quantity: Code
    minimum: float = 0.0
    maximum: float = 1.0
    units: Code = _UNITLESS


def write_parametric_map(
    targets: Sequence[Target],
    source: SourceSlide,
    quantity: MapQuantity,
    strips: Strips,
    provenance: Provenance,
    *,
    tile_size: int = 256,
    scratch: Path | None = None,
) -> None:
    """Write a map, one instance for each target, from fine to coarse; coarser levels are means.

    ``strips`` gives rows of ``tile_size`` pixels of the finest target's level, ``(1, rows, columns)``.

    Raises
    ------
    ModelFailure
        When a row has another shape than the slide, or values that are no numbers.
    TooLarge
        When an instance would have more than 4 GB: choose a coarser level.
    InvalidInstance
        When an attribute cannot be written, or the bounds are no interval.
    """
    if not quantity.minimum < quantity.maximum:
        raise InvalidInstance("the bounds of a parametric map are no interval")
    pixels = Pixels(
        encoder=FloatEncoder((tile_size, tile_size)),
        channels=1,
        stored_channels=1,
        dtype=np.float32,
        averaged=_floats,
        shown=lambda rows, reduced: _floats(rows),
    )
    write_levels(
        targets,
        source,
        strips,
        pixels,
        lambda target: _header(target, source, quantity, provenance, tile_size),
        Organisation.FULL,
        scratch,
    )


def _floats(rows: Rows) -> Rows:
    return rows.astype(np.float32, copy=False)


def _header(
    target: Target, source: SourceSlide, quantity: MapQuantity, provenance: Provenance, tile_size: int
) -> Header:
    def make(numbers: npt.NDArray[np.int64] | None, count: int, length: int) -> bytes:
        ds = _dataset(target, source, quantity, provenance, tile_size)
        add_full_organisation(ds, count)
        return header(ds, ExplicitVRLittleEndian)

    return make


def _dataset(
    target: Target, source: SourceSlide, quantity: MapQuantity, provenance: Provenance, tile_size: int
) -> Dataset:
    level = source.levels[target.level]
    ds = common_modules(source, target.identity, provenance, "OT", ParametricMapStorage, referenced=[level])
    ds.ImageType = list(_IMAGE_TYPE)
    ds.ContentQualification = "RESEARCH"
    ds.PixelPresentation = "MONOCHROME"
    ds.SourceImageSequence = [instance_reference(level)]
    ds.DerivationDescription = NOT_VERIFIED
    content_identification(ds, target.identity, provenance)
    add_tiling(ds, source, level, (tile_size, tile_size))
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated = 32
    ds.BurnedInAnnotation = "NO"
    ds.RecognizableVisualFeatures = "NO"
    ds.PresentationLUTShape = "IDENTITY"
    ds.AcquisitionContextSequence = []
    ds.SharedFunctionalGroupsSequence = [_groups(source, level, quantity)]
    return ds


def _groups(source: SourceSlide, level: SourceLevel, quantity: MapQuantity) -> Dataset:
    groups = shared_groups(source, level)
    groups.DerivationImageSequence = [derivation_item(level, NOT_VERIFIED, codes.DCM.ImageProcessing)]
    kind = Dataset()
    kind.FrameType = list(_IMAGE_TYPE)
    groups.ParametricMapFrameTypeSequence = [kind]
    window = Dataset()
    window.WindowCenter = format_number_as_ds((quantity.minimum + quantity.maximum) / 2)
    window.WindowWidth = format_number_as_ds(quantity.maximum - quantity.minimum)
    # The width of a linear window is at least 1 (PS3.3 C.11.2.1.2.1); shares and densities need less.
    window.VOILUTFunction = "LINEAR_EXACT"
    groups.FrameVOILUTSequence = [window]
    identity = Dataset()
    identity.RescaleIntercept, identity.RescaleSlope, identity.RescaleType = "0", "1", "US"
    groups.PixelValueTransformationSequence = [identity]
    groups.RealWorldValueMappingSequence = [_real_world_values(quantity)]
    return groups


def _real_world_values(quantity: MapQuantity) -> Dataset:
    """Return a Real World Value Mapping item: stored values are the real ones (PS3.3 C.7.6.16.2.11)."""
    meaning = Dataset()
    meaning.ValueType = "CODE"
    meaning.ConceptNameCodeSequence = [code_item(codes.SCT.Quantity)]
    meaning.ConceptCodeSequence = [code_item(quantity.quantity)]
    item = Dataset()
    item.LUTExplanation = quantity.explanation
    item.LUTLabel = quantity.label
    item.MeasurementUnitsCodeSequence = [code_item(quantity.units)]
    item.QuantityDefinitionSequence = [meaning]
    item.DoubleFloatRealWorldValueFirstValueMapped = float(quantity.minimum)
    item.DoubleFloatRealWorldValueLastValueMapped = float(quantity.maximum)
    item.RealWorldValueIntercept, item.RealWorldValueSlope = 0.0, 1.0
    return item
