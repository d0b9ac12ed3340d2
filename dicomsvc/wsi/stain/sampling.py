"""Pixels that stand for a slide's tissue."""

from typing import Final

import numpy as np
import numpy.typing as npt

from dicomsvc.wsi.plan import Rectangle
from dicomsvc.wsi.resampling import Plane
from dicomsvc.wsi.stain.density import Pixels
from dicomsvc.wsi.tissue import TissueMask

_PATCHES: Final = 96
_PATCH: Final = 64


def sample_tissue(plane: Plane, tissue: TissueMask, count: int = 20_000, threads: int = 2) -> Pixels:
    """Return up to ``count`` pixels ``(n, samples)`` of tissue, spread over all of it.

    The same slide gives the same pixels: small patches at equal distances along the rows of the mask, and equally many
    pixels of each. None where there is no tissue.

    Raises
    ------
    NotFound, DamagedFile, NotAcceptable
        When frames cannot be read.
    """
    places = np.flatnonzero(tissue.mask)
    patches = min(_PATCHES, len(places), count)
    if not patches:
        return np.empty((0, plane.samples), np.uint8)
    chosen = places[_spread(len(places), patches)]
    rows, columns = np.divmod(chosen, tissue.mask.shape[1])
    x = (columns + 0.5) * tissue.step[0] * plane.scale[0] - _PATCH / 2
    y = (rows + 0.5) * tissue.step[1] * plane.scale[1] - _PATCH / 2
    areas = [Rectangle(int(left), int(top), _PATCH, _PATCH) for left, top in zip(x, y, strict=True)]
    parts = []
    for area, patch in zip(areas, plane.read_many(areas, threads), strict=True):
        across, down = np.meshgrid(np.arange(area.x, area.right) + 0.5, np.arange(area.y, area.bottom) + 0.5)
        points = np.stack([across.ravel() / plane.scale[0], down.ravel() / plane.scale[1]], axis=1)
        found = patch.reshape(-1, plane.samples)[tissue.holds(points)]
        parts.append(found[_spread(len(found), min(len(found), -(-count // patches)))])
    return np.concatenate(parts)[:count]


def _spread(length: int, count: int) -> npt.NDArray[np.int64]:
    """Return ``count`` numbers below ``length`` at equal distances."""
    return (2 * np.arange(count, dtype=np.int64) + 1) * length // max(1, 2 * count)
