"""Drawings of the same thing are found, and most annotators decide."""

import numpy as np
import pytest

from dicomsvc.ai.agreement.consensus import UNDECIDED, consensus_things, majority, majority_mask, vote
from dicomsvc.ai.agreement.kappa import NONE
from dicomsvc.ai.agreement.things import Thing, groups, overlaps, things_of, things_of_marks
from dicomsvc.ai.training.data.marks import make_mark
from dicomsvc.errors import BadRequest, TooLarge


def square(row, column, side=10, label=""):
    return Thing(row, column, np.ones((side, side), bool), label)


def test_drawings_that_overlap_by_half_are_of_one_thing():
    # Moved by 3 of 10: IoU 70 / 130 = 0.54; by 4: 60 / 140 = 0.43.
    assert list(overlaps([square(0, 0)], [square(0, 3)])) == [(0, 0, pytest.approx(70 / 130))]
    assert len(groups([[square(0, 0)], [square(0, 3)]])) == 1
    assert len(groups([[square(0, 0)], [square(0, 4)]])) == 2


def test_nobody_is_in_a_group_twice_and_the_best_pair_comes_first():
    found = groups([[square(0, 0)], [square(0, 5), square(0, 1)], [square(0, 2)]])
    assert sorted(len(group.drawn) for group in found) == [1, 3]
    together = next(group for group in found if len(group.drawn) == 3)
    assert together.drawn[1].column == 1
    assert len({id(thing) for group in found for thing in group.drawn.values()}) == 4


def test_touching_things_stay_apart():
    labels = np.zeros((20, 30), np.int32)
    labels[5:15, 5:15], labels[5:15, 15:25] = 1, 2
    again = np.zeros_like(labels)
    again[5:15, 6:16], again[5:15, 16:26] = 7, 9
    found = groups([things_of(labels), things_of(again)])
    assert [sorted(group.drawn) for group in found] == [[0, 1], [0, 1]]
    assert {group.drawn[0].column - group.drawn[1].column for group in found} == {-1}


def test_more_than_half_of_the_annotators_make_a_thing():
    three = [[square(0, 0, label="a"), square(50, 50)], [square(0, 1, label="b")], [square(0, 2, label="a")]]
    kept = consensus_things(groups(three), 3)
    assert len(kept) == 1
    # Columns 0-9, 1-10, 2-11: at least two of three drew 1-10.
    assert (kept[0].column, np.flatnonzero(kept[0].mask.any(axis=0)).tolist()) == (0, list(range(1, 11)))
    assert kept[0].label == "a"
    assert consensus_things(groups([[square(0, 0)], []]), 2) == []


def test_a_tie_of_classes_is_not_decided_by_chance():
    two = [[square(0, 0, label="a")], [square(0, 1, label="b")]]
    assert [thing.label for thing in consensus_things(groups(two), 2)] == [""]
    assert vote(["a", "b", None]).label is None
    assert (vote(["a", "b", "b"]).label, vote(["a", "b", "b"]).votes, vote([None, "a"]).of) == ("b", 2, 1)
    ratings = np.array([[0, 0, 1], [0, 1, NONE], [NONE, NONE, NONE], [2, NONE, NONE]])
    assert majority(ratings).tolist() == [0, UNDECIDED, NONE, 2]


def test_pixels_are_voted_on_one_by_one_and_unknown_ones_have_no_vote():
    masks = [np.array([[0, 1, 2, 255, 1, 255]]), np.array([[0, 1, 1, 1, 2, 255]]), np.array([[1, 0, 0, 1, 1, 255]])]
    assert majority_mask(masks, unknown=255, undecided=9).tolist() == [[0, 1, 9, 1, 1, 9]]
    with pytest.raises(BadRequest, match="one size"):
        majority_mask([masks[0], masks[0][:, :2]])


def test_three_drawings_without_a_common_majority_pixel_still_make_a_thing():
    one = Thing(0, 0, np.eye(3, dtype=bool))
    other = Thing(0, 0, np.eye(3, dtype=bool)[::-1])
    group = groups([[one], [other]], least_iou=0.1)
    kept = consensus_things(group, 2)
    assert [thing.area for thing in kept] == [1]


def mark(points, label="x"):
    made = make_mark(label, None, [np.array(points, float)])
    assert made is not None
    return made


def test_outlines_become_the_pixels_that_they_cover_by_half():
    corners = np.array([[2.0, 1], [6, 1], [6, 4], [2, 4]])
    (things,), pixel = things_of_marks([[mark(corners), mark(corners + 0.4, "Region*")]])
    assert pixel == 1
    assert [(each.row, each.column, each.label, each.area) for each in things] == [(1, 2, "x", 12)]
    (large,), pixel = things_of_marks([[mark(corners * 4096)]])
    assert pixel == 8
    assert large[0].area == pytest.approx(4 * 3 * (4096 / 8) ** 2, rel=0.01)


def test_an_outline_of_less_than_a_pixel_is_still_a_thing():
    (things,), _ = things_of_marks([[mark([[2.1, 3.1], [2.3, 3.1], [2.2, 3.3]])]])
    assert [(each.row, each.column, each.area) for each in things] == [(3, 2, 1)]


def test_more_outlines_than_memory_holds_are_refused():
    corners = [[0.0, 0], [2000, 0], [2000, 2000], [0, 2000]]
    with pytest.raises(TooLarge, match="too large"):
        things_of_marks([[mark(corners)] * 200])
