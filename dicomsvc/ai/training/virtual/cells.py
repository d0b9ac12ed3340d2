"""Cells found in a picture of nuclei, and how well an inferred stain tells their true one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage, stats

from dicomsvc.ai.decoding.splitting import split

Floats = npt.NDArray[np.float64]
Plane = npt.NDArray[np.float32]
_SIGMA: Final = 1.0
_SPLIT: Final = 0.1
_AREA_UM2: Final = (15.0, 400.0)


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """The means of a stain in cells, true and inferred; ``positive`` by the true ones, ``called`` by the inferred."""

    true: Floats
    inferred: Floats
    positive: npt.NDArray[np.bool_]
    called: npt.NDArray[np.bool_]


def nuclei_threshold(planes: Sequence[Plane]) -> float:
    """Return Otsu's threshold (IEEE SMC 9, 1979) of the smoothed pixels of pictures of nuclei, 0 to 1."""
    values = np.concatenate([_smooth(plane)[::4, ::4].ravel() for plane in planes])
    steps = np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)
    found, _ = cv2.threshold(steps, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return (float(found) + 0.5) / 255


def find_cells(plane: Plane, threshold: float, mpp: float) -> npt.NDArray[np.int32]:
    """Return the number of the nucleus in each pixel, 0 for none; too small and too large ones are left out."""
    smooth = _smooth(plane)
    foreground = smooth > threshold
    if not foreground.any():
        return np.zeros(plane.shape, np.int32)
    labels = split(smooth, foreground, _SPLIT)
    areas = np.bincount(labels.ravel()) * mpp**2
    wanted = (areas >= _AREA_UM2[0]) & (areas <= _AREA_UM2[1])
    wanted[0] = False
    return np.asarray(np.where(wanted, np.cumsum(wanted), 0)[labels], np.int32)


def means_in(labels: npt.NDArray[np.int32], plane: npt.NDArray[Any]) -> Floats:
    """Return the mean of a picture in each cell."""
    count = int(labels.max())
    return np.asarray(ndimage.mean(plane, labels, np.arange(1, count + 1)), np.float64) if count else np.empty(0)


def positive_threshold(means: Floats) -> float:
    """Return Otsu's threshold of the means of cells, 0 to 1."""
    steps = np.clip(np.rint(means * 255), 0, 255).astype(np.uint8)
    found, _ = cv2.threshold(steps.reshape(-1, 1), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return (float(found) + 0.5) / 255


def of_all(parts: Sequence[Cells]) -> Cells:
    """Return the cells of all parts."""
    return Cells(
        np.concatenate([part.true for part in parts]),
        np.concatenate([part.inferred for part in parts]),
        np.concatenate([part.positive for part in parts]),
        np.concatenate([part.called for part in parts]),
    )


def correlation(parts: Sequence[Cells]) -> float:
    """Return Pearson's correlation of the means of cells; not a number for one value."""
    cells = of_all(parts)
    if len(cells.true) < 2 or not cells.true.std() or not cells.inferred.std():
        return float("nan")
    return float(np.corrcoef(cells.true, cells.inferred)[0, 1])


def area_under_curve(parts: Sequence[Cells]) -> float:
    """Return how often a positive cell is inferred brighter than a negative one; not a number for one kind only."""
    cells = of_all(parts)
    positive = int(cells.positive.sum())
    negative = len(cells.positive) - positive
    if not positive or not negative:
        return float("nan")
    ranks = stats.rankdata(cells.inferred)[cells.positive].sum()
    return float((ranks - positive * (positive + 1) / 2) / (positive * negative))


def agreement(parts: Sequence[Cells]) -> float:
    """Return Cohen's kappa of positive cells; not a number where all are alike."""
    cells = of_all(parts)
    if not len(cells.positive):
        return float("nan")
    same = float((cells.positive == cells.called).mean())
    true, called = float(cells.positive.mean()), float(cells.called.mean())
    chance = true * called + (1 - true) * (1 - called)
    return (same - chance) / (1 - chance) if chance < 1 else float("nan")


def _smooth(plane: Plane) -> Plane:
    return np.asarray(cv2.GaussianBlur(plane.astype(np.float32), (0, 0), _SIGMA), np.float32)
