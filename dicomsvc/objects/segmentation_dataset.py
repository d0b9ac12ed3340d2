"""The data set of a segmentation without its frames (PS3.3 C.8.20.1, C.8.20.2, C.8.20.4)."""

from collections.abc import Sequence
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID, SegmentationStorage

from dicomsvc.errors import InvalidInstance
from dicomsvc.objects.colour import cielab_value
from dicomsvc.objects.common import (
    NOT_VERIFIED,
    algorithm_item,
    code_item,
    common_modules,
    content_identification,
    derivation_item,
    derived_uid,
    instance_reference,
)
from dicomsvc.objects.provenance import FindingClass, Identity, Provenance
from dicomsvc.objects.source import SourceLevel, SourceSlide
from dicomsvc.objects.tiled_image import add_tiling, shared_groups

SEGMENTATION_STORAGE: Final = str(SegmentationStorage)
LABELMAP_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.66.7"
_BACKGROUND: Final = Code("125040", "DCM", "Background")
_MOST_LABELS: Final = 255


def segmentation_dataset(
    source: SourceSlide,
    level: SourceLevel,
    classes: Sequence[FindingClass],
    identity: Identity,
    provenance: Provenance,
    kind: str,
    tile: tuple[int, int],
    overlap: bool | None,
) -> Dataset:
    """Return all but what depends on which frames there are.

    Raises
    ------
    InvalidInstance
        When there are no classes, or more than a label map can number.
    """
    labelmap = kind == "LABELMAP"
    if not classes or (labelmap and len(classes) > _MOST_LABELS):
        raise InvalidInstance(f"{kind} segmentations cannot have {len(classes)} classes")
    sop_class_uid = LABELMAP_STORAGE if labelmap else SEGMENTATION_STORAGE
    ds = common_modules(source, identity, provenance, "SEG", sop_class_uid, referenced=[level])
    ds.ImageType = ["DERIVED", "PRIMARY"]
    ds.SourceImageSequence = [instance_reference(level)]
    ds.DerivationDescription = NOT_VERIFIED
    content_identification(ds, identity, provenance)
    add_tiling(ds, source, level, tile)
    _add_pixel_description(ds, kind)
    ds.SegmentationType = kind
    ds.SegmentsOverlap = "NO" if labelmap else {None: "UNDEFINED", True: "YES", False: "NO"}[overlap]
    series = identity.series_instance_uid
    segments = [_segment(number, found, provenance, series) for number, found in enumerate(classes, 1)]
    ds.SegmentSequence = [_background(provenance), *segments] if labelmap else segments
    groups = shared_groups(source, level)
    groups.DerivationImageSequence = [derivation_item(level, NOT_VERIFIED)]
    ds.SharedFunctionalGroupsSequence = [groups]
    return ds


def add_only_segment(ds: Dataset) -> None:
    """Say in the shared groups that all frames are of segment 1."""
    identification = Dataset()
    identification.ReferencedSegmentNumber = 1
    ds.SharedFunctionalGroupsSequence[0].SegmentIdentificationSequence = [identification]


def _add_pixel_description(ds: Dataset, kind: str) -> None:
    bits = 1 if kind == "BINARY" else 8
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = bits
    ds.HighBit = bits - 1
    ds.PixelRepresentation = 0
    if kind == "FRACTIONAL":
        ds.SegmentationFractionalType = "PROBABILITY"
        ds.MaximumFractionalValue = 255
    if kind == "LABELMAP":
        ds.PixelPaddingValue = 0


def _segment(number: int, found: FindingClass, provenance: Provenance, series_instance_uid: str) -> Dataset:
    item = _described(number, found.label, found.category, found.type, provenance)
    item.SegmentDescription = NOT_VERIFIED
    item.RecommendedDisplayCIELabValue = cielab_value(found.colour)
    # The same in all levels of the pyramid: they show the same thing.
    item.TrackingID = found.label
    item.TrackingUID = UID(derived_uid("segment", series_instance_uid, str(number)))
    return item


def _background(provenance: Provenance) -> Dataset:
    return _described(0, "Background", _BACKGROUND, _BACKGROUND, provenance)


def _described(number: int, label: str, category: Code, kind: Code, provenance: Provenance) -> Dataset:
    item = Dataset()
    item.SegmentNumber = number
    item.SegmentLabel = label
    item.SegmentAlgorithmType = "AUTOMATIC"
    item.SegmentAlgorithmName = provenance.algorithm.name
    item.SegmentationAlgorithmIdentificationSequence = [algorithm_item(provenance.algorithm)]
    item.SegmentedPropertyCategoryCodeSequence = [code_item(category)]
    item.SegmentedPropertyTypeCodeSequence = [code_item(kind)]
    return item
