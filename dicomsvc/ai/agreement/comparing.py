"""What annotators said of the same units, pixels and things, side by side."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from dicomsvc.ai.agreement.kappa import (
    NONE,
    Agreement,
    Counts,
    Groups,
    Ratings,
    Weights,
    cohen_by_group,
    cohen_from_table,
    fleiss_kappa,
    percent_agreement,
)
from dicomsvc.ai.agreement.things import LEAST_IOU, Drawing, Group, groups, overlaps

Picture = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class PairRatings:
    """Two annotators over the ``units`` that both rated."""

    one: str
    other: str
    units: int
    same: float
    kappa: Agreement


@dataclass(frozen=True, slots=True)
class RatingsReport:
    """``mean_kappa`` is that of all pairs, NaN where none is defined; ``said``: how often each class was said."""

    units: int
    said: dict[str, int]
    percent: Agreement
    fleiss: Agreement
    mean_kappa: float
    pairs: tuple[PairRatings, ...]


@dataclass(frozen=True, slots=True)
class PairThings:
    """Two annotators' things. ``f1`` of drawing the same; ``mean_iou`` over things that both drew; Dice of areas."""

    one: str
    other: str
    paired: int
    f1: float
    mean_iou: float
    dice: float


@dataclass(frozen=True, slots=True)
class ThingsReport:
    """``drawn_by``: how many things as many annotators drew. ``classes`` are of things that two or more drew."""

    drawn: dict[str, int]
    drawn_by: dict[int, int]
    pairs: tuple[PairThings, ...]
    classes: RatingsReport | None


def compare_labels(
    names: Sequence[str],
    labels: Sequence[Sequence[str | None]],
    weights: Weights = Weights.NONE,
    pictures: Sequence[int] | None = None,
) -> RatingsReport:
    """Compare classes of units, one row a unit; None is no vote. ``pictures``: what is drawn anew for intervals.

    Classes are in the order of their numbers, or of their names, which is what ``weights`` go by.
    """
    known = {label for row in labels for label in row if label is not None}
    order = sorted(known, key=lambda label: (0, float(label), label) if _is_number(label) else (1, 0.0, label))
    place = {label: number for number, label in enumerate(order)}
    ratings = np.array([[NONE if label is None else place[label] for label in row] for row in labels], np.int64)
    ratings = ratings.reshape(-1, len(names))
    of = None if pictures is None else np.array(pictures, np.int64)
    return compare_ratings(names, order, ratings, np.ones(len(ratings)), of, weights)


def compare_ratings(
    names: Sequence[str],
    categories: Sequence[str],
    ratings: Ratings,
    often: Counts,
    of: Groups | None,
    weights: Weights = Weights.NONE,
) -> RatingsReport:
    """Compare ratings, ``often`` units for each row; ``of``: what is drawn anew for intervals instead of units."""
    pairs = tuple(
        _pair(names, one, other, len(categories), ratings, often, of, weights)
        for one, other in combinations(range(len(names)), 2)
    )
    kappas = [pair.kappa.value for pair in pairs if np.isfinite(pair.kappa.value)]
    said = {label: int(often @ (ratings == number).sum(axis=1)) for number, label in enumerate(categories)}
    enough = (ratings >= 0).sum(axis=1) >= 2
    return RatingsReport(
        units=int(often[enough].sum()),
        said=said,
        percent=percent_agreement(ratings, of, often),
        fleiss=fleiss_kappa(ratings, of, often),
        mean_kappa=float(np.mean(kappas)) if kappas else float("nan"),
        pairs=pairs,
    )


def _pair(
    names: Sequence[str],
    one: int,
    other: int,
    categories: int,
    ratings: Ratings,
    often: Counts,
    of: Groups | None,
    weights: Weights,
) -> PairRatings:
    both = (ratings[:, one] >= 0) & (ratings[:, other] >= 0)
    mine, theirs, each = ratings[both, one], ratings[both, other], often[both]
    units = int(each.sum())
    same = float(each[mine == theirs].sum() / units) if units else float("nan")
    wide = max(categories, 1)
    if of is None:
        table = np.bincount(mine * wide + theirs, each, wide * wide).astype(np.float64)
        kappa = cohen_from_table(table.reshape(wide, wide), weights)
    else:
        _, group = np.unique(of[both], return_inverse=True)
        size = int(group.max(initial=-1)) + 1
        joint = np.bincount((group * wide + mine) * wide + theirs, each, size * wide * wide).astype(np.float64)
        kappa = cohen_by_group(joint.reshape(size, wide, wide), weights)
    return PairRatings(names[one], names[other], units, same, kappa)


@dataclass(slots=True)
class PixelTally:
    """Gathers what annotators said of pixels, picture by picture: how often each combination of classes occurs."""

    annotators: int
    _rows: list[Ratings] = field(default_factory=list)
    _often: list[Counts] = field(default_factory=list)
    _of: list[Groups] = field(default_factory=list)

    def add_blocks(self, pictures: Sequence[Picture], side: int) -> None:
        """Add a picture in blocks of so many pixels a side, each of which counts as a picture: for a whole slide."""
        rows, columns = pictures[0].shape
        for row in range(0, rows, side):
            for column in range(0, columns, side):
                self.add([each[row : row + side, column : column + side] for each in pictures])

    def add(self, pictures: Sequence[Picture | None]) -> None:
        """Add one picture's classes of pixels by annotator, 0 for background, -1 for unknown.

        None is an annotator who did not look at it.
        """
        shape = next(each.shape for each in pictures if each is not None)
        columns = [np.full(shape, NONE, np.int64) if each is None else each.astype(np.int64) for each in pictures]
        kinds, often = np.unique(np.stack([each.ravel() for each in columns], axis=1), axis=0, return_counts=True)
        self._of.append(np.full(len(kinds), len(self._of), np.int64))
        self._rows.append(kinds)
        self._often.append(often.astype(np.float64))

    def report(self, names: Sequence[str], classes: Sequence[str] = ()) -> RatingsReport:
        """Return the comparison; ``classes`` are the names of classes from 0 on, by default their numbers."""
        rows = np.concatenate(self._rows)
        order = list(classes) or [str(number) for number in range(int(rows.max(initial=0)) + 1)]
        return compare_ratings(names, order, rows, np.concatenate(self._often), np.concatenate(self._of))


@dataclass(slots=True)
class _Sums:
    paired: int = 0
    things: int = 0
    iou: float = 0.0
    both: float = 0.0
    areas: float = 0.0


@dataclass(slots=True)
class ThingsTally:
    """Gathers what annotators drew, picture by picture."""

    names: Sequence[str]
    least_iou: float = LEAST_IOU
    weights: Weights = Weights.NONE
    _drawn: Counter[str] = field(default_factory=Counter)
    _drawn_by: Counter[int] = field(default_factory=Counter)
    _sums: dict[tuple[int, int], _Sums] = field(default_factory=lambda: defaultdict(_Sums))
    _labels: list[list[str | None]] = field(default_factory=list)
    _of: list[int] = field(default_factory=list)
    _pictures: int = 0

    def add(self, drawings: Sequence[Drawing | None]) -> list[Group]:
        """Add a picture's things by annotator, None who did not look at it; returns which are the same thing."""
        present = [drawing or () for drawing in drawings]
        found = groups(present, self.least_iou)
        for number, drawing in enumerate(drawings):
            if drawing is not None:
                self._drawn[self.names[number]] += len(drawing)
        for group in found:
            self._drawn_by[len(group.drawn)] += 1
            if len(group.drawn) > 1:
                self._labels.append(group.labels(len(self.names)))
                self._of.append(self._pictures)
        for one, other in combinations(range(len(self.names)), 2):
            first, second = drawings[one], drawings[other]
            if first is not None and second is not None:
                self._add_pair(one, other, first, second)
        self._pictures += 1
        return found

    def _add_pair(self, one: int, other: int, first: Drawing, second: Drawing) -> None:
        sums = self._sums[one, other]
        for group in groups([first, second], self.least_iou):
            if len(group.drawn) == 2:
                _, _, iou = next(overlaps([group.drawn[0]], [group.drawn[1]]))
                sums.paired += 1
                sums.iou += iou
        sums.both += sum(iou / (1 + iou) * (first[a].area + second[b].area) for a, b, iou in overlaps(first, second))
        sums.areas += sum(thing.area for thing in (*first, *second))
        sums.things += len(first) + len(second)

    def report(self) -> ThingsReport:
        pairs = tuple(
            PairThings(
                self.names[one],
                self.names[other],
                sums.paired,
                2 * sums.paired / max(sums.things, 1),
                sums.iou / sums.paired if sums.paired else float("nan"),
                min(1.0, 2 * sums.both / max(sums.areas, 1)),
            )
            for (one, other), sums in sorted(self._sums.items())
        )
        told = any(label for row in self._labels for label in row)
        pictures = self._of if self._pictures > 1 else None
        classes = compare_labels(self.names, self._labels, self.weights, pictures) if told else None
        drawn = {name: self._drawn[name] for name in self.names}
        return ThingsReport(drawn, dict(sorted(self._drawn_by.items())), pairs, classes)


def _is_number(label: str) -> bool:
    try:
        return math.isfinite(float(label))
    except ValueError:
        return False
