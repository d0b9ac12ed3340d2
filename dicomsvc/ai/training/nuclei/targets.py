"""What the network is to answer for a crop: mask, distance to the edge, centre."""

from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

Floats = npt.NDArray[np.float32]
CHANNELS: Final = ("MASK", "DISTANCE", "CENTRE")
_STEEPNESS: Final = 3.0
_REACH: Final = 9


def targets(labels: npt.NDArray[np.int32]) -> Floats:
    """Return ``(3, rows, columns)``, all from 0 to 1.

    The distance to the thing's edge is 1 at its deepest point and steep there, so that two things that touch have two
    peaks; the centre is a Gaussian as wide as a fifth of the thing.
    """
    mask = labels > 0
    distance = _depth(labels)
    steep = (np.exp(_STEEPNESS * distance) - 1) / (np.exp(_STEEPNESS) - 1)
    return np.stack([mask.astype(np.float32), steep.astype(np.float32), _centres(labels)])


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
