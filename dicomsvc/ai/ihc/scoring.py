"""Scores cells by their columns: percentage, intensity bins, H-score, Allred.

A cell's intensity is the optical density of its marker above the slide's own background: that of negative nuclei, or of
the tenth of the cells with the least in their rings.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dicomsvc.ai.ihc.presets import Compartment, Preset

Values = npt.NDArray[np.floating[Any]]
Positive = npt.NDArray[np.bool_]
BINS: Final = ("0", "1+", "2+", "3+")
_MOST_BACKGROUND: Final = 0.25
_FEW_NEGATIVES: Final = 10
_ALLRED_PROPORTIONS: Final = (1.0, 10.0, 100 / 3, 200 / 3)
_Z: Final = 1.96


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Columns of cells, ``(n,)`` each: positive by the model, mean marker density in the nucleus and in the ring."""

    positive: Positive
    nuclear_od: Values
    ring_od: Values

    def __len__(self) -> int:
        return len(self.positive)

    def chosen(self, rows: npt.NDArray[np.bool_]) -> "Cells":
        return Cells(self.positive[rows], self.nuclear_od[rows], self.ring_od[rows])


@dataclass(frozen=True, slots=True)
class Score:
    """Numbers of one marker; ``bins`` are cells of 0, 1+, 2+, 3+, ``interval`` the 95 % one of counting (Wilson 1927).

    ``allred`` is proportion and intensity, None where the preset has none.
    """

    preset: Preset
    total: int
    positive: int
    percent_positive: float
    interval: tuple[float, float]
    bins: tuple[int, int, int, int]
    h_score: float
    background_od: float
    category: str = ""
    allred: tuple[int, int] | None = None

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        low, high = self.interval
        document: dict[str, Any] = {
            "marker": self.preset.name,
            "compartment": str(self.preset.compartment),
            "total": self.total,
            "positive": self.positive,
            "negative": self.total - self.positive,
            "percent_positive": round(self.percent_positive, 2),
            "percent_positive_interval": [round(low, 2), round(high, 2)],
            "bins": dict(zip(BINS, self.bins, strict=True)),
            "h_score": round(self.h_score, 1),
            "background_od": round(self.background_od, 3),
        }
        if self.category:
            document["category"] = self.category
        if self.allred is not None:
            document["allred"] = {"proportion": self.allred[0], "intensity": self.allred[1], "total": sum(self.allred)}
        return document


def columns(class_index: npt.NDArray[np.integer[Any]], measurements: Mapping[str, Values]) -> Cells:
    """Return the columns of instances of an IHC model (class 1 is positive)."""
    nuclear = measurements["mean_marker_od"]
    return Cells(class_index == 1, nuclear, measurements.get("ring_marker_od", nuclear))


def positive_cells(cells: Cells, preset: Preset) -> Positive:
    """Return which cells are positive for a marker: as the model says, or by the ring around the nucleus."""
    if preset.compartment is Compartment.NUCLEUS:
        return cells.positive
    return np.asarray(cells.ring_od - background(cells, preset) >= preset.bins[0])


def background(cells: Cells, preset: Preset) -> float:
    """Return the density that counts as none; at most 0.25, as more is no background any longer."""
    if not len(cells):
        return 0.0
    if preset.compartment is Compartment.RING:
        level = float(np.percentile(cells.ring_od, 10))
    else:
        negative = cells.nuclear_od[~cells.positive]
        level = float(np.median(negative)) if len(negative) >= _FEW_NEGATIVES else 0.0
    return min(max(level, 0.0), _MOST_BACKGROUND)


def score(cells: Cells, preset: Preset) -> Score:
    """Score cells; without any, everything is 0."""
    positive, level = positive_cells(cells, preset), background(cells, preset)
    own = cells.nuclear_od if preset.compartment is Compartment.NUCLEUS else cells.ring_od
    above = own - level
    # What the model calls positive is at least weakly so.
    grade = np.where(positive, np.clip(np.searchsorted(preset.bins, above, side="right"), 1, 3), 0)
    bins = np.bincount(grade, minlength=4)
    total, count = len(cells), int(positive.sum())
    percent = 100 * count / total if total else 0.0
    h_score = float(100 * (bins * np.arange(4)).sum() / total) if total else 0.0
    return Score(
        preset,
        total,
        count,
        percent,
        _wilson(count, total),
        (int(bins[0]), int(bins[1]), int(bins[2]), int(bins[3])),
        h_score,
        level,
        category(percent, preset) if total else "",
        _allred(percent, grade[positive]) if preset.allred and total else None,
    )


def category(percent: float, preset: Preset) -> str:
    """Return the word for a percentage, empty where the preset has none."""
    words = [cutoff.word for cutoff in preset.cutoffs if percent >= cutoff.percent]
    return words[-1] if words else ""


def _allred(percent: float, grades: npt.NDArray[np.integer[Any]]) -> tuple[int, int]:
    """Return proportion (0 to 5) and intensity (0 to 3) after Allred, Mod Pathol 1998;11:155-168."""
    if not len(grades):
        return 0, 0
    proportion = 1 + sum(percent >= bound for bound in _ALLRED_PROPORTIONS)
    return proportion, round(float(grades.mean()))


def _wilson(count: int, total: int) -> tuple[float, float]:
    if not total:
        return 0.0, 100.0
    share, square = count / total, _Z * _Z
    middle = (share + square / (2 * total)) / (1 + square / total)
    reach = _Z / (1 + square / total) * math.sqrt(share * (1 - share) / total + square / (4 * total * total))
    return max(0.0, 100 * (middle - reach)), min(100.0, 100 * (middle + reach))
