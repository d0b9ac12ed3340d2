"""Figures of found nuclei mean what they say."""

import subprocess
import sys

import numpy as np
import pytest

from dicomsvc.ai.training.scoring import MEASURES, Counts, measured, score


def square(left, top, side):
    """Return an instance that covers so many pixel centres each way."""
    right, bottom = left + side - 0.5, top + side - 0.5
    contour = [[left - 0.5, top - 0.5], [right, top - 0.5], [right, bottom], [left - 0.5, bottom]]
    return {"centroid": [left + (side - 1) / 2, top + (side - 1) / 2], "contour": contour}


@pytest.fixture
def labels():
    known = np.zeros((60, 60), np.int32)
    known[10:20, 10:20] = 7
    known[40:50, 30:40] = 9
    return known


def figures(instances, labels):
    counts = score(instances, labels)
    return {name: measure(counts) for name, measure in MEASURES.items()}


def test_what_is_found_as_it_is_has_full_marks(labels):
    found = figures([square(10, 10, 10), square(30, 40, 10)], labels)
    assert all(value == pytest.approx(1) for value in found.values())


def test_nothing_found_has_none(labels):
    assert not any(figures([], labels).values())
    assert not any(figures([square(1, 1, 5)], np.zeros((20, 20), np.int32)).values())


def test_each_measure_counts_a_miss_a_surplus_and_a_shift(labels):
    found = figures([square(13, 10, 10), square(50, 5, 10)], labels)
    assert found["precision"] == found["recall"] == found["f1"] == 0.5
    assert found["dice"] == pytest.approx(2 * 70 / 400)
    assert found["aji"] == pytest.approx(70 / (130 + 100 + 100))
    assert found["pq"] == pytest.approx((70 / 130) / 2)


def test_a_nucleus_is_paired_once_and_within_the_radius_only(labels):
    twice = figures([square(10, 10, 10), square(11, 10, 10)], labels)
    assert (twice["precision"], twice["recall"]) == (0.5, 0.5)
    assert figures([square(16, 10, 10)], labels)["f1"] == 0


def test_intervals_are_those_of_pictures():
    good, bad = Counts(known=10, found=10, paired=10), Counts(known=10, found=10)
    assert measured([good] * 8)["f1"].interval == (1, 1)
    found = measured([good, bad] * 4)["f1"]
    assert found.value == 0.5
    assert found.interval[0] < 0.35 and found.interval[1] > 0.65


def test_the_commands_and_the_measures_need_no_pytorch():
    code = "import sys, dicomsvc.cli, dicomsvc.ai.training.evaluating; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
