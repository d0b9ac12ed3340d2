"""Things that annotators drew, and which of them are the same thing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicomsvc.ai.decoding.outlines import outlines
from dicomsvc.ai.training.data.marks import Mark, Role
from dicomsvc.ai.training.data.painting import box_in, painted
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


def things_of_marks(drawings: Sequence[Sequence[Mark]]) -> tuple[list[list[Thing]], float]:
    """Return outlines of several annotators as pixels, and the side of such a pixel in slide pixels.

    Pixels are slide pixels, or larger where the largest outline would have more than 2,048 of them along a side. An
    outline that covers half of no pixel has the one in its middle. Regions of interest and what is marked to be ignored
    are no things.

    Raises
    ------
    TooLarge
        When they would be too many pixels all the same.
    """
    chosen = [[mark for mark in drawing if mark.role is Role.THING] for drawing in drawings]
    spans = [max(right - left, bottom - top) for each in chosen for left, top, right, bottom in (m.box for m in each)]
    pixel = max(1.0, max(spans, default=1.0) / _FINEST_SIDE)
    scale = (1 / pixel, 1 / pixel)
    areas = [box_in(mark, scale) for drawing in chosen for mark in drawing]
    if sum(area.width * area.height for area in areas) > MOST_PIXELS:
        raise TooLarge("the annotations are too large to be compared at once; choose some of their classes")
    things: list[list[Thing]] = []
    for drawing in chosen:
        things.append([])
        for mark in drawing:
            area = box_in(mark, scale)
            _, mask = painted(mark, scale, area)
            if not mask.any():
                mask = np.zeros((max(1, area.height), max(1, area.width)), np.bool_)
                mask[area.height // 2, area.width // 2] = True
            things[-1].append(Thing(area.y, area.x, mask, mark.label))
    return things, pixel


def outline_of(thing: Thing) -> npt.NDArray[np.float64]:
    """Return the outline of a thing's largest part, without its holes, ``(n, 2)`` as (x, y) of pixel corners."""
    rows, columns = thing.mask.shape
    found = next(outlines(thing.mask.astype(np.int32), [(slice(0, rows), slice(0, columns))], [1], 0.0))
    points: npt.NDArray[np.float64] = found.points.astype(np.float64) + np.array([thing.column, thing.row])
    return points


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
    member = {(who, at): {who: at} for who, drawing in enumerate(drawings) for at in range(len(drawing))}
    for _, first, second in sorted(pairs, key=lambda pair: pair[0]):
        mine, theirs = member[first], member[second]
        if not mine.keys() & theirs.keys():
            mine.update(theirs)
            for place in theirs.items():
                member[place] = mine
    found = {id(group): group for group in member.values()}.values()
    return [Group({who: drawings[who][at] for who, at in sorted(group.items())}) for group in found]


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
