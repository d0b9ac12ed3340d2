"""Crops around what was drawn, at one resolution, with a label for each pixel.

A pixel is known where a thing was drawn, and inside of a region of interest, where all things were drawn: there the
rest is background. Everywhere else nobody looked, and nothing is learned from it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from dicomsvc.ai.training.data.marks import Mark, Role
from dicomsvc.ai.training.data.painting import Inside, box_in, covers, painted
from dicomsvc.ai.training.data.segments import Segment, parts
from dicomsvc.wsi.plan import Grid, Rectangle

_CELLS: Final = 8
_MARGIN: Final = 8
_LARGEST: Final = 1.5
_LEAST_INSIDE: Final = 0.5
_MOST_THINGS: Final = 65_534


class Pixels(Protocol):
    """A slide at the resolution of the crops; `dicomsvc.wsi.resampling.Plane` is one."""

    @property
    def grid(self) -> Grid: ...

    @property
    def mpp(self) -> tuple[float, float]: ...

    def read(self, area: Rectangle) -> npt.NDArray[np.uint8]: ...


@dataclass(frozen=True, slots=True)
class Cutting:
    """Crops have about ``side`` pixels a side, and there are at most ``most`` of one drawing.

    With ``is_complete`` all things in a crop were drawn, also outside of regions. ``rim_um``: so far around a thing is
    background that nobody had to draw.
    """

    side: int = 256
    most: int = 200
    is_complete: bool = False
    rim_um: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """``things`` are numbered from 1, ``classes`` as they were given; both 0 for background. All are as ``pixels``."""

    area: Rectangle
    pixels: npt.NDArray[np.uint8]
    things: npt.NDArray[np.int32]
    classes: npt.NDArray[np.uint8]
    unknown: npt.NDArray[np.bool_]


class Drawn:
    """One drawing over one slide; ``numbers`` are those of the classes, by label."""

    def __init__(
        self, pixels: Pixels, marks: Sequence[Mark], segments: Sequence[Segment], numbers: Mapping[str, int]
    ) -> None:
        self.pixels, self.segments, self.numbers = pixels, segments, numbers
        boxes = [box_in(mark, pixels.grid.scale) for mark in marks]
        # The small ones are painted last, on top.
        order = sorted(range(len(marks)), key=lambda at: -_size(boxes[at]))
        self.marks = [marks[at] for at in order]
        self.boxes = [boxes[at] for at in order]
        corners = [(box.x, box.y, box.right, box.bottom) for box in self.boxes]
        self._corners = np.array(corners, np.int64).reshape(-1, 4)

    @property
    def scale(self) -> tuple[float, float]:
        return self.pixels.grid.scale

    def touching(self, area: Rectangle) -> list[Mark]:
        """Return the marks whose boxes share something with a rectangle of the plane."""
        left, top, right, bottom = self._corners.T
        within = (left < area.right) & (right > area.x) & (top < area.bottom) & (bottom > area.y)
        return [self.marks[at] for at in np.flatnonzero(within)]


def areas(drawn: Drawn, cutting: Cutting) -> tuple[list[Rectangle], int]:
    """Return the rectangles of the plane to be cut out, and how many more there are.

    They are the regions of interest, and tiles around things outside of them; of too many, evenly chosen ones.
    """
    grid = drawn.pixels.grid
    plane, side = Rectangle(0, 0, grid.columns, grid.rows), cutting.side

    def tile(x: int, y: int) -> Rectangle:
        return Rectangle(x * side, y * side, side, side).overlap(plane)

    placed = list(zip(drawn.marks, drawn.boxes, strict=True))
    regions = [_grown(box).overlap(plane) for mark, box in placed if mark.role is Role.REGION]
    pieces = [piece for region in regions for piece in _pieces(region, side)]
    tiles: set[tuple[int, int]] = set()
    for mark, box in placed:
        if mark.role is Role.THING and _share_inside(box, pieces) < _LEAST_INSIDE:
            tiles |= _touched(mark, drawn.scale, grid, side)
    for segment in drawn.segments:
        if segment.role is Role.THING:
            touched = set(segment.tiles(grid, side)) - tiles
            tiles |= {(x, y) for x, y in touched if _reaches_out(segment, grid, tile(x, y), pieces)}
    squares = [tile(x, y) for x, y in sorted(tiles)]
    found = pieces + [square for square in squares if _share_inside(square, pieces) < 1]
    found = [area for area in dict.fromkeys(found) if min(area.width, area.height) > 0]
    chosen = np.linspace(0, len(found) - 1, min(cutting.most, len(found))).round().astype(int)
    return [found[at] for at in chosen], len(found) - len(chosen)


def cut(drawn: Drawn, area: Rectangle, cutting: Cutting) -> Crop | None:
    """Return a crop; None where nothing in it is known."""
    shape = (area.height, area.width)
    things, classes = np.zeros(shape, np.int32), np.zeros(shape, np.uint8)
    known = np.full(shape, cutting.is_complete, np.bool_)
    ignored = np.zeros(shape, np.bool_)
    count = 0
    for segment in drawn.segments:
        inside = segment.inside(drawn.pixels.grid, area)
        if segment.role is Role.THING:
            numbers = parts(inside)
            things[inside] = numbers[inside] + count
            count += int(numbers.max(initial=0))
            classes[inside] = drawn.numbers[segment.label]
        else:
            (known if segment.role is Role.REGION else ignored)[inside] = True
    below, classes_below = things.copy(), classes.copy()
    for mark in drawn.touching(area):
        place, inside = painted(mark, drawn.scale, area)
        part = np.s_[place.y - area.y : place.bottom - area.y, place.x - area.x : place.right - area.x]
        if mark.role is Role.THING:
            count += 1
            things[part][inside] = count
            classes[part][inside] = drawn.numbers[mark.label]
        else:
            (known if mark.role is Role.REGION else ignored)[part][inside] = True
    ignored |= _remnants(below, things, classes == classes_below)
    known |= _around(things > 0, cutting.rim_um, drawn.pixels.mpp)
    unknown = ~known | ignored
    things[unknown], classes[unknown] = 0, 0
    things = _renumbered(things)
    if unknown.all() or int(things.max()) > _MOST_THINGS:
        return None
    return Crop(area, drawn.pixels.read(area), things, classes, unknown)


def _remnants(below: npt.NDArray[np.int32], things: npt.NDArray[np.int32], same: Inside) -> Inside:
    """Return what outlines leave of the parts of a segmentation that they cover by more than half.

    A model writes what it found as both, and they differ by a rim, which is no thing. ``same``: where the class did not
    change.
    """
    covered = np.bincount(below[(things != below) & same], minlength=int(below.max(initial=0)) + 1)
    outlined = 2 * covered > np.bincount(below.ravel())
    outlined[0] = False
    return outlined[below] & (things == below)


def _around(mask: npt.NDArray[np.bool_], rim_um: float, mpp: tuple[float, float]) -> npt.NDArray[np.bool_]:
    """Return a mask grown by a rim."""
    if rim_um <= 0:
        return mask
    size = (2 * round(rim_um / mpp[0]) + 1, 2 * round(rim_um / mpp[1]) + 1)
    grown: Any = cv2.dilate(mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, size))
    return np.asarray(grown > 0)


def _renumbered(things: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Number things without gaps: some lie below others."""
    numbers, anew = np.unique(things, return_inverse=True)
    first = 0 if numbers[0] == 0 else 1
    return np.asarray(anew.reshape(things.shape) + first, np.int32)


def _grown(box: Rectangle) -> Rectangle:
    return Rectangle(box.x - _MARGIN, box.y - _MARGIN, box.width + 2 * _MARGIN, box.height + 2 * _MARGIN)


def _pieces(box: Rectangle, side: int) -> Iterator[Rectangle]:
    """Cut a rectangle evenly into pieces that are no larger than one and a half sides."""
    across, down = (max(1, int(np.ceil(size / (_LARGEST * side)))) for size in (box.width, box.height))
    columns = np.linspace(box.x, box.right, across + 1).round().astype(int).tolist()
    rows = np.linspace(box.y, box.bottom, down + 1).round().astype(int).tolist()
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            yield Rectangle(left, top, right - left, bottom - top)


def _share_inside(box: Rectangle, pieces: Sequence[Rectangle]) -> float:
    """Return how much of a rectangle lies in pieces, those that overlap counted twice."""
    return sum(_size(box.overlap(piece)) for piece in pieces) / max(1, _size(box))


def _reaches_out(segment: Segment, grid: Grid, tile: Rectangle, pieces: Sequence[Rectangle]) -> bool:
    """Whether at least half of what a segment has in a tile lies in no piece."""
    overlaps = [each for each in map(tile.overlap, pieces) if min(each.width, each.height) > 0]
    if not overlaps:
        return True
    inside = segment.inside(grid, tile)
    count = np.count_nonzero(inside)
    for each in overlaps:
        inside[each.y - tile.y : each.bottom - tile.y, each.x - tile.x : each.right - tile.x] = False
    return bool(np.count_nonzero(inside) > _LEAST_INSIDE * count)


def _size(box: Rectangle) -> int:
    return box.width * box.height


def _touched(mark: Mark, scale: tuple[float, float], grid: Grid, side: int) -> set[tuple[int, int]]:
    """Return column and row of the tiles that a mark touches."""
    columns, rows = (-(-size * _CELLS // side) for size in (grid.columns, grid.rows))
    left, top, block = covers(mark, scale, side / _CELLS, columns, rows)
    return {((left + x) // _CELLS, (top + y) // _CELLS) for y, x in np.argwhere(block).tolist()}
