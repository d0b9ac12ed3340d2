"""Coarser marks out of pixel masks: for each nucleus an ellipse or a box, as an annotator would draw it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Mask = npt.NDArray[np.bool_]
LabelImage = npt.NDArray[np.integer[Any]]
_LEAST_VARIANCE: Final = 1 / 12
"""Of a line one pixel wide."""


class Granularity(StrEnum):
    """What is drawn for a nucleus."""

    PIXEL = "pixel"
    """Its own pixels."""
    ELLIPSE = "ellipse"
    """The smallest ellipse with the direction and the ratio of axes of its second moments that holds all of it."""
    FITTED_ELLIPSE = "fitted-ellipse"
    """The ellipse with the same second moments; it crosses the outline."""
    BOX = "box"
    """Its bounding box, parallel to the picture's sides."""


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """What is drawn for nucleus ``number``: pixels of ``mask`` whose corner is at ``(row, column)``.

    A mark that reaches beyond the picture is cut off there; ``row`` and ``column`` are never negative.
    """

    number: int
    row: int
    column: int
    mask: Mask

    @property
    def place(self) -> tuple[slice, slice]:
        rows, columns = self.mask.shape
        return slice(self.row, self.row + rows), slice(self.column, self.column + columns)


def marks(labels: LabelImage, granularity: Granularity) -> list[Mark]:
    """Return a mark for each nucleus of a label image, in the order of their numbers."""
    found = []
    for number, place in enumerate(ndimage.find_objects(labels), 1):
        if place is None:
            continue
        mask = labels[place] == number
        row, column = place[0].start, place[1].start
        if granularity is Granularity.BOX:
            mask = np.ones_like(mask)
        elif granularity is not Granularity.PIXEL:
            row, column, mask = _ellipse(mask, row, column, labels.shape, granularity is Granularity.ELLIPSE)
        found.append(Mark(number, row, column, mask))
    return found


def drawn(found: Sequence[Mark], shape: tuple[int, ...], grades: Mapping[int, int] | None = None) -> LabelImage:
    """Return a picture of marks: 1, or their nucleus' grade, in each pixel; the highest where marks overlap."""
    picture = np.zeros(shape, np.uint8)
    for mark in found:
        part = picture[mark.place]
        value = 1 if grades is None else grades[mark.number]
        np.maximum(part, np.where(mark.mask, np.uint8(value), np.uint8(0)), out=part)
    return picture


def _ellipse(mask: Mask, row: int, column: int, shape: tuple[int, ...], enclosing: bool) -> tuple[int, int, Mask]:
    """Return corner and pixels of an ellipse; pixels belong to it when their centre does."""
    places = np.argwhere(mask) + np.array([row, column])
    centre = places.mean(axis=0)
    offsets = places - centre
    spread = offsets.T @ offsets / len(places) + np.eye(2) * _LEAST_VARIANCE
    inverse = np.linalg.inv(spread)
    # In a filled ellipse the second moment along an axis is a quarter of its half-axis squared.
    reach = 4.0
    if enclosing:
        reach = float(np.einsum("ni,ij,nj->n", offsets, inverse, offsets).max()) * (1 + 1e-9)
    half = np.sqrt(reach * np.diag(spread))
    first = np.maximum(np.ceil(centre - half), 0).astype(int)
    last = np.minimum(np.floor(centre + half), np.array(shape) - 1).astype(int)
    rows, columns = np.meshgrid(*(np.arange(a, b + 1) for a, b in zip(first, last, strict=True)), indexing="ij")
    around = np.stack([rows - centre[0], columns - centre[1]], axis=-1)
    inside: Mask = np.einsum("abi,ij,abj->ab", around, inverse, around) <= reach
    if not inside.any():
        return row, column, mask
    return int(first[0]), int(first[1]), inside
