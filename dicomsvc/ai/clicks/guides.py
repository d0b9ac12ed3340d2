"""Guiding maps: where a person clicked, and where the other clicks are, drawn for the network."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

Maps = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]
GUIDES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "inclusion": "The click itself.",
        "exclusion": "The clicks on other things, as far as they are known.",
    }
)
"""The maps that a model may ask for: it names them in the order of its channels."""
_REACH: Final = 3.0


def guiding_maps(side: int, inclusion: Points, exclusion: Points, sigma: float) -> Maps:
    """Return ``(side, side, 2)``, inclusion and exclusion: Gaussians of 255 at the points, 0 far from any.

    Points are ``(n, 2)`` as (x, y) in pixels of the crop, whole numbers being pixel centres; ``sigma`` is in pixels.
    Points outside of the crop leave what of them reaches into it.
    """
    maps = np.zeros((side, side, 2), np.uint8)
    for plane, points in enumerate((inclusion, exclusion)):
        for x, y in points:
            _draw(maps[:, :, plane], float(x), float(y), sigma)
    return maps


def _draw(plane: Maps, x: float, y: float, sigma: float) -> None:
    side, reach = len(plane), _REACH * sigma
    left, right = max(0, int(np.floor(x - reach))), min(side, int(np.ceil(x + reach)) + 1)
    top, bottom = max(0, int(np.floor(y - reach))), min(side, int(np.ceil(y + reach)) + 1)
    if left >= right or top >= bottom:
        return
    across = np.exp(-((np.arange(left, right) - x) ** 2) / (2 * sigma**2))
    down = np.exp(-((np.arange(top, bottom) - y) ** 2) / (2 * sigma**2))
    part = plane[top:bottom, left:right]
    np.maximum(part, np.rint(255 * np.outer(down, across)).astype(np.uint8), out=part)
