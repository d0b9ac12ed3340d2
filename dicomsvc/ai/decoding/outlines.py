"""Outlines of labelled things, through the middles of the pixel edges.

Such a polygon cuts the mask's corners: its area is the mask's less half a pixel, whatever the size, where a polygon
through pixel centres would lose half of the perimeter.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """``points`` float32 ``(n, 2)`` in pixels of the label image, (0, 0) its top left corner; lengths in pixels."""

    points: npt.NDArray[np.float32]
    perimeter: float
    solidity: float


def outlines(
    labels: npt.NDArray[np.int32], boxes: Sequence[tuple[slice, slice] | None], chosen: Sequence[int], tolerance: float
) -> Iterator[Outline]:
    """Yield the outline of each chosen label (from 1), in that order.

    ``boxes`` are those of `scipy.ndimage.find_objects`; ``tolerance`` is how far, in pixels, a corner may be off.
    """
    padded = cv2.copyMakeBorder(labels, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=[0])
    for label in chosen:
        box = boxes[label - 1]
        if box is None:
            raise ValueError(f"label {label} has no pixels")
        rows, columns = box
        crop = padded[rows.start : rows.stop + 2, columns.start : columns.stop + 2] == label
        yield _outline(crop.view(np.uint8), (columns.start - 1, rows.start - 1), tolerance)


def _outline(mask: npt.NDArray[np.uint8], origin: tuple[int, int], tolerance: float) -> Outline:
    # In the doubled image a 2 x 2 sum lies at a pixel's centre, at the middle of an edge, or at a corner. At least two
    # of four is: inside, on an edge of the thing, or at a corner that is not a convex one.
    doubled = cv2.resize(mask, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    _, covered = cv2.threshold(
        cv2.boxFilter(doubled, -1, (2, 2), normalize=False, borderType=cv2.BORDER_CONSTANT), 1, 1, cv2.THRESH_BINARY
    )
    found: Sequence[Any] = cv2.findContours(covered, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
    contour = max(found, key=len) if len(found) > 1 else found[0]
    hull = cv2.contourArea(cv2.convexHull(contour))
    solidity = cv2.contourArea(contour) / hull if hull > 0 else 1.0
    if tolerance > 0:
        contour = cv2.approxPolyDP(contour, 2 * tolerance, closed=True)
    points = contour[:, 0, :].astype(np.float32) / 2 + np.array(origin, np.float32)
    return Outline(points, cv2.arcLength(contour, closed=True) / 2, solidity)
