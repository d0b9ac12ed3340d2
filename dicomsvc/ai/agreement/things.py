"""Things that annotators drew, and which of them are the same thing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicomsvc.errors import TooLarge

Mask = npt.NDArray[np.bool_]
LEAST_IOU: Final = 0.5
MOST_PIXELS: Final = 1 << 29
_FINEST_SIDE: Final = 2048


@dataclass(frozen=True, slots=True, eq=False)
class Thing:
    """Pixels of ``mask`` with its corner at ``(row, column)``; ``label`` is its class, empty where none is told."""

    row: int
    column: int
    mask: Mask
    label: str = ""

    @property
    def area(self) -> int:
        return int(np.count_nonzero(self.mask))


Drawing = Sequence[Thing]
"""What one annotator drew."""


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Drawings of the same thing, by the number of the annotator."""

    drawn: Mapping[int, Thing]

    def labels(self, annotators: int) -> list[str | None]:
        """Return what each annotator says it is; None who did not draw it."""
        return [self.drawn[each].label if each in self.drawn else None for each in range(annotators)]


def things_of(labels: npt.NDArray[np.integer[Any]], classes: npt.NDArray[np.integer[Any]] | None = None) -> list[Thing]:
    """Return the things of a label image; with ``classes`` of pixels, each has the one that most of its pixels have."""
    found = []
    for number, place in enumerate(ndimage.find_objects(labels), 1):
        if place is not None:
            mask = labels[place] == number
            label = "" if classes is None else str(np.bincount(classes[place][mask]).argmax())
            found.append(Thing(place[0].start, place[1].start, mask, label))
    return found


Polygon = tuple[npt.NDArray[np.float64], str]
"""Corners ``(n, 2)`` as (x, y), where whole numbers are pixel corners, and a class."""


def things_of_polygons(drawings: Sequence[Sequence[Polygon]]) -> tuple[list[list[Thing]], float]:
    """Return polygons of several annotators as pixels, and the side of such a pixel in the polygons' units.

    Pixels are 1 unit, or larger where the largest polygon would have more than 2,048 of them along a side.

    Raises
    ------
    TooLarge
        When they would be too many pixels all the same.
    """
    spans = [np.ptp(points, axis=0).max() for drawing in drawings for points, _ in drawing if len(points)]
    pixel = max(1.0, max(spans, default=1.0) / _FINEST_SIDE)
    total = 0
    things: list[list[Thing]] = []
    for drawing in drawings:
        things.append([])
        for points, label in drawing:
            thing = _filled(points / pixel, label)
            if thing is not None:
                total += thing.mask.size
                things[-1].append(thing)
            if total > MOST_PIXELS:
                raise TooLarge("the annotations are too large to be compared at once; choose a class or a region")
    return things, pixel


def _filled(points: npt.NDArray[np.float64], label: str) -> Thing | None:
    """Return a polygon as the pixels whose centre is inside, at least one; None for fewer than three corners."""
    if len(points) < 3 or not np.isfinite(points).all():
        return None
    first = np.floor(points.min(axis=0)).astype(int)
    columns, rows = np.maximum(np.ceil(points.max(axis=0)).astype(int) - first, 1)
    picture = np.zeros((rows, columns), np.uint8)
    # OpenCV's places are pixel centres, and it fills what its outline touches: half a pixel less is about the centres.
    inner = np.rint((points - first - 0.5) * 256).astype(np.int32)
    cv2.fillPoly(picture, [inner], 1, cv2.LINE_8, 8)
    if not picture.any():
        picture[rows // 2, columns // 2] = 1
    return Thing(int(first[1]), int(first[0]), picture.astype(np.bool_), label)


def overlaps(one: Drawing, other: Drawing) -> Iterator[tuple[int, int, float]]:
    """Yield number, number and intersection over union of all pairs that share pixels."""
    if not one or not other:
        return
    boxes = np.array([_box(thing) for thing in other])
    areas = [thing.area for thing in other]
    for number, thing in enumerate(one):
        top, left, bottom, right = _box(thing)
        near = (boxes[:, 0] < bottom) & (boxes[:, 2] > top) & (boxes[:, 1] < right) & (boxes[:, 3] > left)
        for at in np.flatnonzero(near).tolist():
            both = _shared(thing, other[at])
            if both:
                yield number, at, both / (thing.area + areas[at] - both)


def groups(drawings: Sequence[Drawing], least_iou: float = LEAST_IOU) -> list[Group]:
    """Return which drawings are of the same thing: pairs of two annotators that overlap enough, the best first.

    Nobody is in a group twice; what nobody else drew is a group of one.
    """
    pairs = [
        (-iou, (one, first), (other, second))
        for one in range(len(drawings))
        for other in range(one + 1, len(drawings))
        for first, second, iou in overlaps(drawings[one], drawings[other])
        if iou >= least_iou
    ]
    member = {(who, at): {who: thing} for who, drawing in enumerate(drawings) for at, thing in enumerate(drawing)}
    for _, first, second in sorted(pairs, key=lambda pair: pair[0]):
        mine, theirs = member[first], member[second]
        if mine is not theirs and not mine.keys() & theirs.keys():
            mine.update(theirs)
            for place in [place for place, group in member.items() if group is theirs] if len(theirs) > 1 else [second]:
                member[place] = mine
    return [Group(dict(sorted(each.items()))) for each in {id(group): group for group in member.values()}.values()]


def _box(thing: Thing) -> tuple[int, int, int, int]:
    rows, columns = thing.mask.shape
    return thing.row, thing.column, thing.row + rows, thing.column + columns


def _shared(one: Thing, other: Thing) -> int:
    first, second = _box(one), _box(other)
    top, left = max(first[0], second[0]), max(first[1], second[1])
    bottom, right = min(first[2], second[2]), min(first[3], second[3])
    mine, theirs = (
        thing.mask[top - thing.row : bottom - thing.row, left - thing.column : right - thing.column]
        for thing in (one, other)
    )
    return int(np.count_nonzero(mine & theirs))
