"""Splitting a foreground into things, and drawing their outlines."""

import cv2
import numpy as np
import pytest
from scipy import ndimage

from dicomsvc.ai.decoding.measuring import Pixels, ellipses
from dicomsvc.ai.decoding.outlines import outlines
from dicomsvc.ai.decoding.splitting import split


def disks(shape: tuple[int, int], *places: tuple[int, int, int]) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.any([(x - cx) ** 2 + (y - cy) ** 2 <= r * r for cx, cy, r in places], axis=0)


def field_of(mask: np.ndarray) -> np.ndarray:
    distance = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    return cv2.GaussianBlur(distance, (0, 0), 1.0)


def polygon_area(points: np.ndarray) -> float:
    x, y = points.astype(np.float64).T
    return abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def test_touching_disks_are_two_things_and_a_disk_is_one():
    mask = disks((60, 120), (25, 30, 15), (51, 30, 15), (95, 30, 15))
    labels = split(field_of(mask), mask, 0.2)
    assert labels.max() == 3
    assert np.array_equal(labels > 0, mask)
    assert len({labels[30, 20], labels[30, 56], labels[30, 95]}) == 3


def test_a_share_of_one_never_splits():
    mask = disks((60, 120), (25, 30, 15), (51, 30, 15), (95, 30, 15))
    labels = split(field_of(mask), mask, 1.0)
    assert np.array_equal(labels, ndimage.label(mask, np.ones((3, 3)))[0])


def test_a_bumpy_map_splits_nothing():
    mask = disks((80, 80), (40, 40, 30))
    rng = np.random.default_rng(1)
    bumpy = field_of(mask) + rng.normal(0, 0.5, mask.shape).astype(np.float32)
    assert split(np.maximum(bumpy, 0.1).astype(np.float32), mask, 0.3).max() == 1


def test_a_flat_map_is_one_thing():
    mask = np.ones((40, 50), bool)
    assert split(np.ones(mask.shape, np.float32), mask, 0.0).max() == 1


def test_an_empty_foreground_has_no_things():
    assert split(np.zeros((5, 5), np.float32), np.zeros((5, 5), bool), 0.2).max() == 0


def test_a_weak_peak_joins_its_neighbour():
    mask = disks((60, 120), (25, 30, 15), (51, 30, 15))
    strength = np.where(np.arange(120) < 38, 1.0, -1.0)[None].repeat(60, 0).astype(np.float32)
    assert split(field_of(mask), mask, 0.2).max() == 2
    assert split(field_of(mask), mask, 0.2, weak_below=strength).max() == 1


def test_shifting_an_image_shifts_its_things():
    rng = np.random.default_rng(2)
    field = cv2.GaussianBlur(rng.random((90, 90)).astype(np.float32), (0, 0), 3)
    mask = field > np.median(field)
    whole = split(field, mask, 0.05)
    part = split(np.ascontiguousarray(field[20:, 10:]), np.ascontiguousarray(mask[20:, 10:]), 0.05)
    for label in np.unique(part[10:-10, 10:-10])[1:]:
        rows, columns = np.nonzero(part == label)
        if rows.min() > 0 and columns.min() > 0:
            assert np.count_nonzero(whole == whole[rows[0] + 20, columns[0] + 10]) == len(rows)


@pytest.mark.parametrize("radius", [1, 2, 5, 12, 30])
def test_an_outline_has_the_area_of_its_pixels_less_half_a_pixel(radius):
    mask = disks((70, 70), (35, 34, radius)).astype(np.int32)
    outline = next(outlines(mask, ndimage.find_objects(mask), [1], 0))
    assert polygon_area(outline.points) == pytest.approx(mask.sum() - 0.5, abs=1e-3)
    assert outline.points.mean(axis=0) == pytest.approx((35.5, 34.5), abs=0.01)
    assert outline.solidity > 0.9


def test_an_outline_at_the_edge_of_the_image_stays_inside():
    labels = np.ones((9, 7), np.int32)
    outline = next(outlines(labels, ndimage.find_objects(labels), [1], 0))
    assert outline.points.min(axis=0).tolist() == [0, 0]
    assert outline.points.max(axis=0).tolist() == [7, 9]


def test_neighbours_are_outlined_apart():
    labels = np.zeros((10, 20), np.int32)
    labels[2:8, 2:10], labels[2:8, 10:18] = 1, 2
    left, right = outlines(labels, ndimage.find_objects(labels), [1, 2], 0)
    assert left.points[:, 0].max() == 10 == right.points[:, 0].min()


def test_a_simpler_outline_keeps_the_area():
    mask = disks((70, 70), (35, 35, 14)).astype(np.int32)
    boxes = ndimage.find_objects(mask)
    full, simple = (next(outlines(mask, boxes, [1], tolerance)) for tolerance in (0, 0.5))
    assert len(simple.points) < len(full.points)
    assert polygon_area(simple.points) == pytest.approx(mask.sum(), rel=0.04)


def test_an_ellipse_has_the_axes_it_was_drawn_with():
    y, x = np.mgrid[:101, :101] - 50.0
    along, across = (x + y) / np.sqrt(2), (x - y) / np.sqrt(2)
    mask = ((along / 30) ** 2 + (across / 10) ** 2 <= 1).astype(np.int32)
    measured = ellipses(Pixels.of(mask))
    assert measured["major_axis"][0] == pytest.approx(60, rel=0.02)
    assert measured["minor_axis"][0] == pytest.approx(20, rel=0.02)
    assert measured["eccentricity"][0] == pytest.approx(np.sqrt(1 - 1 / 9), rel=0.01)
