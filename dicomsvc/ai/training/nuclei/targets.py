"""What the network is to answer for a crop: mask, distance to the edge, centre, boundary between two things."""

from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

Floats = npt.NDArray[np.float32]
CHANNELS: Final = ("MASK", "DISTANCE", "CENTRE", "BOUNDARY")
"""Of the network; behind them `targets` has the weight of each pixel."""
_STEEPNESS: Final = 3.0
_REACH: Final = 9


def targets(labels: npt.NDArray[np.int32], unknown: npt.NDArray[np.bool_] | None = None) -> Floats:
    """Return ``(5, rows, columns)``, all from 0 to 1: `CHANNELS`, and 0 where what is there is unknown, else 1.

    The distance to the thing's edge is 1 at its deepest point and steep there, so that two things that touch have two
    peaks; the centre is a Gaussian as wide as a fifth of the thing; the boundary lies where two things are in the
    3 x 3 pixels around.
    """
    mask = labels > 0
    distance = _depth(labels)
    steep = (np.exp(_STEEPNESS * distance) - 1) / (np.exp(_STEEPNESS) - 1)
    known = np.ones(labels.shape, np.float32) if unknown is None else (~unknown).astype(np.float32)
    planes = (mask, steep, _centres(labels), _boundaries(labels), known)
    return np.stack([plane.astype(np.float32) for plane in planes])


def _boundaries(labels: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """Return where two different things are in the 3 x 3 pixels around."""
    disk = np.ones((3, 3), np.uint8)
    numbers = labels.astype(np.float32)
    high: Any = cv2.dilate(numbers, disk)
    low: Any = cv2.erode(np.where(labels > 0, numbers, np.float32(1e9)), disk)
    return np.asarray((low < high) & (low < 1e8))


def _depth(labels: npt.NDArray[np.int32]) -> Floats:
    """Return each pixel's distance to its thing's edge, as a share of the thing's largest."""
    low = ndimage.minimum_filter(labels, 3)
    high = ndimage.maximum_filter(labels, 3)
    within = ((labels > 0) & (low == labels) & (high == labels)).astype(np.uint8)
    depth: Any = cv2.distanceTransform(within, cv2.DIST_L2, 5)
    depth = depth + (labels > 0)
    most = np.asarray(ndimage.maximum(depth, labels, np.arange(int(labels.max()) + 1)), np.float32)
    most[0] = 1
    share: Floats = (depth / np.maximum(most, 1)[labels]).astype(np.float32)
    return share


def _centres(labels: npt.NDArray[np.int32]) -> Floats:
    plane = np.zeros(labels.shape, np.float32)
    numbers = np.unique(labels[labels > 0])
    if not len(numbers):
        return plane
    places = ndimage.center_of_mass(labels > 0, labels, numbers)
    areas = np.bincount(labels.ravel())[numbers]
    for (row, column), area in zip(places, areas, strict=True):
        sigma = float(np.clip(0.2 * np.sqrt(area * 4 / np.pi), 1.2, 3.0))
        top, left = max(0, round(row) - _REACH), max(0, round(column) - _REACH)
        part = plane[top : round(row) + _REACH + 1, left : round(column) + _REACH + 1]
        y = np.exp(-((np.arange(top, top + part.shape[0]) - row) ** 2) / (2 * sigma**2))
        x = np.exp(-((np.arange(left, left + part.shape[1]) - column) ** 2) / (2 * sigma**2))
        np.maximum(part, np.outer(y, x), out=part, casting="same_kind")
    return plane
