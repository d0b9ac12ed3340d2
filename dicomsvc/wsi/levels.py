"""Which stored level serves a resolution, and how its pixels lie on the slide's.

A level's size is rounded (2967 rows become 742 a quarter as large), so sizes alone would let it drift against the
finest one. The ratio of pixel spacings says what was meant; it is taken when it is a whole number that explains the
sizes. A level of another ratio is left out: a finer one is always there.

So is a level that does not look like the finest one. There are slides whose coarser levels hold RGB in JPEGs that say
YCbCr: white becomes magenta there, and a model would see colours that no stain has.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Final

import numpy as np

from dicomsvc.errors import UnfitSlide
from dicomsvc.wsi.codecs import Pixels
from dicomsvc.wsi.frame_cache import cached_frames
from dicomsvc.wsi.image import StoredImage
from dicomsvc.wsi.slide import Slide

Read = Callable[[int, int, int, int], Pixels]
"""Gives the pixels of a level at x, y, of width and height."""
_ROUNDING_PIXELS: Final = 2
_COARSEST_FACTOR: Final = 1024
_PROBES: Final = ((0.5, 0.5), (0.25, 0.3), (0.75, 0.3), (0.3, 0.75), (0.7, 0.7))
_PROBE_PIXELS: Final = 320
_PROBE_BYTES: Final = 1 << 26
_OTHER_COLOUR: Final = 24.0


@dataclass(frozen=True, slots=True, eq=False)
class ReadableLevel:
    """A level with its (x, y) slide pixels per own pixel."""

    image: StoredImage
    factor: tuple[int, int]


def slide_mpp(slide: Slide) -> tuple[float, float]:
    """Return (x, y) micrometres per slide pixel.

    Raises
    ------
    UnfitSlide
        When there are no levels, or the finest one has no pixel spacing.
    """
    if not slide.levels:
        raise UnfitSlide("the series has no slide image")
    row_mm, column_mm = slide.levels[0].pixel_spacing_mm
    if not (row_mm > 0 and column_mm > 0):
        raise UnfitSlide("the slide has no pixel spacing; give mpp, its micrometres a pixel")
    return column_mm * 1000, row_mm * 1000


def readable_levels(slide: Slide) -> tuple[ReadableLevel, ...]:
    """Return the levels that lie on whole slide pixels, the finest first."""
    found = []
    for image in slide.levels:
        x = _factor(slide.levels[0], image, 0)
        y = _factor(slide.levels[0], image, 1)
        if x and y:
            found.append(ReadableLevel(image, (x, y)))
    return tuple(found)


def level_for(levels: tuple[ReadableLevel, ...], step: tuple[Fraction, Fraction]) -> ReadableLevel:
    """Return the coarsest sound level that is not coarser than ``step`` slide pixels; the finest where all are."""
    fitting = [each for each in levels[1:] if each.factor[0] <= step[0] and each.factor[1] <= step[1]]
    fitting.sort(key=lambda each: each.factor[0] * each.factor[1], reverse=True)
    return next((each for each in fitting if looks_the_same(levels[0].image, each)), levels[0])


def looks_the_same(base: StoredImage, level: ReadableLevel) -> bool:
    """Whether a level has the colours of the finest one; see `same_colours`.

    Raises
    ------
    NotFound, DamagedFile, NotAcceptable
        When frames cannot be read.
    """
    # Of an image that is one large frame all places come from the same.
    fine, coarse = (
        partial(image.read_region, decoded=cached_frames(image, _PROBE_BYTES)) for image in (base, level.image)
    )
    return same_colours(fine, coarse, (level.image.columns, level.image.rows), level.factor)


def same_colours(fine: Read, coarse: Read, size: tuple[int, int], factor: tuple[float, float]) -> bool:
    """Whether two levels have the same colours, by their means at a few places; deep pixels are not looked at.

    ``size`` is that of the coarser one, ``factor`` how much finer the other is, both (x, y).
    """
    width, height = (max(1, int(_PROBE_PIXELS / each)) for each in factor)
    different = 0
    for across, down in _PROBES:
        x = max(0, int(size[0] * across) - width // 2)
        y = max(0, int(size[1] * down) - height // 2)
        place = (x, y, min(width, size[0] - x), min(height, size[1] - y))
        pixels = coarse(*place)
        if pixels.dtype != np.uint8:
            return True
        finer = fine(*(int(value * factor[axis % 2]) for axis, value in enumerate(place)))
        apart = np.abs(pixels.mean(axis=(0, 1)) - finer.mean(axis=(0, 1)))
        different += bool(apart.max() > _OTHER_COLOUR)
    return different * 2 < len(_PROBES)


def _factor(base: StoredImage, level: StoredImage, axis: int) -> int:
    """Return whole slide pixels per pixel of a level, 0 when there is no such number; ``axis`` 0 is x."""
    sizes = (base.columns, level.columns) if axis == 0 else (base.rows, level.rows)
    spacings = (base.pixel_spacing_mm[1 - axis], level.pixel_spacing_mm[1 - axis])
    ratios = [sizes[0] / sizes[1]]
    if spacings[0] > 0 and spacings[1] > 0:
        ratios.insert(0, spacings[1] / spacings[0])
    for ratio in ratios:
        factor = round(min(ratio, 2 * _COARSEST_FACTOR))
        if 1 <= factor <= _COARSEST_FACTOR and abs(sizes[1] * factor - sizes[0]) < _ROUNDING_PIXELS * factor + (
            factor == 1
        ):
            return factor
    return 0
