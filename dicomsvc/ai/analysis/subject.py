"""The slide that an analysis looks at, as both reader of pixels and source of results."""

from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import VLWholeSlideMicroscopyImageStorage

from dicomsvc.errors import UnfitSlide
from dicomsvc.objects.source import SourceSlide, source_slide
from dicomsvc.store import Store
from dicomsvc.wsi.image import StoredImage
from dicomsvc.wsi.slide import Slide, open_slide

_PER_FRAME = "52009230"


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """``slide.levels`` and ``source.levels`` are the same levels in the same order."""

    slide: Slide
    source: SourceSlide

    @property
    def columns(self) -> int:
        return self.slide.levels[0].columns

    @property
    def rows(self) -> int:
        return self.slide.levels[0].rows

    @property
    def mpp(self) -> tuple[float, float]:
        """Micrometres a slide pixel, (x, y)."""
        row_mm, column_mm = self.slide.levels[0].pixel_spacing_mm
        return column_mm * 1000, row_mm * 1000


def open_subject(store: Store, study_instance_uid: str, series_instance_uid: str) -> Subject:
    """Open a stored slide.

    Raises
    ------
    NotFound
        When nothing is stored under these UIDs.
    UnfitSlide
        When the series is no slide, or its pixel spacing is not known.
    InvalidInstance
        When it lacks what every result object must repeat.
    """
    slide = open_slide(store, study_instance_uid, series_instance_uid)
    if not slide.levels or slide.levels[0].record.sop_class_uid != VLWholeSlideMicroscopyImageStorage:
        raise UnfitSlide(f"series {series_instance_uid} is no slide")
    if not all(slide.levels[0].pixel_spacing_mm):
        raise UnfitSlide(
            f"series {series_instance_uid} has no pixel spacing; convert it again with mpp, its micrometres a pixel"
        )
    source = source_slide([_dataset(level) for level in slide.levels])
    return Subject(slide, source)


def _dataset(image: StoredImage) -> Dataset:
    document = dict(image.dataset)
    groups = document.get(_PER_FRAME, {}).get("Value")
    if groups:
        # One of what may be a million items tells the pixel spacing.
        document[_PER_FRAME] = {"vr": "SQ", "Value": groups[:1]}
    return Dataset.from_json(document, bulk_data_uri_handler=_no_bulk_data)


def _no_bulk_data(tag: str, vr: str, uri: str) -> Any:
    """Leave bulk data (ICC profiles, private blocks) out: no result object repeats it."""
    return None
