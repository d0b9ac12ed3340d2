"""Coarser levels: area means for every size, however the finest level is cut into rows of tiles."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dicomsvc.objects.reduction import PyramidStream, Reducer
from tests.unit.objects.pyramid_slide import slide


def reduced(values: npt.NDArray[np.generic], coarse: tuple[int, int], cut: int) -> npt.NDArray[np.generic]:
    """Return what comes out when ``cut`` rows go in at a time."""
    reducer = Reducer((values.shape[1], values.shape[2]), coarse)
    parts = [reducer.push(values[:, top : top + cut]) for top in range(0, values.shape[1], cut)]
    return np.concatenate([part for part in parts if part is not None], axis=1)


@pytest.mark.parametrize(
    ("fine", "coarse", "factor"),
    [((64, 96), (32, 48), 2), ((64, 96), (16, 24), 4), ((63, 95), (32, 48), 2), ((67, 98), (16, 24), 4)],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_whole_ratios_average_square_blocks(
    fine: tuple[int, int], coarse: tuple[int, int], factor: int, dtype: type
) -> None:
    values = (np.random.default_rng(0).random((2, *fine)) * 255).astype(dtype)
    whole = tuple(size * factor for size in coarse)
    padded = np.pad(values, ((0, 0), *((0, max(0, n - m)) for n, m in zip(whole, fine, strict=True))), mode="edge")
    blocks = padded[:, : whole[0], : whole[1]].reshape(2, coarse[0], factor, coarse[1], factor)
    expected = blocks.astype(np.float64).mean(axis=(2, 4))
    np.testing.assert_allclose(reduced(values, coarse, 16), expected, atol=0.51 if dtype != np.float32 else 1e-3)


@settings(max_examples=60, deadline=None)
@example(7, 64, 0.75, 0.515625, 1, True)
@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.floats(0.05, 1.0),
    st.floats(0.05, 1.0),
    st.integers(1, 40),
    st.booleans(),
)
def test_any_sizes_keep_the_mean_and_do_not_depend_on_the_cut(
    rows: int, columns: int, down: float, right: float, cut: int, constant: bool
) -> None:
    coarse = (max(1, int(rows * down)), max(1, int(columns * right)))
    values = np.full((1, rows, columns), 200, np.uint8)
    if not constant:
        values = np.random.default_rng(rows).integers(0, 255, (1, rows, columns), np.uint8)
    result = reduced(values, coarse, cut)
    assert result.shape == (1, *coarse)
    assert np.array_equal(result, reduced(values, coarse, rows))
    if constant:
        assert (result == 200).all()


def test_odd_ratios_average_what_lies_under_a_pixel() -> None:
    values = np.arange(50, dtype=np.float32).reshape(1, 1, 50).repeat(20, axis=1)
    result = reduced(values, (8, 20), 7)
    # 2.5 fine columns a coarse one: in turn two and three of them.
    assert result.shape == (1, 8, 20)
    assert np.abs(result[0, 0] - (np.arange(20) * 2.5 + 0.75)).max() <= 0.5


def test_colour_is_averaged_by_sample() -> None:
    values = np.zeros((1, 4, 4, 3), np.uint8)
    values[..., 1] = 90
    assert (reduced(values, (2, 2), 3) == [0, 90, 0]).all()


def test_rows_of_tiles_of_all_levels_come_once_and_in_order() -> None:
    source = slide(((1000, 640), (500, 320), (125, 80), (63, 40)))
    taken: list[list[npt.NDArray[np.generic]]] = [[] for _ in source.levels]

    def take(level: int, row: int, rows: npt.NDArray[np.generic], averages: bool) -> None:
        assert row == len(taken[level])
        assert averages is (level > 0)
        taken[level].append(rows)

    values = (np.random.default_rng(2).random((1, 1000, 640)) * 255).astype(np.uint8)
    stream = PyramidStream(source.levels, 64, take)
    for top in range(0, 1000, 64):
        stream.push(values[:, top : top + 64], lambda rows: rows)
    for level, parts in zip(source.levels, taken, strict=True):
        assert [part.shape[1] for part in parts[:-1]] == [64] * (-(-level.rows // 64) - 1)
        assert np.concatenate(parts, axis=1).shape == (1, level.rows, level.columns)
    assert np.array_equal(np.concatenate(taken[0], axis=1), values)
