"""The pyramid that is planned reaches from the finest level to one tile, without wide gaps."""

from dataclasses import dataclass

import numpy as np
import pytest

from dicomsvc.ingest.convert.build import halve, pad
from dicomsvc.ingest.convert.levels import PlannedLevel, level_scale, plan_chains
from dicomsvc.ingest.convert.sources.base import Pixels, StoredTiles


@dataclass
class Level:
    columns: int
    rows: int
    tile_columns: int = 256
    tile_rows: int = 256
    downsample: float | None = None

    def read(self, channel: int, column: int, row: int, columns: int, rows: int) -> Pixels:
        raise AssertionError("planning reads no pixels")

    def stored(self, channel: int) -> StoredTiles | None:
        return None


def plan(*levels: Level, build: bool = True, uniform: bool = False) -> list[PlannedLevel]:
    return [level for chain in plan_chains(levels, 512, build=build, uniform=uniform) for level in chain]


def test_missing_levels_are_made_down_to_one_tile() -> None:
    planned = plan(Level(4000, 3001))
    assert [(level.columns, level.rows) for level in planned] == [
        (4000, 3001), (2000, 1501), (1000, 751), (500, 376), (250, 188),
    ]  # fmt: skip
    assert [level.downsample[0] for level in planned] == [1, 2, 4, 8, 16]


def test_only_wide_gaps_are_filled() -> None:
    planned = plan(Level(64000, 64000), Level(16000, 16000), Level(1000, 1000))
    assert [level.columns for level in planned] == [64000, 16000, 8000, 4000, 1000, 500, 250]


def test_nothing_is_made_when_it_is_not_wanted() -> None:
    assert len(plan(Level(64000, 64000), build=False)) == 1


def test_rounded_sizes_mean_a_whole_scale() -> None:
    assert level_scale(Level(4443, 3567), Level(2221, 1783)) == (2.0, 2.0)
    assert level_scale(Level(46080, 32914), Level(512, 512, downsample=128)) == (128, 128)
    assert level_scale(Level(1000, 1000), Level(300, 300)) == pytest.approx((10 / 3, 10 / 3))


def test_levels_that_are_not_coarser_are_left_out() -> None:
    assert [level.columns for level in plan(Level(200, 200), Level(200, 200), Level(300, 100))] == [200]


@pytest.mark.parametrize("tile", [64, 4096])
def test_unhandy_tiles_are_not_taken_over(tile: int) -> None:
    assert plan(Level(20000, 20000, tile, tile))[-1].tile_columns == 512


def test_halving_averages_and_keeps_odd_borders() -> None:
    tile = np.array([[0, 2, 10], [4, 6, 20], [100, 200, 255]], np.uint8)[:, :, np.newaxis]
    assert halve(tile)[:, :, 0].tolist() == [[3, 15], [150, 255]]


def test_halving_sixteen_bits_does_not_overflow() -> None:
    assert halve(np.full((4, 4, 1), 65535, np.uint16)).tolist() == [[[65535]] * 2] * 2


def test_padding_fills_at_the_bottom_and_the_right() -> None:
    padded = pad(np.zeros((2, 3, 1), np.uint8), 4, 4, 255)
    assert padded.shape == (4, 4, 1)
    assert padded[:2, :3].max() == 0
    assert padded[2:].min() == padded[:, 3:].min() == 255
