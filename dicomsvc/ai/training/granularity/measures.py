"""What came out of a trial: counts by picture, measures over pictures with intervals, and differences of trials.

Classifiers are measured by accuracy and by the means over grades of precision, recall and F1; segmenters by accuracy
of pixels, Dice, and nuclei recall, the share of nuclei's pixels that are found. (Shi et al., BIBM 2019, equations 1 to
4. Their words for nuclei recall describe precision; what is measured here is what the name says. Precision is given
beside it.)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Table = npt.NDArray[np.float64]
"""Counts, ``(..., grades, grades)`` by true and by found grade; of a segmenter they are background, nucleus."""
Values = npt.NDArray[np.float64]
_RESAMPLES: Final = 2000


def _precisions(table: Table) -> Values:
    correct = np.diagonal(table, axis1=-2, axis2=-1)
    return np.asarray(correct / np.maximum(table.sum(axis=-2), 1))


def _recalls(table: Table) -> Values:
    correct = np.diagonal(table, axis1=-2, axis2=-1)
    return np.asarray(correct / np.maximum(table.sum(axis=-1), 1))


def _f1s(table: Table) -> Values:
    correct = np.diagonal(table, axis1=-2, axis2=-1)
    return np.asarray(2 * correct / np.maximum(table.sum(axis=-1) + table.sum(axis=-2), 1))


def _accuracy(table: Table) -> Values:
    correct = np.diagonal(table, axis1=-2, axis2=-1).sum(axis=-1)
    return np.asarray(correct / np.maximum(table.sum(axis=(-2, -1)), 1))


def _of_present(measure: Callable[[Table], Values], table: Table) -> Values:
    """Return the mean over the grades that there are."""
    there = table.sum(axis=-1) > 0
    return np.asarray((measure(table) * there).sum(axis=-1) / np.maximum(there.sum(axis=-1), 1))


CLASSIFIER: Final[Mapping[str, Callable[[Table], Values]]] = {
    "precision": lambda table: _of_present(_precisions, table),
    "recall": lambda table: _of_present(_recalls, table),
    "f1": lambda table: _of_present(_f1s, table),
    "accuracy": _accuracy,
}
SEGMENTER: Final[Mapping[str, Callable[[Table], Values]]] = {
    "accuracy": _accuracy,
    "dice": lambda table: np.asarray(_f1s(table)[..., 1]),
    "nuclei_recall": lambda table: np.asarray(_recalls(table)[..., 1]),
    "nuclei_precision": lambda table: np.asarray(_precisions(table)[..., 1]),
}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with the 95 % interval of drawing the pictures anew, 2,000 times."""

    value: float
    low: float
    high: float

    @property
    def is_apart_from_zero(self) -> bool:
        return self.low > 0 or self.high < 0


Pictures = Mapping[str, Table]
"""Counts by the name of a picture."""


def pictures_of(document: Mapping[str, Any], truth: str) -> Pictures:
    """Return the counts of a trial's file, against the ``pixel`` truth or its ``own`` kind of marks."""
    return {name: np.array(tables[truth], np.float64) for name, tables in document["pictures"].items()}


def pooled(trials: list[Pictures]) -> Pictures:
    """Return the counts of several seeds together, for the pictures that all have."""
    names = set(trials[0]).intersection(*trials[1:])
    return {name: np.sum([each[name] for each in trials], axis=0) for name in sorted(names)}


def estimates(pictures: Pictures, measures: Mapping[str, Callable[[Table], Values]]) -> dict[str, Estimate]:
    """Return every measure over all pictures together."""
    tables = np.stack([pictures[name] for name in sorted(pictures)])
    again = _drawn_anew(tables)
    return {name: _estimate(measure(tables.sum(axis=0)), measure(again)) for name, measure in measures.items()}


def differences(
    one: Pictures, other: Pictures, measures: Mapping[str, Callable[[Table], Values]]
) -> dict[str, Estimate]:
    """Return how much larger each measure is on the same pictures."""
    names = sorted(set(one) & set(other))
    tables = [np.stack([each[name] for name in names]) for each in (one, other)]
    first, second = (_drawn_anew(each) for each in tables)
    whole = [each.sum(axis=0) for each in tables]
    return {
        name: _estimate(measure(whole[0]) - measure(whole[1]), measure(first) - measure(second))
        for name, measure in measures.items()
    }


def _drawn_anew(tables: Table) -> Table:
    # The same pictures each time, so that differences are of the same pictures.
    chosen = np.random.default_rng(0).integers(0, len(tables), (_RESAMPLES, len(tables)))
    counts = np.zeros((_RESAMPLES, len(tables)))
    np.add.at(counts, (np.arange(_RESAMPLES)[:, np.newaxis], chosen), 1)
    return np.einsum("rp,pij->rij", counts, tables)


def _estimate(value: Values, again: Values) -> Estimate:
    low, high = np.percentile(again, [2.5, 97.5])
    return Estimate(float(value), float(low), float(high))
