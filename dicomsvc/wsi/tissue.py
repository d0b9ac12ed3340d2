"""Where on a slide there is tissue."""

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from dicomsvc.wsi.levels import slide_mpp
from dicomsvc.wsi.plan import Rectangle
from dicomsvc.wsi.resampling import Plane
from dicomsvc.wsi.slide import Slide
from dicomsvc.wsi.tissue_rules import find_tissue

_USUAL_UM: Final = 8.0
_FEWEST_PIXELS: Final = 512
_MOST_PIXELS: Final = 8_000_000
_STRIP_ROWS: Final = 64
_CACHE_BYTES: Final = 128 << 20


@dataclass(frozen=True, slots=True, eq=False)
class TissueMask:
    """``mask`` ``(rows, columns)``; ``step`` is (x, y) slide pixels per mask pixel, whose corners (0, 0) are one.

    ``slide_mpp`` is (x, y); ``dark`` tells fluorescence from stain on a bright background by its looks, whatever the
    slide's attributes say; ``limit`` is the threshold that was used.
    """

    mask: npt.NDArray[np.bool_]
    step: tuple[float, float]
    slide_mpp: tuple[float, float]
    dark: bool = False
    limit: float = 0.0
    _sums: npt.NDArray[np.int64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        sums = np.zeros((self.mask.shape[0] + 1, self.mask.shape[1] + 1), np.int64)
        np.cumsum(np.cumsum(self.mask, axis=0, dtype=np.int64), axis=1, out=sums[1:, 1:])
        object.__setattr__(self, "_sums", sums)

    def touches(self, area: Rectangle) -> bool:
        """Whether there is tissue in a rectangle of slide pixels."""
        rows, columns = self.mask.shape
        left = min(max(math.floor(area.x / self.step[0]), 0), columns)
        top = min(max(math.floor(area.y / self.step[1]), 0), rows)
        right = min(max(math.ceil(area.right / self.step[0]), 0), columns)
        bottom = min(max(math.ceil(area.bottom / self.step[1]), 0), rows)
        sums = self._sums
        return bool(sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left] > 0)

    def holds(self, points: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
        """Tell of slide points ``(n, 2)`` whether they lie in tissue."""
        rows, columns = self.mask.shape
        x, y = (np.floor(points[:, axis] / self.step[axis]).astype(np.int64) for axis in (0, 1))
        inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
        found: npt.NDArray[np.bool_] = inside & self.mask[np.clip(y, 0, rows - 1), np.clip(x, 0, columns - 1)]
        return found

    @property
    def fraction(self) -> float:
        """Share of the slide that is tissue."""
        return float(self.mask.mean()) if self.mask.size else 0.0

    @property
    def area_mm2(self) -> float:
        each_um2 = self.step[0] * self.slide_mpp[0] * self.step[1] * self.slide_mpp[1]
        return float(self.mask.sum()) * each_um2 / 1e6


def detect_tissue(slide: Slide, threads: int = 2) -> TissueMask:
    """Find tissue on a picture of the slide at about 8 um a pixel; finer for small slides, coarser for huge ones.

    Fat counts only where its septa are thick enough to be seen at that resolution; mucus counts. Slides without tissue
    give an empty mask. Scan borders and black, green or plain blue ink are left out.

    Raises
    ------
    UnfitSlide
        When the slide has no level or no pixel spacing.
    NotFound, DamagedFile, NotAcceptable
        When its frames cannot be read.
    """
    across, down = slide_mpp(slide)
    base = slide.levels[0]
    width_um, height_um = base.columns * across, base.rows * down
    wanted = min(_USUAL_UM, max(width_um, height_um) / _FEWEST_PIXELS)
    least = max(across, down, math.sqrt(width_um * height_um / _MOST_PIXELS))
    plane = Plane(slide, max(wanted, least), None, cache_bytes=_CACHE_BYTES)
    strips = [
        Rectangle(0, top, plane.columns, min(_STRIP_ROWS, plane.rows - top))
        for top in range(0, plane.rows, _STRIP_ROWS)
    ]
    picture = np.concatenate(list(plane.read_many(strips, threads)))
    found = find_tissue(picture, float(np.mean(plane.mpp)))
    step = float(plane.grid.step[0]), float(plane.grid.step[1])
    return TissueMask(found.mask, step, plane.slide_mpp, found.dark, found.limit)
