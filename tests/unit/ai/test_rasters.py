import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomsvc.ai.findings import Instances
from dicomsvc.ai.rasters import OutlineRaster


def outlined(*polygons: list[tuple[float, float]]) -> Instances:
    lengths = [len(polygon) for polygon in polygons]
    count = len(polygons)
    return Instances(
        np.zeros(count, np.int16),
        np.zeros((count, 2), np.float32),
        np.ones(count, np.float32),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.array([point for polygon in polygons for point in polygon], np.float32).reshape(-1, 2),
    )


def inside(polygon: list[tuple[float, float]], x: float, y: float) -> bool:
    """Even-odd rule, by the book."""
    result = False
    for (x0, y0), (x1, y1) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        if (y0 <= y) != (y1 <= y) and x > x0 + (y - y0) / (y1 - y0) * (x1 - x0):
            result = not result
    return result


def test_a_square_on_the_pixel_grid_is_filled_exactly() -> None:
    raster = OutlineRaster(outlined([(2, 1), (5, 1), (5, 4), (2, 4)]), (1, 1), 8)
    expected = np.zeros((6, 8), bool)
    expected[1:4, 2:5] = True
    assert np.array_equal(raster.strip(0, 6), expected)


def test_overlapping_outlines_make_one_area() -> None:
    raster = OutlineRaster(outlined([(0, 0), (4, 0), (4, 4), (0, 4)], [(2, 2), (6, 2), (6, 6), (2, 6)]), (1, 1), 8)
    assert raster.strip(0, 8).sum() == 16 + 16 - 4


def test_points_and_lines_leave_no_pixel() -> None:
    raster = OutlineRaster(outlined([], [(1, 1)], [(0, 0), (5, 5)], [(1, 1), (3, 1), (3, 3), (1, 3)]), (1, 1), 8)
    assert raster.strip(0, 8).sum() == 4


def test_nothing_is_an_empty_strip() -> None:
    assert not OutlineRaster(Instances.empty(), (1, 1), 5).strip(0, 3).any()


def test_outlines_over_more_pixels_than_are_set_at_once_are_filled() -> None:
    squares = [[(0, y), (2000, y), (2000, y + 700), (0, y + 700)] for y in (0, 600, 1500)]
    strip = OutlineRaster(outlined(*squares), (1, 1), 2100).strip(0, 2300)
    assert strip.sum() == 2000 * (1300 + 700) and strip[1299, 1999] and not strip[1300:1500].any()


def test_many_outlines_take_little_more_memory_than_themselves() -> None:
    count = 100_000
    corner = np.stack([np.arange(count) % 1000, np.arange(count) // 1000], axis=1)[:, np.newaxis] * 10
    points = (corner + np.array([(1, 1), (8, 1), (8, 8), (1, 8)])).reshape(-1, 2).astype(np.float32)
    plain = np.zeros(count, np.float32)
    nuclei = Instances(
        plain.astype(np.int16), plain.reshape(-1, 1).repeat(2, 1), plain, np.arange(count + 1) * 4, points
    )
    tracemalloc.start()
    try:
        raster = OutlineRaster(nuclei, (1, 1), 10_000)
        filled = sum(int(raster.strip(row, 64).sum()) for row in range(0, 640, 64))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert filled == 64 * 1000 * 49
    assert peak < 250 * count, peak


coordinates = st.floats(-3, 23, width=32).map(lambda value: round(value, 2))


@given(st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=9), st.integers(1, 7))
def test_a_pixel_is_filled_when_its_centre_is_inside_whatever_the_strips(
    polygon: list[tuple[float, float]], rows: int
) -> None:
    exact = [(float(np.float32(x)), float(np.float32(y))) for x, y in polygon]
    raster = OutlineRaster(outlined(polygon), (1, 1), 20)
    strips = np.concatenate([raster.strip(row, rows) for row in range(0, 21, rows)])[:20]
    for row in range(20):
        for column in range(20):
            distance = min(abs(x - column - 0.5) for x in edge_positions(exact, row + 0.5)) if exact else 1
            if distance > 1e-6:
                assert strips[row, column] == inside(exact, column + 0.5, row + 0.5)


def edge_positions(polygon: list[tuple[float, float]], y: float) -> list[float]:
    found = [1e9]
    for (x0, y0), (x1, y1) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        if y0 != y1 and min(y0, y1) <= y <= max(y0, y1):
            found.append(x0 + (y - y0) / (y1 - y0) * (x1 - x0))
    return found


@pytest.mark.parametrize("scale", [(0.5, 0.5), (2.0, 1.0)])
def test_another_resolution_scales_the_outlines(scale: tuple[float, float]) -> None:
    raster = OutlineRaster(outlined([(4, 4), (12, 4), (12, 12), (4, 12)]), scale, 40)
    assert raster.strip(0, 40).sum() == 64 * scale[0] * scale[1]
