"""What a HoVer-Net is to answer for a crop (Graham et al., Medical Image Analysis 2019, section 3.1)."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Floats = npt.NDArray[np.float32]


def targets(labels: npt.NDArray[np.int32], types: npt.NDArray[np.uint8], known: npt.NDArray[np.bool_]) -> Floats:
    """Return ``(5, rows, columns)``: mask, horizontal, vertical, type, and 1 where what is there is known."""
    horizontal, vertical = distances(labels)
    return np.stack([labels > 0, horizontal, vertical, types, known]).astype(np.float32)


def distances(labels: npt.NDArray[np.int32]) -> tuple[Floats, Floats]:
    """Return how far each pixel is from its thing's middle, across and down: -1 left or top, 1 right or bottom.

    The half on each side of the middle is scaled by itself, so that both ends are reached.
    """
    horizontal = np.zeros(labels.shape, np.float32)
    vertical = np.zeros(labels.shape, np.float32)
    for number, place in enumerate(ndimage.find_objects(labels), 1):
        if place is None:
            continue
        inside = labels[place] == number
        rows, columns = np.nonzero(inside)
        horizontal[place][inside] = _scaled(columns)
        vertical[place][inside] = _scaled(rows)
    return horizontal, vertical


def _scaled(places: npt.NDArray[Any]) -> Floats:
    away = places - places.mean()
    before, behind = max(-away.min(), 1e-6), max(away.max(), 1e-6)
    return np.where(away < 0, away / before, away / behind).astype(np.float32)
