"""Coarser marks, the labels they give to patches, and what is measured."""

import numpy as np
import pytest
from PIL import Image

from dicomsvc.ai.training.granularity.grading import folder_grades, size_grades, size_limits
from dicomsvc.ai.training.granularity.marks import Granularity, drawn, marks
from dicomsvc.ai.training.granularity.measures import CLASSIFIER, SEGMENTER, differences, estimates, pooled
from dicomsvc.ai.training.granularity.patches import balanced, cut, grid
from dicomsvc.ai.training.granularity.plan import Plan, read_plan, resumed, write_plan
from dicomsvc.ai.training.granularity.variation import recoloured, turned
from dicomsvc.ai.training.labelled import Labelled
from dicomsvc.errors import BadRequest


def disc(labels, row, column, radii, number):
    rows, columns = np.ogrid[: labels.shape[0], : labels.shape[1]]
    labels[((rows - row) / radii[0]) ** 2 + ((columns - column) / radii[1]) ** 2 <= 1] = number


def sample(*nuclei, side=128, name="one"):
    labels = np.zeros((side, side), np.int32)
    for number, (row, column, radii) in enumerate(nuclei, 1):
        disc(labels, row, column, radii, number)
    return Labelled(name, np.repeat((labels > 0).astype(np.uint8)[..., None] * 200, 3, 2), labels)


def areas(labels):
    return {kind: int((drawn(marks(labels, kind), labels.shape) > 0).sum()) for kind in Granularity}


def test_marks_grow_from_pixels_to_boxes_and_coarse_ones_hold_the_nucleus():
    one = sample((60, 50, (20, 12))).labels
    one[60:80, 50:62][one[60:80, 50:62] == 0] = 1
    size = areas(one)
    assert size["pixel"] == (one > 0).sum()
    assert size["pixel"] < size["ellipse"] < size["box"] * 1.5
    for kind in (Granularity.ELLIPSE, Granularity.BOX):
        assert (drawn(marks(one, kind), one.shape)[one > 0] == 1).all()
    assert abs(size["fitted-ellipse"] / size["pixel"] - 1) < 0.05
    (box,) = marks(one, Granularity.BOX)
    assert (box.row, box.column, box.mask.shape) == (40, 38, (41, 25))


def test_the_fitted_ellipse_of_an_ellipse_is_itself():
    labels = np.zeros((160, 160), np.int32)
    rows, columns = np.mgrid[:160, :160] - 80.0
    along, across = rows * np.cos(0.6) + columns * np.sin(0.6), columns * np.cos(0.6) - rows * np.sin(0.6)
    labels[(along / 40) ** 2 + (across / 18) ** 2 <= 1] = 1
    again = drawn(marks(labels, Granularity.FITTED_ELLIPSE), labels.shape) > 0
    both = (again & (labels > 0)).sum()
    assert 2 * both / (again.sum() + (labels > 0).sum()) > 0.99


@pytest.mark.parametrize("kind", list(Granularity))
def test_marks_at_the_border_stay_in_the_picture(kind):
    one = sample((0, 0, (15, 15)), (127, 60, (3, 30)), (64, 127, (0.5, 0.5))).labels
    found = marks(one, kind)
    assert [mark.number for mark in found] == [1, 2, 3]
    for mark in found:
        rows, columns = mark.place
        assert 0 <= rows.start < rows.stop <= 128
        assert 0 <= columns.start < columns.stop <= 128
        assert mark.mask.any()


def test_where_marks_overlap_the_highest_grade_is_drawn():
    one = sample((40, 40, (15, 15)), (62, 62, (15, 15))).labels
    assert (one[48:54, 48:54] > 0).any()
    picture = drawn(marks(one, Granularity.BOX), one.shape, {1: 2, 2: 1})
    assert picture[50, 50] == 2
    assert picture[70, 70] == 1


def test_a_patch_has_its_highest_grade_and_needs_a_whole_nucleus():
    one = sample((16, 16, (6, 6)), (16, 46, (6, 6)), (80, 62, (6, 6)))
    found = grid(one, {1: 1, 2: 3, 3: 2}, Granularity.PIXEL, 32)
    by_corner = {tuple(corner): grade for corner, grade in zip(found.corners.tolist(), found.grades, strict=True)}
    # A stride of 16: (0, 0) holds nucleus 1 alone, (0, 16) only half of 1 and all but a rim of 2.
    assert by_corner[0, 0] == 1
    assert (0, 16) not in by_corner
    assert by_corner[0, 32] == 3
    # Nucleus 3 spans columns 56 to 68: no patch that ends at 64 holds it.
    assert by_corner[64, 48] == 2
    assert (64, 32) not in by_corner
    assert all(grade > 0 for grade in by_corner.values())


def test_coarser_marks_change_labels_where_only_the_mark_reaches():
    # The corner of the box of nucleus 2 reaches into the patch at (0, 0), the nucleus itself does not.
    one = sample((12, 12, (7, 7)), (42, 42, (13, 13)))
    grades = {1: 1, 2: 2}
    labels = {}
    for kind in (Granularity.PIXEL, Granularity.BOX):
        found = grid(one, grades, kind, 32)
        labels[kind] = dict(zip(map(tuple, found.corners.tolist()), found.grades.tolist(), strict=True))
    assert labels[Granularity.PIXEL][0, 0] == 1
    assert labels[Granularity.BOX][0, 0] == 2


def test_grades_are_drawn_in_equal_numbers():
    one = sample(*[(20 + 30 * (at // 4), 16 + 30 * (at % 4), (5 + at % 3, 5)) for at in range(12)])
    grids = [grid(one, size_grades(one, size_limits([one])), Granularity.PIXEL, 32)] * 2
    taken = balanced(grids, 5, np.random.default_rng(0))
    counts = np.bincount(np.concatenate([grids[number].grades[which] for number, which in taken]))
    assert len(set(counts[counts > 0])) == 1
    assert cut(one, grids[0], 64).shape == (len(grids[0]), 64, 64, 3)


def test_the_folder_may_say_the_classes(tmp_path):
    one = sample((40, 40, (10, 10)), (90, 90, (10, 10)))
    assert folder_grades(one, tmp_path, 1.0) is None
    classes = np.where(one.labels == 1, 2, np.where(one.labels == 2, 255, 0)).astype(np.uint8)
    (tmp_path / "classes").mkdir()
    Image.fromarray(classes).save(tmp_path / "classes" / "one.png")
    assert folder_grades(one, tmp_path, 1.0) == {1: 2, 2: 1}
    Image.fromarray(classes[:50]).save(tmp_path / "classes" / "one.png")
    with pytest.raises(BadRequest, match="another size"):
        folder_grades(one, tmp_path, 1.0)


def test_measures_are_those_of_a_table_worked_by_hand():
    # Rows are true: 8 of 10 and 15 of 20 are right.
    counts = {"one": np.array([[8.0, 2], [5, 15]])}
    found = estimates(counts, CLASSIFIER)
    assert found["accuracy"].value == pytest.approx(23 / 30)
    assert found["recall"].value == pytest.approx((0.8 + 0.75) / 2)
    assert found["precision"].value == pytest.approx((8 / 13 + 15 / 17) / 2)
    assert found["f1"].value == pytest.approx((16 / 23 + 30 / 37) / 2)
    pixels = estimates(counts, SEGMENTER)
    assert pixels["dice"].value == pytest.approx(30 / 37)
    assert pixels["nuclei_recall"].value == pytest.approx(0.75)
    assert pixels["nuclei_precision"].value == pytest.approx(15 / 17)


def test_differences_are_of_the_same_pictures():
    chance = np.random.default_rng(0)
    one, other = {}, {}
    for number in range(30):
        hard = chance.uniform(0.3, 0.9)
        one[f"{number}"] = np.array([[900.0, 10], [100 * (1 - hard), 100 * hard]])
        other[f"{number}"] = np.array([[895.0, 15], [100 * (1 - hard), 100 * hard]])
    apart = differences(one, other, SEGMENTER)["dice"]
    assert apart.is_apart_from_zero
    assert apart.high - apart.low < 0.2 * (
        estimates(one, SEGMENTER)["dice"].high - estimates(one, SEGMENTER)["dice"].low
    )
    assert pooled([one, other])["3"][0, 0] == 1795


def test_a_plan_is_taken_up_again_and_another_is_refused(tmp_path):
    plan = Plan(networks=("unet", "resnet18"), patches=(32,))
    kept = plan.within(600, {"unet": 1.0, "resnet18": 0.5})
    # Three cells of two shares and three of one: 66.7 s are a share.
    assert kept.steps == {"unet": 133, "resnet18": 133}
    write_plan(kept, tmp_path)
    assert read_plan(tmp_path) == kept
    assert resumed(plan, tmp_path) == kept
    with pytest.raises(BadRequest, match="other settings"):
        resumed(Plan(networks=("unet",), patches=(32,)), tmp_path)
    assert resumed(plan, tmp_path / "new") is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"networks": ("lenet",)}, "not lenet"),
        ({"patches": (33,)}, "even side"),
        ({"side": 50}, "multiple of 32"),
        ({"granularities": (Granularity.BOX,)}, "two kinds"),
    ],
)
def test_plans_that_cannot_be_done_are_refused(wrong, message):
    with pytest.raises(BadRequest, match=message):
        Plan(**wrong).check()


def test_eight_ways_to_lie_differ_and_colours_change_within_bounds():
    square = np.arange(9).reshape(3, 3)
    assert len({turned(square, way).tobytes() for way in range(8)}) == 8
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8)
    again = recoloured(pixels, np.random.default_rng(1))
    assert again.shape == pixels.shape
    assert again.dtype == np.uint8
    assert not np.array_equal(again, pixels)
