"""How alike two pictures in grey are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]
_SIGMA: Final = 1.5
_WINDOW: Final = 11
_FLAT: Final = (0.01**2, 0.03**2)
_FLATTEST: Final = 1e-9
"""Variance over mean square from which on a picture is taken for one value."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """Of one block: structural similarity, mean difference, and the sums that a correlation is made of."""

    similarity: float
    difference: float
    sums: tuple[float, float, float, float, float, float]


def likeness(inferred: Plane, true: Plane) -> Likeness:
    """Compare two pictures of values from 0 to 1."""
    x, y = inferred.astype(np.float64).ravel(), true.astype(np.float64).ravel()
    sums = (float(len(x)), float(x.sum()), float(y.sum()), float(x @ x), float(y @ y), float(x @ y))
    return Likeness(structural_similarity(inferred, true), float(np.abs(x - y).mean()), sums)


def structural_similarity(first: Plane, second: Plane) -> float:
    """Return the mean SSIM over Gaussian windows (Wang et al., IEEE TIP 13, 2004); both from 0 to 1."""
    a, b = first.astype(np.float32), second.astype(np.float32)
    mean_a, mean_b = _blurred(a), _blurred(b)
    of_a, of_b = _blurred(a * a) - mean_a**2, _blurred(b * b) - mean_b**2
    both = _blurred(a * b) - mean_a * mean_b
    level = (2 * mean_a * mean_b + _FLAT[0]) / (mean_a**2 + mean_b**2 + _FLAT[0])
    return float((level * (2 * both + _FLAT[1]) / (of_a + of_b + _FLAT[1])).mean())


def mean_similarity(parts: Sequence[Likeness]) -> float:
    """Return the mean structural similarity of blocks."""
    return float(np.mean([part.similarity for part in parts]))


def mean_difference(parts: Sequence[Likeness]) -> float:
    """Return the mean absolute difference of blocks."""
    return float(np.mean([part.difference for part in parts]))


def correlation(parts: Sequence[Likeness]) -> float:
    """Return Pearson's correlation over the pixels of all blocks; not a number where one picture is flat."""
    n, x, y, xx, yy, xy = np.sum([part.sums for part in parts], axis=0).tolist()
    of_x, of_y = xx - x * x / n, yy - y * y / n
    if of_x <= _FLATTEST * xx or of_y <= _FLATTEST * yy:
        return float("nan")
    return (xy - x * y / n) / float(np.sqrt(of_x * of_y))


def _blurred(plane: Plane) -> Plane:
    return np.asarray(cv2.GaussianBlur(plane, (_WINDOW, _WINDOW), _SIGMA), np.float32)
