"""What was found, as rows of pixels of one level of the slide: what segmentations and maps are written from.

Whatever the slide's size, memory holds one strip as wide as the level and a few chunks.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dicomsvc.ai.decoding import ChunkFindings, Raster
from dicomsvc.ai.decoding.smoothing import without_single_cells
from dicomsvc.ai.findings import Instances
from dicomsvc.ai.rasters import OutlineRaster
from dicomsvc.objects.levels import Strips
from dicomsvc.objects.source import SourceLevel, SourceSlide
from dicomsvc.wsi.plan import Rectangle, TilePlan

Strip = npt.NDArray[Any]
_CACHE_BYTES: Final = 192 << 20
_COUNTED_ROWS: Final = 512


def nearest_level(source: SourceSlide, mpp: float) -> int:
    """Return the number of the level whose pixels are nearest in size to ``mpp`` micrometres."""
    spacings = [math.sqrt(math.prod(level.pixel_spacing_mm)) * 1000 for level in source.levels]
    return min(range(len(spacings)), key=lambda number: abs(math.log(spacings[number] / mpp)))


def outline_strips(instances: Instances, classes: int, source: SourceSlide, level: SourceLevel, rows: int) -> Strips:
    """Return what gives rows of ``rows`` pixels of a level, bool ``(classes, rows, columns)``: inside of outlines."""
    base = source.levels[0]
    scale = level.columns / base.columns, level.rows / base.rows
    rasters = [
        OutlineRaster(instances.chosen(instances.class_index == number), scale, level.columns)
        for number in range(classes)
    ]

    def strip(number: int) -> Strip | None:
        height = min(rows, level.rows - number * rows)
        found = [raster.strip(number * rows, height) for raster in rasters]
        return np.stack(found) if any(each.any() for each in found) else None

    return strip


class RasterStrips:
    """Rasters of the chunks, resampled to levels by nearest neighbour.

    Parameters
    ----------
    name
        Of the rasters: ``class_map``, ``probability``, ``map``, ``image``, ``channels``.
    load
        Returns a chunk's findings by its number.
    background
        Where no tile was looked at.
    smooth
        Whether single cells are taken out of a class map.

    Attributes
    ----------
    cell
        Width and height of a cell, in plane pixels.
    """

    def __init__(
        self,
        name: str,
        plan: TilePlan,
        load: Callable[[int], ChunkFindings],
        background: float,
        *,
        smooth: bool = False,
    ) -> None:
        self._name = name
        self._plan = plan
        self._load = load
        self._background = background
        self._smooth = smooth
        self._rasters: OrderedDict[int, Raster] = OrderedDict()
        self._bytes = 0
        first = self._raster(plan.chunks[0].number) if plan.chunks else None
        self.cell = 1 if first is None else first.cell
        self._like = np.empty((0, 0), np.uint8) if first is None else first.values
        self._columns = -(-plan.columns // self.cell)
        self._rows = -(-plan.rows // self.cell)

    def strips(self, source: SourceSlide, level: SourceLevel, rows: int) -> Callable[[int], Strip]:
        """Return what gives rows of ``rows`` pixels of a level: ``(rows, columns)``, or with channels at the end."""
        down = self._cells(level.rows, source.levels[0].rows, self._plan.scale[1], self._rows)
        across = self._cells(level.columns, source.levels[0].columns, self._plan.scale[0], self._columns)

        def strip(number: int) -> Strip:
            wanted = down[number * rows : (number + 1) * rows]
            first = int(wanted[0])
            block = self._block(first, int(wanted[-1]) + 1)
            return block[wanted - first][:, across]

        return strip

    def counts(self, classes: int, place: Rectangle | None = None) -> npt.NDArray[np.int64]:
        """Return how many cells of class maps have each class, none first; ``place``: only there, in slide pixels."""
        counts = np.zeros(classes + 1, np.int64)
        for values in self.values(place):
            counts += np.bincount(values.ravel(), minlength=classes + 1)[: classes + 1]
        return counts

    def values(self, place: Rectangle | None = None) -> Iterator[npt.NDArray[Any]]:
        """Yield all cells, some rows at a time; ``place``: only those of a rectangle of slide pixels."""
        left, top, right, bottom = 0, 0, self._columns, self._rows
        if place is not None:
            x, y = (each / self.cell for each in self._plan.scale)
            left, right = round(place.x * x), min(right, round(place.right * x))
            top, bottom = round(place.y * y), min(bottom, round(place.bottom * y))
        for first in range(top, bottom, _COUNTED_ROWS):
            yield self._block(first, min(first + _COUNTED_ROWS, bottom))[:, left:right]

    def _cells(self, pixels: int, slide_pixels: int, scale: float, cells: int) -> npt.NDArray[np.int64]:
        """Return the cell in which the centre of each pixel of a level lies."""
        centres = (np.arange(pixels) + 0.5) * (slide_pixels / pixels) * scale / self.cell
        return np.clip(centres.astype(np.int64), 0, cells - 1)

    def _block(self, first: int, end: int) -> Strip:
        """Return whole rows of cells from ``first`` to before ``end``."""
        if not self._smooth:
            return self._read(first, end)
        above = max(0, first - 1)
        smoothed = without_single_cells(self._read(above, min(end + 1, self._rows)))
        return smoothed[first - above : end - above]

    def _read(self, first: int, end: int) -> Strip:
        """Return rows as the model gave them."""
        shape = (end - first, self._columns, *self._like.shape[2:])
        block = np.full(shape, self._background, self._like.dtype)
        for chunk in self._plan.chunks:
            area = chunk.area
            if area.y >= end * self.cell or area.bottom <= first * self.cell:
                continue
            raster = self._raster(chunk.number)
            place = raster.place
            top, bottom = max(first, place.y), min(end, place.bottom)
            right = min(place.right, self._columns)
            if bottom > top and right > place.x:
                values = raster.values[top - place.y : bottom - place.y, : right - place.x]
                block[top - first : bottom - first, place.x : right] = values
        return block

    def _raster(self, number: int) -> Raster:
        if number in self._rasters:
            self._rasters.move_to_end(number)
            return self._rasters[number]
        raster = self._load(number).rasters[self._name]
        self._rasters[number] = raster
        self._bytes += raster.values.nbytes
        while self._bytes > _CACHE_BYTES and len(self._rasters) > 1:
            self._bytes -= self._rasters.popitem(last=False)[1].values.nbytes
        return raster


def class_strips(strips: Callable[[int], Strip], classes: int) -> Strips:
    """Return what gives bool ``(classes, rows, columns)`` of class maps, in which 0 is none and 1 the first class."""
    numbers = np.arange(1, classes + 1, dtype=np.uint8).reshape(-1, 1, 1)

    def strip(number: int) -> Strip | None:
        classes_there = strips(number)
        return classes_there[None] == numbers if classes_there.any() else None

    return strip


def channel_strips(strips: Callable[[int], Strip]) -> Strips:
    """Return what gives ``(channels, rows, columns)`` of rasters that have channels at the end, or none."""

    def strip(number: int) -> Strip:
        values = strips(number)
        return values[None] if values.ndim == 2 else np.moveaxis(values, 2, 0)

    return strip
