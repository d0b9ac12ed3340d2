"""The slide that results are about: its identity, its levels, its place in the slide's frame of reference."""

import math
from collections.abc import Iterator, Sequence, Set
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import PersonName

from dicomsvc.errors import InvalidInstance


@dataclass(frozen=True, slots=True)
class SourceLevel:
    """One stored VL Whole Slide Microscopy image of the pyramid.

    ``pixel_spacing_mm`` is the distance of rows and of columns; ``origin_mm`` the slide coordinates (x, y) of the
    centre of its top left pixel (Total Pixel Matrix Origin Sequence, PS3.3 C.8.12.4).
    """

    sop_class_uid: str
    sop_instance_uid: str
    columns: int
    rows: int
    tile_columns: int
    tile_rows: int
    pixel_spacing_mm: tuple[float, float]
    origin_mm: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class SourceSlide:
    """A pyramid of one series. ``levels``: the finest first; ``dataset``: the finest one's, without pixel data.

    *Slide pixels* are those of the finest level's total pixel matrix: ``(column, row)``, the top left corner of the
    top left pixel is (0, 0), its centre (0.5, 0.5) (PS3.3 C.10.5, C.37.1).
    """

    study_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str
    container_identifier: str
    image_orientation: tuple[float, float, float, float, float, float]
    levels: tuple[SourceLevel, ...]
    dataset: Dataset

    def to_slide_mm(self, points: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Return slide coordinates (x, y) in mm, shape ``(n, 2)``, of slide pixels (PS3.3 C.8.12.6.1.1)."""
        base = self.levels[0]
        row_mm, column_mm = base.pixel_spacing_mm
        right = np.array(self.image_orientation[0:2]) * column_mm
        down = np.array(self.image_orientation[3:5]) * row_mm
        centres = np.asarray(points, np.float64) - 0.5
        return np.array(base.origin_mm) + centres[:, :1] * right + centres[:, 1:] * down


def source_slide(datasets: Sequence[Dataset]) -> SourceSlide:
    """Describe a pyramid by the data sets (without pixels) of its levels, in any order.

    A level without an origin gets that of another level, else (0, 0): its results still lie right on the slide, as all
    of them are told from the same origin. A slide that does not name its container is named by its series.

    Raises
    ------
    InvalidInstance
        When an attribute is missing that every result object must repeat; the message names it.
    """
    if not datasets:
        raise InvalidInstance("a slide without levels")
    try:
        return _source_slide(datasets)
    except InvalidInstance:
        raise
    except Exception as error:  # noqa: BLE001 - border: values of somebody else's data set
        raise InvalidInstance(f"a level of the slide cannot be read ({type(error).__name__})") from None


def _source_slide(datasets: Sequence[Dataset]) -> SourceSlide:
    ordered = sorted(datasets, key=lambda ds: -_count(ds, "TotalPixelMatrixColumns"))
    origins = [_origin(ds) for ds in ordered]
    known = next((origin for origin in origins if origin is not None), (0.0, 0.0))
    levels = tuple(_level(ds, origin or known) for ds, origin in zip(ordered, origins, strict=True))
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        _only({str(_required(ds, keyword)) for ds in ordered}, keyword)
    named = {str(ds.ContainerIdentifier) for ds in ordered if ds.get("ContainerIdentifier")}
    _only(named, "ContainerIdentifier")
    base = ordered[0]
    orientation = tuple(float(value) for value in _required(base, "ImageOrientationSlide"))
    if len(orientation) != 6:
        raise InvalidInstance(f"instance {base.SOPInstanceUID}: ImageOrientationSlide has not six values")
    return SourceSlide(
        study_instance_uid=str(base.StudyInstanceUID),
        series_instance_uid=str(base.SeriesInstanceUID),
        frame_of_reference_uid=str(base.FrameOfReferenceUID),
        container_identifier=next(iter(named), str(base.SeriesInstanceUID)),
        image_orientation=orientation,
        levels=levels,
        dataset=unicode_header(base),
    )


def _only(values: Set[str], keyword: str) -> None:
    if len(values) > 1:
        raise InvalidInstance(f"the levels of the slide differ in {keyword}")


def _level(ds: Dataset, origin_mm: tuple[float, float]) -> SourceLevel:
    return SourceLevel(
        sop_class_uid=str(_required(ds, "SOPClassUID")),
        sop_instance_uid=str(_required(ds, "SOPInstanceUID")),
        columns=_count(ds, "TotalPixelMatrixColumns"),
        rows=_count(ds, "TotalPixelMatrixRows"),
        tile_columns=_count(ds, "Columns"),
        tile_rows=_count(ds, "Rows"),
        pixel_spacing_mm=_pixel_spacing(ds),
        origin_mm=origin_mm,
    )


def _required(ds: Dataset, keyword: str) -> Any:
    value = ds.get(keyword)
    if value is None or value == "" or (keyword == "ImageOrientationSlide" and not value):
        raise InvalidInstance(f"instance {ds.get('SOPInstanceUID', 'without a UID')}: {keyword} is missing")
    return value


def _count(ds: Dataset, keyword: str) -> int:
    value = int(_required(ds, keyword))
    if value < 1:
        raise InvalidInstance(f"instance {ds.get('SOPInstanceUID', 'without a UID')}: {keyword} is not positive")
    return value


def _functional_groups(ds: Dataset) -> Iterator[Dataset]:
    """Yield the shared functional groups, those of the first frame, and the data set itself (PS3.3 C.7.6.16)."""
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        sequence = ds.get(keyword)
        if sequence:
            yield sequence[0]
    yield ds


def _pixel_spacing(ds: Dataset) -> tuple[float, float]:
    for group in _functional_groups(ds):
        measures = group.get("PixelMeasuresSequence")
        spacing = (measures[0] if measures else group).get("PixelSpacing")
        if spacing and len(spacing) == 2 and all(0 < float(value) < math.inf for value in spacing):
            return float(spacing[0]), float(spacing[1])
    raise InvalidInstance(f"instance {ds.get('SOPInstanceUID', 'without a UID')}: PixelSpacing is missing")


def _origin(ds: Dataset) -> tuple[float, float] | None:
    sequence = ds.get("TotalPixelMatrixOriginSequence")
    if not sequence:
        return None
    x, y = (sequence[0].get(f"{axis}OffsetInSlideCoordinateSystem") for axis in "XY")
    if x is None or y is None or not (math.isfinite(x) and math.isfinite(y)):
        return None
    return float(x), float(y)


def unicode_header(ds: Dataset) -> Dataset:
    """Return a copy in Unicode, without per-frame functional groups and pixels."""
    kept = Dataset()
    for element in ds:
        if element.tag != 0x52009230 and element.tag.group < 0x7FE0:
            kept.add(deepcopy(element))
    for element in kept.iterall():
        # To look at an element is to decode it in the character set that it came in.
        if element.VR == "PN" and element.value:
            names = element.value if isinstance(element.value, MultiValue) else [element.value]
            element.value = [PersonName(str(name), ["utf8"]) for name in names]
    kept.SpecificCharacterSet = "ISO_IR 192"
    return kept
