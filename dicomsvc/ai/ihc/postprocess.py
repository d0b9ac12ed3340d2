"""From planes of a segmentation to cells, fast: which pixel belongs to which cell, whatever the threshold will be.

A *segmentation* is three planes of 0 to 255, as DeepLIIF's picture has them in red, blue and green: that a pixel
belongs to a positive cell, to a negative one, to the boundary of one. The *value* of a pixel is positive plus negative;
0 where the boundary is more, and where it is less than `LEAST_VALUE`, which is noise.

Every pixel with a value belongs to one territory. Territories do not depend on a threshold: a cell at a threshold is
what of its territory has a value above. So all that a threshold changes is a count (`dicomsvc.ai.ihc.cells`).
"""

import math
from dataclasses import dataclass
from typing import Final, Self

import cv2
import numpy as np
import numpy.typing as npt

from dicomsvc.ai.decoding.instances import smoothed
from dicomsvc.ai.decoding.splitting import split
from dicomsvc.errors import BadRequest

Plane = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int32]

LEAST_VALUE: Final = 16
_CORE_VALUE: Final = 128
_WEAK_VALUE: Final = 32
_SPLIT_DEPTH: Final = 0.2
_SMOOTHING_UM: Final = 0.6
_WORKING_UM: Final = 0.5
_COARSEST: Final = 5


@dataclass(frozen=True, slots=True, eq=False)
class SegPlanes:
    """Three planes ``(rows, columns)`` of the same shape."""

    positive: Plane
    negative: Plane
    boundary: Plane

    @classmethod
    def of_picture(cls, picture: npt.NDArray[np.uint8]) -> Self:
        """Take a picture ``(rows, columns, 3)``: red positive, green boundary, blue negative."""
        red, green, blue = (np.ascontiguousarray(picture[:, :, at]) for at in range(3))
        return cls(red, blue, green)

    def picture(self) -> npt.NDArray[np.uint8]:
        """Return the picture that `of_picture` takes."""
        return np.asarray(cv2.merge((self.positive, self.boundary, self.negative)), np.uint8)

    def value(self) -> Plane:
        """Return each pixel's value."""
        value = cv2.add(self.positive, self.negative)
        value[(value < LEAST_VALUE) | (self.boundary > value)] = 0
        return np.asarray(value, np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Territories:
    """``labels`` from 1 to ``count``; 0 is where ``value`` is 0."""

    labels: Labels
    value: Plane
    is_positive: npt.NDArray[np.bool_]
    count: int


def find_territories(planes: SegPlanes, mpp: float) -> Territories:
    """Part a segmentation of ``mpp`` micrometres a pixel into territories.

    They are those of a watershed of the distance to the nearest pixel that is no core of a nucleus, found at about
    0.5 um a pixel; where a finer picture draws a boundary, that stays as fine as it is.

    Raises
    ------
    BadRequest
        When planes differ in size.
    """
    if not planes.positive.shape == planes.negative.shape == planes.boundary.shape:
        raise BadRequest("the planes of a segmentation must have one size")
    value = planes.value()
    # A mean of so few values of at least `LEAST_VALUE` never rounds to nothing: no pixel is left without a territory.
    factor = min(max(1, round(_WORKING_UM / mpp)), _COARSEST)
    rows, columns = value.shape
    padded = cv2.copyMakeBorder(value, 0, -rows % factor, 0, -columns % factor, cv2.BORDER_CONSTANT, value=(0,))
    size = (padded.shape[1] // factor, padded.shape[0] // factor)
    small = np.asarray(cv2.resize(padded, size, interpolation=cv2.INTER_AREA), np.uint8)
    labels = _watershed(small, mpp * factor)
    count = int(labels.max(initial=0))
    labels = labels.repeat(factor, axis=0).repeat(factor, axis=1)[:rows, :columns] if factor > 1 else labels
    labels = np.multiply(labels, value > 0, dtype=np.int32)
    return Territories(labels, value, planes.positive >= planes.negative, count)


def _watershed(value: Plane, mpp: float) -> Labels:
    core = (value >= _CORE_VALUE).astype(np.uint8)
    sigma = _SMOOTHING_UM / mpp
    distance = np.asarray(cv2.distanceTransform(core, cv2.DIST_L2, cv2.DIST_MASK_5), np.float32)
    height = smoothed(value.astype(np.float32), sigma)
    # Where there is no core the value itself shows the way up.
    field = np.asarray(cv2.scaleAdd(height, 1 / 255, smoothed(distance, sigma)), np.float32)
    return split(field, value > 0, _SPLIT_DEPTH, weak_below=height - np.float32(_WEAK_VALUE))


def disk_pixels(diameter_um: float, mpp: float) -> int:
    """Return how many pixels a disk has."""
    return max(1, round(math.pi * (diameter_um / mpp / 2) ** 2))
