"""Which levels a converted slide has, and what each is made of."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from dicomsvc.ingest.convert.sources.base import Pixels, SourceLevel
from dicomsvc.wsi.levels import same_colours

# Viewers step by two or four; a wider gap is filled.
_WIDEST_STEP: Final = 4.5
_SMALLEST_TILE, _LARGEST_TILE = 128, 1024


@dataclass(frozen=True, slots=True)
class PlannedLevel:
    """A level to write: of the source's, or (``source`` is ``None``) made from the level before it.

    ``downsample`` is how much coarser than the finest level it is, along columns and rows.
    """

    columns: int
    rows: int
    tile_columns: int
    tile_rows: int
    downsample: tuple[float, float]
    source: SourceLevel | None

    @property
    def tiles_across(self) -> int:
        return math.ceil(self.columns / self.tile_columns)

    @property
    def tiles_down(self) -> int:
        return math.ceil(self.rows / self.tile_rows)

    @property
    def tiles(self) -> int:
        return self.tiles_across * self.tiles_down


def plan_chains(
    levels: Sequence[SourceLevel], tile_size: int, *, build: bool, uniform: bool
) -> list[list[PlannedLevel]]:
    """Plan the pyramid: each chain is a level of the source and those made from it, each half of the one before."""
    chains = []
    usable = list(_descending(levels))
    for index, level in enumerate(usable):
        coarser = usable[index + 1] if index + 1 < len(usable) else None
        tile = _made_tile(usable[0] if uniform else level, tile_size)
        chains.append(_chain(level, coarser if build else level, usable[0], tile))
    return chains


def looks_like_finest(levels: Sequence[SourceLevel], level: SourceLevel) -> bool:
    """Whether a level has the colours of the finest one.

    There are slides whose coarser levels hold RGB in JPEGs that say YCbCr, so that glass is magenta there.
    """
    base = levels[0]
    if level is base:
        return True

    def fine(x: int, y: int, columns: int, rows: int) -> Pixels:
        # Sizes of coarse levels are rounded, upwards too.
        return base.read(0, x, y, min(columns, base.columns - x), min(rows, base.rows - y))

    return same_colours(fine, partial(level.read, 0), (level.columns, level.rows), level_scale(base, level))


def _made_tile(level: SourceLevel, tile_size: int) -> tuple[int, int]:
    """Choose the tile size of levels made from ``level``: its own, when that is a handy one."""
    tile = level.tile_columns, level.tile_rows
    return tile if all(_SMALLEST_TILE <= side <= _LARGEST_TILE for side in tile) else (tile_size, tile_size)


def _descending(levels: Sequence[SourceLevel]) -> Iterator[SourceLevel]:
    last: SourceLevel | None = None
    for level in levels:
        if last is None or (level.columns < last.columns and level.rows < last.rows):
            yield level
            last = level


def _chain(
    level: SourceLevel, coarser: SourceLevel | None, base: SourceLevel, tile: tuple[int, int]
) -> list[PlannedLevel]:
    scale = level_scale(base, level)
    chain = [PlannedLevel(level.columns, level.rows, *tile, scale, level)]
    columns, rows = level.columns, level.rows
    while _continue(columns, rows, tile, coarser):
        columns, rows = math.ceil(columns / 2), math.ceil(rows / 2)
        scale = scale[0] * 2, scale[1] * 2
        chain.append(PlannedLevel(columns, rows, *tile, scale, None))
    return chain


def _continue(columns: int, rows: int, tile: tuple[int, int], coarser: SourceLevel | None) -> bool:
    if coarser is not None:
        return columns / coarser.columns > _WIDEST_STEP
    return columns > tile[0] or rows > tile[1]


def level_scale(base: SourceLevel, level: SourceLevel) -> tuple[float, float]:
    """Tell how much coarser a level is.

    Sizes of coarse levels are rounded: where a whole number explains both, that number is meant.
    """
    if level.downsample is not None:
        return level.downsample, level.downsample
    exact = base.columns / level.columns, base.rows / level.rows
    whole = round((exact[0] + exact[1]) / 2)
    if whole >= 1 and all(
        abs(size / whole - coarse) <= 1 for size, coarse in ((base.columns, level.columns), (base.rows, level.rows))
    ):
        return float(whole), float(whole)
    return exact
