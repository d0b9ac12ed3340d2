"""Kappas are those of the literature and of scikit-learn 1.9.1 and statsmodels 0.15.0."""

import numpy as np
import pytest

from dicomsvc.ai.agreement.kappa import (
    Weights,
    cohen_by_group,
    cohen_from_table,
    cohen_kappa,
    confusion,
    fleiss_kappa,
    percent_agreement,
)
from dicomsvc.errors import BadRequest

# Fleiss 1971, table 1: 30 patients, six psychiatrists, five diagnoses.
FLEISS_1971 = """
00060 03003 01401 00006 03030 20400 00402 20310 20040 00006 10050 11040 03300 10050 02031
00501 30012 51000 02040 10203 00006 01050 02013 20040 10041 05010 40002 02040 10500 00006
"""


def ratings(table):
    return np.array([[category for category, often in enumerate(row) for _ in range(often)] for row in table])


def test_fleiss_kappa_is_that_of_the_1971_paper():
    table = [[int(count) for count in row] for row in FLEISS_1971.split()]
    found = fleiss_kappa(ratings(table))
    assert found.units == 30
    # The paper: mean agreement 0.556, kappa 0.430. statsmodels: 0.43024452006014074
    assert found.value == pytest.approx(0.43024452006014074, abs=1e-12)
    assert percent_agreement(ratings(table)).value == pytest.approx(0.5556, abs=5e-5)
    assert found.low < found.value < found.high


def test_cohen_kappa_of_a_table_worked_by_hand():
    # 50 cases: agreement 35/50 = 0.7; by chance 0.5 * 0.6 + 0.5 * 0.4 = 0.5; kappa 0.2 / 0.5.
    assert cohen_from_table(np.array([[20.0, 5], [10, 15]])).value == pytest.approx(0.4, abs=1e-12)


@pytest.mark.parametrize(
    ("weights", "wanted"),
    # scikit-learn's cohen_kappa_score with weights=None, "linear", "quadratic" on the same ratings.
    [
        (Weights.NONE, 0.6246145595924386),
        (Weights.LINEAR, 0.7772296920996101),
        (Weights.QUADRATIC, 0.8897290485192186),
    ],
)
def test_weighted_kappa_is_that_of_scikit_learn(weights, wanted):
    chance = np.random.default_rng(1)
    one = chance.integers(0, 4, 200)
    other = np.clip(one + chance.integers(-1, 2, 200) * (chance.random(200) < 0.5), 0, 3)
    found = cohen_kappa(one, other, weights)
    assert found.value == pytest.approx(wanted, abs=1e-12)
    assert found.low < found.value < found.high


def test_units_that_one_rater_left_out_do_not_count():
    one, other = np.array([0, 1, 1, -1, 0, 2]), np.array([0, 1, 0, 1, -1, 2])
    assert cohen_kappa(one, other) == cohen_kappa(one[[0, 1, 2, 5]], other[[0, 1, 2, 5]])
    three = np.array([[0, 0, 0], [1, 1, -1], [0, 1, -1], [2, -1, -1]])
    found = fleiss_kappa(three)
    # Units agree 1, 1, 0 (the last has one rating); shares 4/7 and 3/7 give 25/49 by chance.
    assert found.units == 3
    assert found.value == pytest.approx((2 / 3 - 25 / 49) / (1 - 25 / 49), abs=1e-12)


def test_kappa_is_undefined_where_chance_explains_everything():
    same = np.zeros((10, 3), np.int64)
    assert np.isnan(fleiss_kappa(same).value)
    assert np.isnan(cohen_kappa(same[:, 0], same[:, 1]).value)
    assert percent_agreement(same).value == 1
    assert np.isnan(cohen_kappa(np.array([-1, 0]), np.array([0, -1])).value)


def test_pixels_of_few_pictures_give_wider_intervals_than_as_many_units():
    chance = np.random.default_rng(0)
    groups = np.repeat(np.arange(6), 500)
    truth = chance.integers(0, 2, 3000)
    wrong = chance.random((3000, 2)) < np.repeat([0.02, 0.05, 0.1, 0.2, 0.3, 0.4], 500)[:, None]
    two = np.abs(truth[:, None] - wrong)
    single, by_group = fleiss_kappa(two), fleiss_kappa(two, groups)
    assert by_group.value == single.value
    assert by_group.high - by_group.low > 3 * (single.high - single.low)
    tables = np.stack([confusion(two[groups == each, 0], two[groups == each, 1], 2) for each in range(6)])
    cohen = cohen_by_group(tables)
    assert cohen.value == cohen_kappa(two[:, 0], two[:, 1]).value
    assert cohen.low < by_group.value < cohen.high


def test_one_rater_has_nobody_to_agree_with():
    with pytest.raises(BadRequest, match="two raters"):
        fleiss_kappa(np.zeros((5, 1), np.int64))
    with pytest.raises(BadRequest, match="same units"):
        cohen_kappa(np.zeros(5, np.int64), np.zeros(4, np.int64))
