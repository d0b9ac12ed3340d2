"""Post-processing: territories, the table of cells, thresholds."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomsvc.ai.ihc.cells import CellTable, Thresholds, make_table
from dicomsvc.ai.ihc.drawing import cell_outlines, draw
from dicomsvc.ai.ihc.postprocess import LEAST_VALUE, SegPlanes, Territories, find_territories
from dicomsvc.ai.ihc.thresholds import read_thresholds
from dicomsvc.errors import BadRequest

Plane = npt.NDArray[np.uint8]


def disks(*places: tuple[int, int, int], size: int = 80) -> Plane:
    """A plane with smooth disks of x, y, radius."""
    plane = np.zeros((size, size), np.uint8)
    for x, y, radius in places:
        cv2.circle(plane, (x, y), radius, 255, -1)
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), 1), np.uint8)


def planes(positive: Plane, negative: Plane | None = None, boundary: Plane | None = None) -> SegPlanes:
    none = np.zeros_like(positive)
    return SegPlanes(positive, none if negative is None else negative, none if boundary is None else boundary)


def anew(found: Territories, marker: Plane, table: CellTable, asked: Thresholds) -> dict:
    """Count every pixel again, cell by cell, as the rules say it."""
    size = table.answer(asked).size
    chosen = []
    for cell in range(1, found.count + 1):
        inside = (found.labels == cell) & (found.value > asked.prob)
        pixels = int(inside.sum())
        if pixels == 0 or pixels <= size or (asked.size_upper is not None and pixels >= asked.size_upper):
            continue
        positive = int((inside & found.is_positive).sum())
        chosen.append((positive >= pixels - positive, int(marker[inside].max())))
    level = asked.marker
    if level is None:
        by_pixels = np.array([each[0] for each in chosen], np.bool_)
        highest = np.array([each[1] for each in chosen], np.uint8)
        level = CellTable.automatic_marker(highest, by_pixels) if chosen else None
    positive_cells = sum(by or (isinstance(level, int) and high > level) for by, high in chosen)
    return {"num_total": len(chosen), "num_pos": int(positive_cells), "num_neg": len(chosen) - int(positive_cells)}


@st.composite
def segmentations(draw_: st.DrawFn) -> tuple[SegPlanes, Plane, float]:
    """Noise of several grains, with disks and lines in it."""
    chance = np.random.default_rng(draw_(st.integers(0, 2**32 - 1)))
    rows, columns = draw_(st.integers(1, 50)), draw_(st.integers(1, 50))
    grain = draw_(st.sampled_from([0.3, 1.5, 4.0]))

    def plane() -> Plane:
        noise = cv2.GaussianBlur(chance.random((rows, columns)).astype(np.float32), (0, 0), grain)
        noise = (noise - noise.min()) / max(float(np.ptp(noise)), 1e-6)
        return np.asarray(np.clip(noise * chance.uniform(60, 320), 0, 255), np.uint8)

    boundary = np.where(chance.random((rows, columns)) < 0.1, plane(), 0).astype(np.uint8)
    return SegPlanes(plane(), plane(), boundary), plane(), draw_(st.sampled_from([0.08, 0.25, 0.5, 1.0]))


@settings(max_examples=30, deadline=None)
@given(
    segmentations(),
    st.integers(0, 254),
    st.one_of(st.none(), st.integers(0, 60)),
    st.one_of(st.none(), st.integers(1, 400)),
    st.one_of(st.none(), st.just("none"), st.integers(0, 255)),
)
def test_the_table_answers_what_counting_anew_gives(
    made: tuple[SegPlanes, Plane, float], prob: int, size: int | None, upper: int | None, marker: int | str | None
) -> None:
    segmentation, brightness, mpp = made
    found = find_territories(segmentation, mpp)
    table = make_table(found, mpp, brightness)
    asked = Thresholds(prob, size, upper, marker)  # type: ignore[arg-type]
    scoring = table.answer(asked).scoring()
    assert {name: scoring[name] for name in ("num_total", "num_pos", "num_neg")} == anew(
        found, brightness, table, asked
    )


@settings(max_examples=30, deadline=None)
@given(segmentations())
def test_every_pixel_with_a_value_has_one_territory_and_every_territory_pixels(
    made: tuple[SegPlanes, Plane, float],
) -> None:
    segmentation, _, mpp = made
    found = find_territories(segmentation, mpp)
    assert ((found.labels > 0) == (found.value > 0)).all()
    assert np.array_equal(np.unique(found.labels[found.labels > 0]), np.arange(1, found.count + 1))
    assert found.value[found.value > 0].min(initial=255) >= LEAST_VALUE


@pytest.mark.parametrize("mpp", [0.25, 0.5])
def test_touching_nuclei_are_two_and_a_long_one_is_one(mpp: float) -> None:
    grow = round(0.5 / mpp)
    two = disks((30 * grow, 40 * grow, 10 * grow), (48 * grow, 40 * grow, 10 * grow), size=80 * grow)
    long = np.zeros((80 * grow, 80 * grow), np.uint8)
    cv2.ellipse(long, (40 * grow, 40 * grow), (18 * grow, 7 * grow), 30, 0, 360, 255, -1)
    for plane, count in ((two, 2), (long, 1)):
        found = find_territories(planes(plane), mpp)
        assert make_table(found, mpp).answer(Thresholds()).scoring()["num_total"] == count


def test_a_boundary_parts_what_would_be_one() -> None:
    plane = disks((40, 40, 14))
    line = np.zeros_like(plane)
    line[:, 40] = 255
    cut = np.where(line > 0, 0, plane).astype(np.uint8)
    whole, parted = (find_territories(each, 0.5) for each in (planes(plane), planes(cut, boundary=line)))
    assert [make_table(each, 0.5).answer(Thresholds()).scoring()["num_total"] for each in (whole, parted)] == [1, 2]


def test_a_cell_with_as_many_positive_as_negative_pixels_is_positive() -> None:
    square = np.zeros((30, 30), np.uint8)
    square[10:20, 10:20] = 200
    half = np.where(np.arange(30) < 15, square, 0).astype(np.uint8)
    found = find_territories(planes(half, square - half), 0.5)
    table = make_table(found, 0.5)
    answer = table.answer(Thresholds(size=0))
    assert (int(table.above_positive[150].sum()), int(table.above_negative[150].sum())) == (50, 50)
    assert answer.scoring()["num_pos"] == answer.scoring()["num_total"] == 1


def test_the_highest_marker_makes_a_cell_positive_only_above_the_threshold() -> None:
    plane = disks((20, 20, 8))
    marker = np.zeros_like(plane)
    marker[20, 20] = 90
    table = make_table(find_territories(planes(np.zeros_like(plane), plane), 0.5), 0.5, marker)
    positive = [table.answer(Thresholds(marker=level)).scoring()["num_pos"] for level in (89, 90, "none")]
    assert positive == [1, 0, 0]


def test_sizes_are_strict_on_both_sides() -> None:
    square = np.zeros((30, 30), np.uint8)
    square[10:20, 10:20] = 200
    table = make_table(find_territories(planes(square), 0.5), 0.5)

    def total(size: int, upper: int | None = None) -> int:
        return int(table.answer(Thresholds(size=size, size_upper=upper)).scoring()["num_total"])

    assert (total(99), total(100), total(0, 101), total(0, 100)) == (1, 0, 1, 0)


def test_the_automatic_size_drops_specks_and_keeps_small_nuclei() -> None:
    plane = disks((20, 20, 10), (60, 20, 9), (20, 60, 10), (60, 60, 6), (40, 40, 1))
    answer = make_table(find_territories(planes(plane), 0.5), 0.5).answer(Thresholds())
    assert answer.scoring()["num_total"] == 4
    assert 28 <= answer.size <= 80


def test_the_automatic_marker_takes_far_outliers_only() -> None:
    highest = np.array([10, 12, 11, 13, 12, 200, 180, 190, 240], np.uint8)
    positive = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1], np.bool_)
    level = CellTable.automatic_marker(highest, positive)
    assert level is not None and 13 < level <= 200
    assert CellTable.automatic_marker(highest, np.ones(9, np.bool_)) is None
    assert CellTable.automatic_marker(highest, np.zeros(9, np.bool_)) is None


def test_drawings_show_the_cells_that_count() -> None:
    plane = disks((20, 20, 8), (60, 60, 8))
    found = find_territories(planes(np.where(np.arange(80) < 40, plane, 0).astype(np.uint8), plane), 0.5)
    table = make_table(found, 0.5)
    answer = table.answer(Thresholds())
    refined = draw(found, answer).refined()
    assert refined[20, 20].tolist() == [255, 0, 0]
    assert refined[60, 60].tolist() == [0, 0, 255]
    assert refined[40, 40].tolist() == [0, 0, 0]
    assert (refined[..., 1] == 255).any()
    for cell, outline in cell_outlines(found, table, answer.prob, [0, 1]):
        assert cv2.contourArea(outline) == pytest.approx(int(answer.area[cell]), abs=4)
    over = draw(found, answer).overlaid(np.full((80, 80, 3), 200, np.uint8))
    assert over[20, 20].tolist() == [200, 200, 200]


def test_nothing_at_all_has_no_cells() -> None:
    table = make_table(find_territories(planes(np.zeros((20, 30), np.uint8)), 0.25), 0.25, np.zeros((20, 30), np.uint8))
    scoring = table.answer(Thresholds()).scoring()
    assert (len(table), scoring["num_total"], scoring["percent_pos"]) == (0, 0, 0.0)


def test_planes_of_different_sizes_are_refused() -> None:
    with pytest.raises(BadRequest, match="one size"):
        find_territories(SegPlanes(*(np.zeros((2, each), np.uint8) for each in (2, 2, 3))), 0.5)


def test_thresholds_are_read_as_the_contract_has_them() -> None:
    assert read_thresholds({}) == Thresholds(150, None, None, None)
    query = {"prob_thresh": "0", "size_thresh": "AUTO", "size_thresh_upper": "None", "marker_thresh": "none"}
    assert read_thresholds(query) == Thresholds(0, None, None, "none")
    assert read_thresholds({"size_thresh": "0", "size_thresh_upper": "1", "marker_thresh": "255"}) == Thresholds(
        150, 0, 1, 255
    )
    for name, value in (("prob_thresh", "auto"), ("prob_thresh", "1.5"), ("size_thresh", "-1"), ("marker_thresh", "")):
        with pytest.raises(BadRequest, match=name):
            read_thresholds({name: value})
