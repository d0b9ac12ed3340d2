"""The slide that results are about: its identity, its levels, its place in the slide's frame of reference."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

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

    Raises
    ------
    InvalidInstance
        When an attribute is missing that every result object must repeat; the message names it.
    """
    raise InvalidInstance("no levels")
