"""Cells as thresholds and people leave them: the model's answer, with the changes laid over it."""

from dataclasses import dataclass, replace
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from dicomsvc.ai.ihc.cells import Answer, Bools, Thresholds, scoring
from dicomsvc.ai.ihc.drawing import Drawing, draw, mask_outline
from dicomsvc.ai.ihc.postprocess import LEAST_VALUE
from dicomsvc.ai.ihc.presets import Compartment, preset_named
from dicomsvc.ai.ihc.regions.edits import AddedCell, Edits, Line
from dicomsvc.ai.ihc.regions.region import Region
from dicomsvc.ai.ihc.scoring import Cells, positive_cells, score
from dicomsvc.errors import BadRequest, Conflict, NotFound

_OD: Final = 2.0 / 255
_CLICKED_UM: Final = 7.0
_MOST_POINTS: Final = 2000
_CORNERS: Final = 16


@dataclass(frozen=True, slots=True, eq=False)
class Review:
    """``answer`` is that of the model's cells, changes done; ``added`` are people's own cells by number."""

    answer: Answer
    added: dict[int, AddedCell]
    edits: Edits
    intensity: dict[str, Any]

    def scoring(self) -> dict[str, Any]:
        """Return the numbers by DeepLIIF's names, and what of them are changes."""
        own = [cell.positive for cell in self.added.values()]
        counted = self.answer.counted
        total = int(counted.sum()) + len(own)
        positive = int((counted & self.answer.positive).sum()) + sum(own)
        return {
            **self.answer.scoring(),
            **scoring(total, positive),
            "num_added": len(own),
            "num_removed": len(self.edits.removed),
            "num_reclassified": len(self.edits.positive),
            "intensity": self.intensity,
        }


def review(region: Region, thresholds: Thresholds, edits: Edits) -> Review:
    """Answer thresholds over a region's cells with people's changes; a change of class goes before any threshold."""
    answer = region.table.answer(thresholds)
    counted, positive = answer.counted.copy(), answer.positive.copy()
    cells = len(region.table)
    gone = [cell - 1 for cell in edits.removed if cell <= cells]
    counted[gone] = False
    preset = preset_named(region.card.marker)
    columns = Cells(positive, region.table.mean_marker * _OD, region.table.ring_marker * _OD)
    if preset.compartment is Compartment.RING and counted.any():
        positive[counted] = positive_cells(columns.chosen(counted), preset)
    for cell, is_positive in edits.positive.items():
        if cell <= cells:
            positive[cell - 1] = is_positive
    added = {
        number: replace(cell, positive=edits.positive.get(number, cell.positive))
        for number, cell in edits.added.items()
        if number not in edits.removed
    }
    columns = replace(columns, positive=positive).chosen(counted)
    document = score(columns, preset).document()
    wanted = ("marker", "compartment", "bins", "h_score", "background_od")
    intensity = {name: document[name] for name in wanted}
    return Review(replace(answer, counted=counted, positive=positive), added, edits, intensity)


def drawing_of(region: Region, seen: Review) -> Drawing:
    """Return the cells as a picture, people's own above the others."""
    drawn = draw(region.found, seen.answer)
    if not seen.added:
        return drawn
    classes, edge = drawn.classes.copy(), drawn.edge.view(np.uint8).copy()
    for cell in seen.added.values():
        points = [np.round(np.array(cell.outline) - 0.5).astype(np.int32)]
        cv2.fillPoly(classes, points, 2 if cell.positive else 1)
        cv2.fillPoly(edge, points, 0)
        cv2.polylines(edge, points, True, 1)
        cv2.polylines(classes, points, True, 2 if cell.positive else 1)
    return Drawing(classes, edge.view(np.bool_))


def addition(
    region: Region,
    seen: Review,
    point: tuple[float, float] | None,
    outline: npt.NDArray[np.float64] | None,
    positive: bool | None,
) -> Line:
    """Return the change that adds a cell by a click or an outline, both in the region's pixels.

    A click on a cell that was removed brings it back; on what the model saw too weakly, takes its outline; elsewhere, a
    circle of 7 um.

    Raises
    ------
    BadRequest
        When the place lies outside, or the outline is none.
    Conflict
        When a cell is there already.
    """
    if outline is None:
        if point is None:
            raise BadRequest("a cell is added by a point or by an outline")
        label, value = _at(region, point)
        if label and label in seen.edits.removed:
            return {"what": "restore", "cell": label}
        if label and seen.answer.counted[label - 1] and value > seen.answer.prob:
            raise Conflict(f"cell {label} is there already")
        for number, cell in seen.added.items():
            if cv2.pointPolygonTest(np.array(cell.outline, np.float32), point, False) >= 0:
                raise Conflict(f"cell {number} is there already")
        outline = _territory_outline(region, label) if label else _circle(region, point)
    _check_outline(region, outline)
    is_positive = _looks_positive(region, outline) if positive is None else positive
    points = np.round(outline, 2).tolist()
    return {"what": "add", "cell": seen.edits.last + 1, "outline": points, "positive": is_positive}


def require_cell(region: Region, edits: Edits, cell: int) -> None:
    """Raise `NotFound` when there is no such cell."""
    if not edits.exists(cell, len(region.table)):
        raise NotFound(f"there is no cell {cell}")


def _at(region: Region, point: tuple[float, float]) -> tuple[int, int]:
    x, y = (int(np.floor(each)) for each in point)
    if not (0 <= x < region.card.columns and 0 <= y < region.card.rows):
        raise BadRequest("the point lies outside of the region")
    return int(region.found.labels[y, x]), int(region.found.value[y, x])


def _territory_outline(region: Region, label: int) -> npt.NDArray[np.float64]:
    x, y, width, height = (int(each) for each in region.table.boxes[label - 1])
    place = (slice(y, y + height), slice(x, x + width))
    least = max(LEAST_VALUE, int(region.table.peak[label - 1]) // 2)
    mask: Bools = (region.found.labels[place] == label) & (region.found.value[place] >= least)
    return np.asarray(mask_outline(mask, (x, y)), np.float64)


def _circle(region: Region, point: tuple[float, float]) -> npt.NDArray[np.float64]:
    angle = np.arange(_CORNERS) * (2 * np.pi / _CORNERS)
    radius = _CLICKED_UM / 2 / region.card.mpp
    circle = np.array(point) + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.asarray(np.clip(circle, 0, (region.card.columns, region.card.rows)), np.float64)


def _check_outline(region: Region, outline: npt.NDArray[np.float64]) -> None:
    if not 3 <= len(outline) <= _MOST_POINTS or not np.isfinite(outline).all():
        raise BadRequest(f"an outline has 3 to {_MOST_POINTS} points")
    if (outline < 0).any() or (outline > (region.card.columns, region.card.rows)).any():
        raise BadRequest("the outline reaches beyond the region")
    if cv2.contourArea(outline.astype(np.float32)) < 1:
        raise BadRequest("the outline encloses nothing")


def _looks_positive(region: Region, outline: npt.NDArray[np.float64]) -> bool:
    """Say what the pixels inside of an outline say."""
    low = np.floor(outline.min(axis=0)).astype(int)
    width, height = np.ceil(outline.max(axis=0)).astype(int) - low + 1
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.round(outline - low - 0.5).astype(np.int32)], 1)
    rows, columns = region.found.value.shape
    place = (slice(low[1], min(rows, low[1] + height)), slice(low[0], min(columns, low[0] + width)))
    inside = mask[: place[0].stop - low[1], : place[1].stop - low[0]].view(np.bool_)
    segmentation = region.maps.segmentation
    return int(segmentation.positive[place][inside].sum()) > int(segmentation.negative[place][inside].sum())
