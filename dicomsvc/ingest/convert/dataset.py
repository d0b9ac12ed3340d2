"""The data set of one VL Whole Slide Microscopy Image, without its pixel data (PS3.3 A.32.8)."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pydicom import Dataset
from pydicom.uid import VLWholeSlideMicroscopyImageStorage
from pydicom.valuerep import format_number_as_ds

from dicomsvc.ingest.convert.codec import FrameFormat

Flavor = Literal["VOLUME", "LABEL", "OVERVIEW", "THUMBNAIL"]
# The imaged part of a slide of 75 x 25 mm, label aside.
_SLIDE_WIDTH_MM: Final = 25.0
_SLIDE_LENGTH_MM: Final = 50.0
_SECTION_THICKNESS_MM: Final = 0.001
# Rows run along the slide's long axis, away from the label.
DEFAULT_ORIENTATION: Final = (0.0, -1.0, 0.0, -1.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the total pixel matrix begins on the slide, in mm, and the directions of its rows and columns."""

    x_mm: float
    y_mm: float
    orientation: tuple[float, ...] = DEFAULT_ORIENTATION
    z_um: float = 0.0


def centred(width_mm: float, height_mm: float) -> Placement:
    """Place an image of unknown position in the middle of a standard slide."""
    return Placement(_SLIDE_WIDTH_MM / 2 + height_mm / 2, _SLIDE_LENGTH_MM / 2 + width_mm / 2)


@dataclass(frozen=True, slots=True)
class Picture:
    """The geometry and the pixels of one instance; spacing in mm, (column, row)."""

    flavor: Flavor
    resampled: bool
    columns: int
    rows: int
    tile_columns: int
    tile_rows: int
    spacing_mm: tuple[float, float]
    placement: Placement
    samples: int
    bits: int
    frames: int
    format: FrameFormat

    @property
    def image_type(self) -> tuple[str, str, str, str]:
        """Image Type (PS3.3 C.8.12.4.1.1)."""
        if self.resampled:
            return "DERIVED", "PRIMARY", self.flavor, "RESAMPLED"
        return "ORIGINAL", "PRIMARY", self.flavor, "NONE"


@dataclass(frozen=True, slots=True)
class Loss:
    """Lossy steps that the pixels went through, in their order, each with its ratio (PS3.3 C.7.6.1.1.5)."""

    methods: tuple[str, ...] = ()
    ratios: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """UIDs and numbers of one instance."""

    sop_instance_uid: str
    instance_number: int
    pyramid_uid: str | None


def fill(
    common: Dataset,
    identity: Identity,
    picture: Picture,
    optics: Sequence[Dataset],
    loss: Loss,
    acquired: dt.datetime,
) -> Dataset:
    """Make the data set of one instance of a slide: ``common`` holds what all its instances share."""
    ds = Dataset()
    ds.update(common)
    ds.SOPClassUID = VLWholeSlideMicroscopyImageStorage
    ds.SOPInstanceUID = identity.sop_instance_uid
    ds.InstanceNumber = identity.instance_number
    ds.ImageType = list(picture.image_type)
    _image(ds, picture, acquired)
    _pixels(ds, picture, loss)
    _volume(ds, picture)
    ds.OpticalPathSequence = list(optics)
    ds.NumberOfOpticalPaths = len(optics)
    ds.SharedFunctionalGroupsSequence = [_shared(picture, optics)]
    if identity.pyramid_uid is not None:
        ds.PyramidUID = identity.pyramid_uid
    return ds


def _image(ds: Dataset, picture: Picture, acquired: dt.datetime) -> None:
    stamp = acquired.strftime("%Y%m%d%H%M%S")
    ds.AcquisitionDateTime = stamp
    ds.ContentDate, ds.ContentTime = stamp[:8], stamp[8:]
    shows_label = picture.flavor in ("LABEL", "OVERVIEW")
    ds.SpecimenLabelInImage = "YES" if shows_label else "NO"
    # Whoever reads the label reads a name, so that both must be taken for identifying.
    ds.BurnedInAnnotation = "YES" if shows_label else "NO"
    if not shows_label:
        ds.pop("BarcodeValue", None)
        ds.pop("LabelText", None)
    ds.VolumetricProperties = "VOLUME"
    ds.FocusMethod = "AUTO"
    ds.ExtendedDepthOfField = "NO"
    ds.AcquisitionContextSequence = []
    ds.DimensionOrganizationType = "TILED_FULL"


def _pixels(ds: Dataset, picture: Picture, loss: Loss) -> None:
    ds.SamplesPerPixel = picture.samples
    ds.PhotometricInterpretation = picture.format.photometric_interpretation
    if picture.samples > 1:
        ds.PlanarConfiguration = 0
    else:
        # PS3.3 C.8.12.4: required for MONOCHROME2.
        ds.PresentationLUTShape = "IDENTITY"
        ds.RescaleIntercept, ds.RescaleSlope = "0", "1"
    ds.NumberOfFrames = picture.frames
    ds.Rows, ds.Columns = picture.tile_rows, picture.tile_columns
    ds.BitsAllocated = ds.BitsStored = picture.bits
    ds.HighBit = picture.bits - 1
    ds.PixelRepresentation = 0
    ds.LossyImageCompression = "01" if loss.methods else "00"
    if loss.methods:
        ds.LossyImageCompressionRatio = [format_number_as_ds(round(ratio, 3)) for ratio in loss.ratios]
        ds.LossyImageCompressionMethod = list(loss.methods)


def _volume(ds: Dataset, picture: Picture) -> None:
    ds.TotalPixelMatrixColumns, ds.TotalPixelMatrixRows = picture.columns, picture.rows
    ds.TotalPixelMatrixFocalPlanes = 1
    ds.ImagedVolumeWidth = picture.columns * picture.spacing_mm[0]
    ds.ImagedVolumeHeight = picture.rows * picture.spacing_mm[1]
    ds.ImagedVolumeDepth = _SECTION_THICKNESS_MM * 1000
    origin = Dataset()
    origin.XOffsetInSlideCoordinateSystem = format_number_as_ds(float(picture.placement.x_mm))
    origin.YOffsetInSlideCoordinateSystem = format_number_as_ds(float(picture.placement.y_mm))
    ds.TotalPixelMatrixOriginSequence = [origin]
    ds.ImageOrientationSlide = [format_number_as_ds(float(value)) for value in picture.placement.orientation]


def _shared(picture: Picture, optics: Sequence[Dataset]) -> Dataset:
    shared, measures, kind = Dataset(), Dataset(), Dataset()
    # PS3.3 10.7.1.3: distance of rows comes first.
    column_mm, row_mm = picture.spacing_mm
    measures.PixelSpacing = [format_number_as_ds(float(row_mm)), format_number_as_ds(float(column_mm))]
    measures.SliceThickness = format_number_as_ds(_SECTION_THICKNESS_MM)
    kind.FrameType = list(picture.image_type)
    shared.PixelMeasuresSequence = [measures]
    shared.WholeSlideMicroscopyImageFrameTypeSequence = [kind]
    if len(optics) == 1:
        path = Dataset()
        path.OpticalPathIdentifier = optics[0].OpticalPathIdentifier
        shared.OpticalPathIdentificationSequence = [path]
    return shared
