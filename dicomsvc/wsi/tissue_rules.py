"""What tells tissue from glass in a small picture of a slide; arrays only.

Brightfield: how much light is absorbed and how coloured the absorption is, against the slide's own glass; the limit is
Otsu's (Otsu 1979) between sane bounds. A slide full of tissue or without any has no two classes to split, and then the
bounds decide. Fluorescence: how bright the logarithm of the intensity is against the slide's own darkness.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from dicomsvc.wsi import raster

Picture = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float32]

_SMOOTHING_UM: Final = 10.0
_JOINED_UM: Final = 24.0
_SMALLEST_UM2: Final = 6_000.0
_SMALLEST_HOLE_UM2: Final = 20_000.0
_ABSORPTION_LIMITS: Final = (0.03, 0.045)
_GLASS: Final = 245.0
_INK_UM: Final = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """``limit`` is what tells tissue: absorption, or the logarithm of the intensity; ``dark``: fluorescence."""

    mask: raster.Mask
    dark: bool
    limit: float


def find_tissue(picture: Picture, mpp: float) -> Found:
    """Find tissue in ``(rows, columns, samples)`` at ``mpp`` um a pixel."""
    dark = is_dark(picture)
    values, limit, never = _fluorescence(picture, mpp) if dark else _brightfield(picture, mpp)
    mask = (values > limit) & ~never
    mask = raster.opened(mask, round(_SMOOTHING_UM / mpp / 2))
    mask = raster.closed(mask, round(_JOINED_UM / mpp / 2)) & ~never
    if mask.any():
        mask = raster.without_specks(mask, _SMALLEST_UM2 / mpp**2)
    if mask.any():
        mask = raster.without_holes(mask, _SMALLEST_HOLE_UM2 / mpp**2) & ~never
    return Found(mask, dark, float(limit))


def is_dark(picture: Picture) -> bool:
    """Whether the background is dark: fluorescence. One sample is always that."""
    if picture.shape[2] != 3:
        return True
    brightest, darkest = _extremes(picture)
    share_dark = float((brightest < 64).mean())
    # One bright colour on black is fluorescence too; a black scan border leaves glass or stained tissue beside it.
    return float((darkest > 120).mean()) < 0.05 and (share_dark > 0.2 or float((darkest < 25).mean()) > 0.9)


def _extremes(picture: Picture) -> tuple[Picture, Picture]:
    """Return each pixel's greatest and smallest sample; much faster than to reduce along a short axis."""
    greatest = smallest = picture[:, :, 0]
    for sample in range(1, picture.shape[2]):
        greatest = np.maximum(greatest, picture[:, :, sample])
        smallest = np.minimum(smallest, picture[:, :, sample])
    return greatest, smallest


def otsu(values: npt.NDArray[np.floating], bins: int = 256) -> float:
    """Return the value that splits a histogram into the two classes whose means lie apart most."""
    low, high = float(values.min()), float(values.max())
    if not high > low:
        return high
    counts, edges = np.histogram(values, bins, (low, high))
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1].astype(np.float64)
    above = counts.sum() - below
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = below * above * (sums[:-1] / below - (sums[-1] - sums[:-1]) / above) ** 2
    best = np.nan_to_num(apart)
    # Empty bins between the classes are all as good: the middle one.
    equal = np.flatnonzero(best >= best.max() * (1 - 1e-9))
    return float(edges[1:-1][equal[len(equal) // 2]])


def _brightfield(picture: Picture, mpp: float) -> tuple[Values, float, raster.Mask]:
    ink = _ink(picture, mpp)
    glass = _glass(picture)
    table = np.clip(np.log10((glass + 1) / np.arange(1, 257, dtype=np.float32)[:, None]), 0, None).astype(np.float32)
    red, green, blue = (np.take(table[:, i], picture[:, :, i]) for i in range(3))
    colour = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    absorption = raster.smooth(colour + (red + green + blue) / np.float32(12), _SMOOTHING_UM / mpp)
    usable = absorption[~ink]
    found = otsu(np.minimum(usable, 0.5)) / 2 if usable.size else _ABSORPTION_LIMITS[0]
    return absorption, float(np.clip(found, *_ABSORPTION_LIMITS)), ink


def _glass(picture: Picture) -> npt.NDArray[np.float32]:
    """Return the colour of the slide's glass; white when no part looks like it."""
    brightest, darkest = _extremes(picture)
    glass = (darkest > 200) & (brightest - darkest < 24)
    if glass.mean() < 0.003:
        return np.full(3, _GLASS, np.float32)
    # What was never scanned is pure white and says nothing, unless there is nothing else.
    scanned = glass & (darkest < 255)
    colour: npt.NDArray[np.float32] = np.median(picture[scanned if scanned.mean() > 0.003 else glass], axis=0).astype(
        np.float32
    )
    return colour


def _ink(picture: Picture, mpp: float) -> raster.Mask:
    """Find black (scan borders, black pens), green and plain blue: colours that no stain has over a large area."""
    red, green, blue = (picture[:, :, i].astype(np.int16) for i in range(3))
    brightest, darkest = _extremes(picture)
    black = (brightest < 50) & (brightest - darkest < 25)
    greenish = (green - red > 30) & (green - blue > 10)
    bluish = (blue - red > 90) & (red < 90) & (blue > green + 20)
    ink = black | greenish | bluish
    radius = round(_INK_UM / mpp / 4)
    kept = raster.without_specks(ink, (_INK_UM / mpp) ** 2) if ink.any() else ink
    return raster.dilated(kept, radius)


def _fluorescence(picture: Picture, mpp: float) -> tuple[Values, float, raster.Mask]:
    brightest = _extremes(picture)[0].astype(np.float32)
    values = np.log1p(raster.smooth(brightest, _SMOOTHING_UM / mpp)).astype(np.float32)
    darkness, brightness = np.percentile(brightest, 5), np.percentile(brightest, 99.5)
    never = np.zeros(brightest.shape, bool)
    lowest = np.log1p(darkness + 4.0)
    if brightness - darkness < 12:
        return values, float(np.log1p(256)), never
    highest = np.log1p(darkness + (brightness - darkness) / 4)
    return values, float(np.clip(otsu(values), lowest, max(lowest, highest))), never
