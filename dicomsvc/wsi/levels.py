"""Which stored level serves a resolution, and how its pixels lie on the slide's.

A level's size is rounded (2967 rows become 742 a quarter as large), so sizes alone would let it drift against the
finest one. The ratio of pixel spacings says what was meant; it is taken when it is a whole number that explains the
sizes. A level of another ratio is left out: a finer one is always there.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from dicomsvc.errors import UnfitSlide
from dicomsvc.wsi.slide import Slide, StoredImage

_ROUNDING_PIXELS: Final = 2


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
    """Return the coarsest level that is not coarser than ``step`` slide pixels; the finest where all are."""
    fitting = [each for each in levels if each.factor[0] <= step[0] and each.factor[1] <= step[1]]
    return max(fitting or levels[:1], key=lambda each: each.factor[0] * each.factor[1])


def _factor(base: StoredImage, level: StoredImage, axis: int) -> int:
    """Return whole slide pixels per pixel of a level, 0 when there is no such number; ``axis`` 0 is x."""
    sizes = (base.columns, level.columns) if axis == 0 else (base.rows, level.rows)
    spacings = (base.pixel_spacing_mm[1 - axis], level.pixel_spacing_mm[1 - axis])
    ratios = [sizes[0] / sizes[1]]
    if spacings[0] > 0 and spacings[1] > 0:
        ratios.insert(0, spacings[1] / spacings[0])
    for ratio in ratios:
        factor = round(min(ratio, 1 << 20))
        if factor >= 1 and abs(sizes[1] * factor - sizes[0]) < _ROUNDING_PIXELS * factor + (factor == 1):
            return factor
    return 0
