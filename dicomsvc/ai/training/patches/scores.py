"""How well classes of patches were told: confusion, F1, calibration."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

_BINS: Final = 15
Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What is known and what was answered of some patches: ``(n,)`` numbers and ``(n, classes)`` probabilities."""

    known: Counts
    probability: Floats

    @property
    def answered(self) -> Counts:
        return np.asarray(self.probability.argmax(axis=1), np.int64)


def joined(parts: Sequence[Answers]) -> Answers:
    """Return the patches of all parts."""
    return Answers(np.concatenate([part.known for part in parts]), np.concatenate([part.probability for part in parts]))


def confusion(parts: Sequence[Answers]) -> Counts:
    """Return how often each known class (rows) was answered as each (columns)."""
    found = joined(parts)
    classes = found.probability.shape[1]
    pairs = np.bincount(found.known * classes + found.answered, minlength=classes**2)
    return pairs.reshape(classes, classes)


def accuracy(parts: Sequence[Answers]) -> float:
    """Return the share of patches whose class was told."""
    table = confusion(parts)
    return float(np.trace(table) / table.sum())


def balanced_accuracy(parts: Sequence[Answers]) -> float:
    """Return the mean recall of the classes that are there."""
    table = confusion(parts)
    known = table.sum(axis=1)
    return float((np.diag(table)[known > 0] / known[known > 0]).mean())


def kappa(parts: Sequence[Answers]) -> float:
    """Return Cohen's kappa (Educational and Psychological Measurement 20, 1960); not a number where all is one."""
    table = confusion(parts).astype(np.float64) / max(1, sum(len(part.known) for part in parts))
    chance = float(table.sum(axis=1) @ table.sum(axis=0))
    return (float(np.trace(table)) - chance) / (1 - chance) if chance < 1 else float("nan")


def f1(parts: Sequence[Answers], number: int) -> float:
    """Return the F1 of a class; not a number where it is neither known nor answered."""
    table = confusion(parts)
    of_class = int(table[number].sum() + table[:, number].sum())
    return 2 * int(table[number, number]) / of_class if of_class else float("nan")


def calibration_error(parts: Sequence[Answers]) -> float:
    """Return the expected calibration error over equal bins of the highest probability (Guo et al., ICML 2017)."""
    found = joined(parts)
    sure = found.probability.max(axis=1)
    right = found.answered == found.known
    bins = np.minimum((sure * _BINS).astype(np.int64), _BINS - 1)
    error = 0.0
    for number in range(_BINS):
        inside = bins == number
        if inside.any():
            error += float(inside.mean()) * abs(float(right[inside].mean()) - float(sure[inside].mean()))
    return error
