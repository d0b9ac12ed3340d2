"""A slide file or a picture at the resolution of the crops."""

import math
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from dicomsvc.ai.training.unlabelled import Source
from dicomsvc.errors import UnfitSlide
from dicomsvc.wsi.plan import Rectangle, make_grid
from dicomsvc.wsi.raster import resize

_MARGIN: Final = 2
_WHITE: Final = 255


class FilePixels:
    """Level 0 of what OpenSlide reads, or a plain picture, resampled to ``mpp`` micrometres a pixel.

    ``slide_mpp`` is that of the file where it does not tell it, or tells it wrongly.

    Raises
    ------
    BadRequest, NotParseable
        When the file cannot be read.
    UnfitSlide
        When nobody says what its resolution is.
    """

    def __init__(self, file: Path, mpp: float, slide_mpp: float | None = None) -> None:
        self._file = Source(file)
        known = (slide_mpp, slide_mpp) if slide_mpp is not None else self._file.mpp
        if known is None:
            raise UnfitSlide(f"{file} does not say its resolution; give --slide-mpp, its micrometres a pixel")
        self.slide_mpp = known
        self.grid = make_grid(self._file.size[0], self._file.size[1], known, mpp)

    @property
    def mpp(self) -> tuple[float, float]:
        return self.slide_mpp[0] * float(self.grid.step[0]), self.slide_mpp[1] * float(self.grid.step[1])

    def read(self, area: Rectangle) -> npt.NDArray[np.uint8]:
        """Return a rectangle of the plane as ``(rows, columns, 3)``, white where the slide ends."""
        (left, right), (top, bottom) = (
            _aligned(first, end, step.denominator, math.ceil(_MARGIN / step) if step < 1 else 0)
            for first, end, step in (
                (area.x, area.right, self.grid.step[0]),
                (area.y, area.bottom, self.grid.step[1]),
            )
        )
        x, y = int(left * self.grid.step[0]), int(top * self.grid.step[1])
        source = self._source(Rectangle(x, y, int(right * self.grid.step[0]) - x, int(bottom * self.grid.step[1]) - y))
        found = resize(source, right - left, bottom - top)
        return np.ascontiguousarray(found[area.y - top : area.bottom - top, area.x - left : area.right - left])

    def _source(self, area: Rectangle) -> npt.NDArray[np.uint8]:
        pixels = np.full((area.height, area.width, 3), _WHITE, np.uint8)
        part = area.overlap(Rectangle(0, 0, self._file.size[0], self._file.size[1]))
        if part.width > 0 and part.height > 0:
            top, left = part.y - area.y, part.x - area.x
            found = self._file.read(part.x, part.y, part.width, part.height)
            pixels[top : top + part.height, left : left + part.width] = found
        return pixels


def _aligned(first: int, end: int, block: int, margin: int) -> tuple[int, int]:
    """Widen a range of plane pixels until it ends on whole source pixels."""
    return (first - margin) // block * block, -(-(end + margin) // block) * block
