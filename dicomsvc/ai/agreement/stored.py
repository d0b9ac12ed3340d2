"""What several people drew on a stored slide, compared: reports, bulk annotations and segmentations."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from dicomsvc.ai.agreement.comparing import PixelTally, RatingsReport, ThingsReport, ThingsTally
from dicomsvc.ai.agreement.things import LEAST_IOU, things_of_marks
from dicomsvc.ai.overlay.view import View
from dicomsvc.ai.training.data.choice import Choice, LeftOut, Origin
from dicomsvc.ai.training.data.marks import Mark, Role
from dicomsvc.ai.training.data.painting import painted
from dicomsvc.ai.training.data.stored import Drawing, DrawnSlide, read_study
from dicomsvc.errors import Conflict, TooLarge
from dicomsvc.store import Store
from dicomsvc.wsi.plan import Rectangle

VOTE: Final = "Majority vote"
"""Content Creator's Name of a consensus, which is nobody's own drawing."""
MOST_THINGS: Final = 50_000
MOST_ANNOTATORS: Final = 50
_MOST_CLASSES: Final = 100
_RASTER_SIDE: Final = 1024
_BLOCKS: Final = 8
_UNKNOWN: Final = -1


@dataclass(frozen=True, slots=True)
class Question:
    """What is compared: the slides of a study, or one of them; all that people drew, or some people, or some classes.

    With ``models`` their results count as one more annotator.
    """

    study_instance_uid: str
    series_instance_uid: str | None = None
    annotators: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    models: bool = False
    least_iou: float = LEAST_IOU


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """What several annotators drew on one slide; both tuples are in the same order."""

    slide: DrawnSlide
    annotators: tuple[str, ...]
    drawings: tuple[Drawing, ...]


@dataclass(frozen=True, slots=True)
class SlideReport:
    """``things`` are outlines, compared on pixels of ``pixel_um``; ``areas`` are classes on pixels of ``cell_um``.

    Areas count in the rectangle around all that was drawn; what lies outside of the regions of interest that an
    annotator drew is unknown.
    """

    series_instance_uid: str
    annotators: tuple[str, ...]
    things: ThingsReport | None
    areas: RatingsReport
    pixel_um: float
    cell_um: float
    left_out: dict[str, int]


def compare_stored(store: Store, question: Question) -> list[SlideReport]:
    """Compare what was drawn on each slide of a study.

    Raises
    ------
    NotFound
        When nothing is stored under this UID.
    Conflict
        When fewer than two annotators drew on every slide.
    TooLarge
        When there is more than can be compared while somebody waits.
    """
    left_out = LeftOut()
    return [_report(each, question, left_out) for each in drawn_slides(store, question, left_out)]


def drawn_slides(store: Store, question: Question, left_out: LeftOut) -> list[Drawn]:
    """Return the slides that two annotators or more drew on; see `compare_stored`."""
    origins = set(Origin) if question.models else {Origin.PEOPLE}
    choice = Choice(classes=question.classes, origins=frozenset(origins))
    found = []
    for slide in read_study(store, question.study_instance_uid, choice, left_out):
        if question.series_instance_uid in (None, slide.series_instance_uid):
            named = dict(sorted(_named(slide, question)))
            if len(named) > 1:
                found.append(Drawn(slide, tuple(named), tuple(named.values())))
    if not found:
        raise Conflict("fewer than two annotators drew on a slide of this study, or what they drew could not be read")
    for each in found:
        count = sum(len(drawing.marks) for drawing in each.drawings)
        if count > MOST_THINGS or len(each.annotators) > MOST_ANNOTATORS:
            raise TooLarge(f"{count} outlines are too many to be compared at once; choose annotators or classes")
    return found


def _named(slide: DrawnSlide, question: Question) -> Iterator[tuple[str, Drawing]]:
    for (annotator, origin), drawing in slide.drawings.items():
        name = annotator if origin is Origin.PEOPLE else f"{annotator} ({origin})"
        if annotator.strip("^ ") != VOTE and (not question.annotators or annotator in question.annotators):
            yield name, drawing


def _report(drawn: Drawn, question: Question, left_out: LeftOut) -> SlideReport:
    mpp = sum(drawn.slide.mpp) / 2
    things, pixel = None, 1.0
    if sum(any(mark.role is Role.THING for mark in drawing.marks) for drawing in drawn.drawings) > 1:
        drawings, pixel = things_of_marks([drawing.marks for drawing in drawn.drawings])
        tally = ThingsTally(drawn.annotators, question.least_iou)
        tally.add(drawings)
        things = tally.report()
    areas, cell = _areas(drawn)
    return SlideReport(
        drawn.slide.series_instance_uid,
        drawn.annotators,
        things,
        areas,
        round(pixel * mpp, 4),
        round(cell * mpp, 4),
        dict(left_out.counts),
    )


def _areas(drawn: Drawn) -> tuple[RatingsReport, float]:
    """Return the comparison of what class each place has, and the side of a place in slide pixels."""
    left, top, right, bottom = _extent(drawn)
    cell = max(1.0, max(right - left, bottom - top) / _RASTER_SIDE)
    first = int(np.floor(left / cell)), int(np.floor(top / cell))
    area = Rectangle(*first, int(np.ceil(right / cell)) - first[0], int(np.ceil(bottom / cell)) - first[1])
    found: set[str] = set()
    for drawing in drawn.drawings:
        found |= {mark.label for mark in drawing.marks if mark.role is Role.THING}
        found |= {segment.label for segment in drawing.segments if segment.role is Role.THING}
    labels = sorted(found)
    if len(labels) > _MOST_CLASSES:
        raise TooLarge(f"{len(labels)} classes are too many to be compared; choose some")
    numbers = {label: number for number, label in enumerate(labels, 1)}
    tally = PixelTally(len(drawn.drawings))
    rasters = [_raster(drawing, numbers, area, cell) for drawing in drawn.drawings]
    tally.add_blocks(rasters, max(1, -(-max(area.width, area.height) // _BLOCKS)))
    return tally.report(drawn.annotators, ["background", *labels]), cell


def _extent(drawn: Drawn) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of all that was drawn, within the slide; segments may lie anywhere on it."""
    base = drawn.slide.slide.levels[0]
    if any(drawing.segments for drawing in drawn.drawings):
        return 0.0, 0.0, float(base.columns), float(base.rows)
    boxes = np.array([mark.box for drawing in drawn.drawings for mark in drawing.marks])
    low = np.clip(boxes[:, :2].min(axis=0), 0, (base.columns - 1, base.rows - 1))
    high = np.clip(boxes[:, 2:].max(axis=0), low + 1, (base.columns, base.rows))
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _raster(drawing: Drawing, numbers: dict[str, int], area: Rectangle, cell: float) -> npt.NDArray[np.int16]:
    raster = np.zeros((area.height, area.width), np.int16)
    marks = {role: [mark for mark in drawing.marks if mark.role is role] for role in Role}
    if marks[Role.REGION]:
        raster[:] = _UNKNOWN
        _paint(raster, marks[Role.REGION], [0] * len(marks[Role.REGION]), area, cell)
    view = View(area.x * cell, area.y * cell, (cell, cell), area.width, area.height)
    for segment in drawing.segments:
        if segment.role is Role.THING:
            raster[segment.pyramid.read(view) >= segment.threshold] = numbers[segment.label]
    _paint(raster, marks[Role.THING], [numbers[mark.label] for mark in marks[Role.THING]], area, cell)
    _paint(raster, marks[Role.IGNORED], [_UNKNOWN] * len(marks[Role.IGNORED]), area, cell)
    return raster


def _paint(
    raster: npt.NDArray[np.int16], marks: Sequence[Mark], values: Sequence[int], area: Rectangle, cell: float
) -> None:
    for mark, value in zip(marks, values, strict=True):
        place, inside = painted(mark, (1 / cell, 1 / cell), area)
        if inside.any():
            rows = slice(place.y - area.y, place.y - area.y + inside.shape[0])
            raster[rows, place.x - area.x : place.x - area.x + inside.shape[1]][inside] = value
