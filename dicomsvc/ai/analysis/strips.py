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
from dicomsvc.ai.findings import Instances
from dicomsvc.ai.rasters import OutlineRaster
from dicomsvc.objects.source import SourceLevel, SourceSlide
from dicomsvc.wsi.plan import TilePlan

Strip = npt.NDArray[Any]
_CACHE_BYTES: Final = 192 << 20
_COUNTED_ROWS: Final = 512


def nearest_level(source: SourceSlide, mpp: float) -> int:
    """Return the number of the level whose pixels are nearest in size to ``mpp`` micrometres."""
    spacings = [math.sqrt(math.prod(level.pixel_spacing_mm)) * 1000 for level in source.levels]
    return min(range(len(spacings)), key=lambda number: abs(math.log(spacings[number] / mpp)))


def outline_strips(
    instances: Instances, classes: int, source: SourceSlide, level: SourceLevel, rows: int
) -> Iterator[Strip]:
    """Yield strips of so many rows, bool ``(classes, rows, columns)``: the pixels inside of each class's outlines."""
    base = source.levels[0]
    scale = level.columns / base.columns, level.rows / base.rows
    rasters = [
        OutlineRaster(instances.chosen(instances.class_index == number), scale, level.columns)
        for number in range(classes)
    ]
    for top in range(0, level.rows, rows):
        height = min(rows, level.rows - top)
        yield np.stack([raster.strip(top, height) for raster in rasters])


class RasterStrips:
    """Rasters of the chunks, resampled to levels by nearest neighbour.

    Parameters
    ----------
    name
        Of the rasters: ``class_map``, ``probability``, ``map``, ``image``.
    load
        Returns a chunk's findings by its number.
    background
        Where no tile was looked at, and outside of the regions asked for.
    """

    def __init__(self, name: str, plan: TilePlan, load: Callable[[int], ChunkFindings], background: float) -> None:
        self._name = name
        self._plan = plan
        self._load = load
        self._background = background
        self._rasters: OrderedDict[int, Raster] = OrderedDict()
        self._bytes = 0
        first = self._raster(plan.chunks[0].number) if plan.chunks else None
        self._cell = 1 if first is None else first.cell
        self._like = np.empty((0, 0), np.uint8) if first is None else first.values
        self._columns = -(-plan.columns // self._cell)
        self._rows = -(-plan.rows // self._cell)

    def strips(self, source: SourceSlide, level: SourceLevel, rows: int) -> Iterator[Strip]:
        """Yield strips of so many rows of a level, ``(rows, columns)`` or ``(rows, columns, channels)``."""
        down = self._cells(level.rows, source.levels[0].rows, self._plan.scale[1], self._rows)
        across = self._cells(level.columns, source.levels[0].columns, self._plan.scale[0], self._columns)
        for top in range(0, level.rows, rows):
            wanted = down[top : top + rows]
            first = int(wanted[0])
            block = self._block(first, int(wanted[-1]) + 1)
            yield block[wanted - first][:, across]

    def counts(self, classes: int) -> npt.NDArray[np.int64]:
        """Return how many cells of class maps have each class, none first."""
        counts = np.zeros(classes + 1, np.int64)
        for top in range(0, self._rows, _COUNTED_ROWS):
            block = self._block(top, min(top + _COUNTED_ROWS, self._rows))
            counts += np.bincount(block.ravel(), minlength=classes + 1)[: classes + 1]
        return counts

    def _cells(self, pixels: int, slide_pixels: int, scale: float, cells: int) -> npt.NDArray[np.int64]:
        """Return the cell in which the centre of each pixel of a level lies."""
        centres = (np.arange(pixels) + 0.5) * (slide_pixels / pixels) * scale / self._cell
        return np.clip(centres.astype(np.int64), 0, cells - 1)

    def _block(self, first: int, end: int) -> Strip:
        """Return whole rows of cells from ``first`` to before ``end``."""
        shape = (end - first, self._columns, *self._like.shape[2:])
        block = np.full(shape, self._background, self._like.dtype)
        for chunk in self._plan.chunks:
            area = chunk.area
            if area.y >= end * self._cell or area.bottom <= first * self._cell:
                continue
            raster = self._raster(chunk.number)
            place = raster.place
            top, bottom = max(first, place.y), min(end, place.bottom)
            right = min(place.right, self._columns)
            if bottom > top and right > place.x:
                values = raster.values[top - place.y : bottom - place.y, : right - place.x]
                block[top - first : bottom - first, place.x : right] = values
        return self._only_regions(block, first)

    def _only_regions(self, block: Strip, first: int) -> Strip:
        if not self._plan.regions:
            return block
        wanted = np.zeros(block.shape[:2], bool)
        for region in self._plan.regions:
            top, bottom = region.y // self._cell - first, -(-region.bottom // self._cell) - first
            wanted[max(top, 0) : max(bottom, 0), region.x // self._cell : -(-region.right // self._cell)] = True
        block[~wanted] = self._background
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


def class_strips(strips: Iterator[Strip], classes: int) -> Iterator[Strip]:
    """Yield bool strips ``(classes, rows, columns)`` of class maps, in which 0 is none and 1 the first class."""
    numbers = np.arange(1, classes + 1, dtype=np.uint8).reshape(-1, 1, 1)
    for strip in strips:
        yield strip[None] == numbers
