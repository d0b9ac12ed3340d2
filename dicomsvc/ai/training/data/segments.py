"""Segments of stored segmentations as pixels of the plane that crops are cut from (PS3.3 A.51)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from pydicom.sr.coding import Code

from dicomsvc.ai.overlay.layers import PlacedImage, Pyramid
from dicomsvc.ai.overlay.stored import segment_values
from dicomsvc.ai.overlay.view import SlidePlane, View
from dicomsvc.ai.training.data.marks import Role, role_of
from dicomsvc.wsi.attributes import Dataset, item, text
from dicomsvc.wsi.image import StoredImage
from dicomsvc.wsi.plan import Grid, Rectangle

_CELLS: Final = 8
"""A tile is looked at in so many cells each way when it is decided whether a segment lies there."""


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """One class of a segmentation. ``generation`` is Segment Algorithm Type; ``threshold`` a share of 1."""

    label: str
    code: Code | None
    role: Role
    generation: str
    pyramid: Pyramid
    threshold: float

    def inside(self, grid: Grid, area: Rectangle) -> npt.NDArray[np.bool_]:
        """Return which pixels of a rectangle of the plane belong to it, ``(rows, columns)``."""
        step = (float(grid.step[0]), float(grid.step[1]))
        view = View(area.x * step[0], area.y * step[1], step, area.width, area.height)
        found: npt.NDArray[np.bool_] = self.pyramid.read(view) >= self.threshold
        return found

    def tiles(self, grid: Grid, side: int) -> Iterator[tuple[int, int]]:
        """Yield column and row of the tiles of ``side`` plane pixels that it touches, on the grid from (0, 0)."""
        columns = -(-grid.columns // side)
        cell = (float(grid.step[0]) * side / _CELLS, float(grid.step[1]) * side / _CELLS)
        for row in range(-(-grid.rows // side)):
            view = View(0.0, row * _CELLS * cell[1], cell, columns * _CELLS, _CELLS)
            shares = self.pyramid.read(view).reshape(_CELLS, columns, _CELLS).max(axis=(0, 2))
            yield from ((int(column), row) for column in np.flatnonzero(shares > 0))


def segments_of(levels: Sequence[StoredImage], plane: SlidePlane, threshold: float) -> list[Segment]:
    """Return the segments of one segmentation, given as the levels of its pyramid.

    ``threshold`` is the share from which on a pixel of a FRACTIONAL segmentation, or one that is made smaller, counts.
    """
    ordered = sorted(levels, key=lambda image: -image.columns * image.rows)
    placed = tuple(PlacedImage(image, plane.placing(image)) for image in ordered)
    found = []
    for segment, value, channel in segment_values(ordered[0].dataset):
        code = _code(segment)
        label = text(segment, "00620005") or (code.meaning if code else "")
        pyramid = Pyramid(placed, value, channel)
        found.append(Segment(label, code, role_of(label, code), text(segment, "00620008"), pyramid, threshold))
    return found


def parts(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Return connected parts, numbered from 1: what touches is one thing, as a segmentation does not tell more."""
    _count, numbers = cv2.connectedComponents(inside.astype(np.uint8), connectivity=4)
    return np.asarray(numbers, np.int32)


def _code(segment: Dataset) -> Code | None:
    """Return Segmented Property Type."""
    kind = item(segment, "0062000F")
    value = text(kind, "00080100") or text(kind, "00080119")
    return Code(value, text(kind, "00080102"), text(kind, "00080104") or value) if value else None
