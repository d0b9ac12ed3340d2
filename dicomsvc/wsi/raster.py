"""Resizing, mask operations and arithmetic on arrays; the one module of this room that calls OpenCV.

OpenCV's own threads are left alone: callers work in threads of their own, and it releases the interpreter's lock.
"""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]


def resize(pixels: npt.NDArray[Any], columns: int, rows: int) -> npt.NDArray[Any]:
    """Resize ``(rows, columns, samples)``: a mean over areas where it shrinks, cubic where it grows.

    The axes are treated on their own, so one may shrink where the other grows.
    """
    height, width, samples = pixels.shape
    if (width, height) == (columns, rows):
        return pixels
    first = (columns if columns < width else width, rows if rows < height else height)
    if first != (width, height):
        pixels = cv2.resize(pixels, first, interpolation=cv2.INTER_AREA).reshape(first[1], first[0], samples)
    if first != (columns, rows):
        pixels = cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_CUBIC)
    return pixels.reshape(rows, columns, samples)


def smooth(values: npt.NDArray[np.float32], sigma: float) -> npt.NDArray[np.float32]:
    """Blur with a Gaussian; ``sigma`` in pixels."""
    return cv2.GaussianBlur(values, (0, 0), sigma).astype(np.float32, copy=False)


def opened(mask: Mask, radius: int) -> Mask:
    """Remove what is thinner than a disc."""
    return _morphology(mask, cv2.MORPH_OPEN, radius)


def closed(mask: Mask, radius: int) -> Mask:
    """Fill gaps that are narrower than a disc."""
    return _morphology(mask, cv2.MORPH_CLOSE, radius)


def dilated(mask: Mask, radius: int) -> Mask:
    """Grow by a disc."""
    return _morphology(mask, cv2.MORPH_DILATE, radius)


def _morphology(mask: Mask, operation: int, radius: int) -> Mask:
    if radius < 1:
        return mask
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    changed: Mask = cv2.morphologyEx(mask.astype(np.uint8), operation, disc).astype(bool)
    return changed


def without_specks(mask: Mask, smallest: float) -> Mask:
    """Remove connected parts of fewer pixels."""
    _count, labels, stats, _centres = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] >= smallest
    keep[0] = False
    kept: Mask = keep[labels]
    return kept


def without_holes(mask: Mask, smallest: float) -> Mask:
    """Fill holes of fewer pixels; what is open to the border is no hole."""
    count, labels, stats, _centres = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    fill = stats[:, cv2.CC_STAT_AREA] < smallest
    fill[0] = False
    border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    fill[border[border < count]] = False
    filled: Mask = mask | fill[labels]
    return filled


def looked_up(pixels: npt.NDArray[np.uint8], table: Floats) -> Floats:
    """Return a table's values ``(256,)`` for 8-bit ``(…, 3)``, as ``(n, 3)``."""
    if not pixels.size:
        return np.empty((0, 3), np.float32)
    return cv2.LUT(pixels.reshape(-1, 1, 3), table).reshape(-1, 3).astype(np.float32, copy=False)


def mixed(values: Floats, matrix: npt.NDArray[np.floating]) -> Floats:
    """Return ``values @ matrix`` of ``(n, k)`` and ``(k, m)``, both at most 4: no threads, unlike a matrix library."""
    rows, (_, columns) = len(values), matrix.shape
    if not rows:
        return np.empty((0, columns), np.float32)
    sums = cv2.transform(values.reshape(rows, 1, -1), np.ascontiguousarray(matrix.T, np.float64))
    return sums.reshape(rows, columns).astype(np.float32, copy=False)


def exponential(values: Floats) -> Floats:
    """Return e to the power of each value."""
    return values if not values.size else cv2.exp(values).astype(np.float32, copy=False)


def logarithm(values: Floats) -> Floats:
    """Return natural logarithms."""
    return values if not values.size else cv2.log(values).astype(np.float32, copy=False)
