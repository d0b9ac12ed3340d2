"""Scores come from cells against the slide's own background, and are refused when they do not hold together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomsvc.ai.ihc.plausibility import Colouring, colouring, judge_cells, judge_colours
from dicomsvc.ai.ihc.presets import PRESETS, preset_named
from dicomsvc.ai.ihc.scoring import Cells, category, columns, positive_cells, score
from dicomsvc.errors import BadRequest
from dicomsvc.objects.codes import MEASURES

HEMATOXYLIN, EOSIN, DAB = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])


def cells(negative: int, positive: int, haze: float = 0.0, seed: int = 0) -> Cells:
    """Nuclei without marker but the haze, and nuclei with 0.7 more."""
    chance = np.random.default_rng(seed)
    od = haze + chance.uniform(0, 0.04, negative + positive)
    od[negative:] += 0.7
    return Cells(np.arange(negative + positive) >= negative, od, np.full(negative + positive, haze))


def measured(found: Cells, **more: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "mean_marker_od": found.nuclear_od,
        "mean_dab_od": found.nuclear_od * 0.8,
        "positive_probability": np.where(found.positive, 0.97, 0.03),
        "mean_counterstain_od": np.full(len(found), 0.4),
        **more,
    }


def pixels(*stains: tuple[np.ndarray, float], count: int = 4000) -> np.ndarray:
    """Pixels of each stain of a density, in equal parts."""
    parts = [np.tile(stain / np.linalg.norm(stain) * amount, (count, 1)) for stain, amount in stains]
    density = np.concatenate(parts) * np.random.default_rng(1).uniform(0.7, 1.3, (count * len(parts), 1))
    return np.clip(256 * 10**-density - 1, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("haze", [0.0, 0.1, 0.2])
def test_a_brown_slide_scores_as_a_clean_one(haze: float) -> None:
    found = score(cells(80, 20, haze), preset_named("ki67"))
    assert found.percent_positive == 20
    assert found.bins == (80, 0, 0, 20)
    assert found.h_score == 60
    assert found.background_od == pytest.approx(haze + 0.02, abs=0.01)


def test_bins_follow_the_density_above_background_and_positive_cells_are_at_least_weak() -> None:
    od = np.concatenate([np.zeros(20), [0.1, 0.3, 0.5, 0.9]])
    found = score(Cells(np.arange(24) >= 20, od, od), preset_named("er"))
    assert found.bins == (20, 2, 1, 1)
    assert found.h_score == pytest.approx(100 * (2 * 1 + 2 + 3) / 24)


def test_the_interval_is_that_of_counting() -> None:
    found = score(cells(90, 10), preset_named("nuclear"))
    # Wilson 1927: 10 of 100.
    assert found.interval == pytest.approx((5.52, 17.44), abs=0.05)


@pytest.mark.parametrize(
    ("percent", "word"),
    [(0, "negative"), (0.99, "negative"), (1, "low positive"), (10, "low positive"), (11, "positive")],
)
def test_estrogen_receptor_is_named_after_the_guideline(percent: float, word: str) -> None:
    assert category(percent, PRESETS["er"]) == word


@pytest.mark.parametrize(("positive", "proportion"), [(0, 0), (4, 1), (50, 2), (200, 3), (400, 4), (900, 5)])
def test_allred_proportions_are_those_of_1998(positive: int, proportion: int) -> None:
    assert score(cells(1000 - positive, positive), PRESETS["er"]).allred == (proportion, 3 if positive else 0)


def test_a_membrane_marker_is_read_in_the_ring_whatever_the_nucleus_is() -> None:
    ring = np.concatenate([np.full(30, 0.05), np.full(10, 0.6)])
    found = Cells(np.zeros(40, bool), np.full(40, 0.05), ring)
    assert score(found, PRESETS["cd8"]).percent_positive == 25
    assert positive_cells(found, PRESETS["ki67"]).sum() == 0


def test_columns_come_from_what_the_model_measured() -> None:
    found = columns(np.array([0, 1], np.int16), {"mean_marker_od": np.array([0.1, 0.8])})
    assert found.positive.tolist() == [False, True]
    assert found.ring_od.tolist() == [0.1, 0.8]


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0, 0.3))
def test_numbers_agree_with_each_other(negative: int, positive: int, haze: float) -> None:
    for preset in PRESETS.values():
        found = score(cells(negative, positive, haze), preset)
        assert sum(found.bins) == found.total == negative + positive
        assert sum(found.bins[1:]) == found.positive
        assert 0 <= found.h_score <= 300
        assert found.interval[0] - 1e-9 <= found.percent_positive <= found.interval[1] + 1e-9


def test_every_percentage_has_a_code() -> None:
    assert {preset.measure for preset in PRESETS.values()} <= MEASURES.keys()
    assert MEASURES["ki67_percent"].concept.value == "29593-1"


def test_a_marker_that_is_not_known_is_refused() -> None:
    with pytest.raises(BadRequest, match="ki67"):
        preset_named("ki-67")


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        (pixels((HEMATOXYLIN, 0.6), (EOSIN, 0.4)), "looks like H&E"),
        (np.random.default_rng(0).integers(0, 40, (4000, 3)).astype(np.uint8), "fluorescence"),
        (pixels((HEMATOXYLIN, 0.03), (DAB, 0.03)), "washed out"),
        (np.repeat(np.random.default_rng(0).integers(60, 200, (4000, 1)), 3, axis=1).astype(np.uint8), "no colour"),
        (np.empty((0, 3), np.uint8), "no tissue"),
    ],
)
def test_what_is_no_immunohistochemistry_is_refused_with_the_reason(sample: np.ndarray, reason: str) -> None:
    refusals = judge_colours(colouring(sample)).refusals
    assert len(refusals) == 1
    assert reason in refusals[0]


@pytest.mark.parametrize("dab", [0.0, 0.05, 0.5, 1.2])
def test_slides_with_much_or_no_brown_are_taken(dab: float) -> None:
    sample = pixels((HEMATOXYLIN, 0.5), (DAB, dab)) if dab else pixels((HEMATOXYLIN, 0.5))
    assert not judge_colours(colouring(sample)).refusals


def test_a_score_that_holds_together_has_no_warning() -> None:
    found = cells(600, 200)
    judgement = judge_cells(found, score(found, PRESETS["ki67"]), measured(found))
    assert judgement.refusals == judgement.warnings == ()


@pytest.mark.parametrize(
    ("found", "more", "reason"),
    [
        (cells(5, 5), {}, "only 10 cells"),
        (cells(50, 50), {"mean_counterstain_od": np.full(100, 0.01)}, "no counterstain"),
        (cells(50, 50), {"positive_probability": np.full(100, 0.5)}, "cannot tell"),
        (Cells(np.ones(100, bool), np.full(100, 0.3), np.full(100, 0.29)), {}, "hardly browner"),
        (cells(95, 5), {"mean_dab_od": np.tile([0.5] * 7 + [0.0] * 3, 10)}, "disagree"),
    ],
)
def test_weak_evidence_gives_no_score(found: Cells, more: dict[str, np.ndarray], reason: str) -> None:
    refusals = judge_cells(found, score(found, PRESETS["nuclear"]), measured(found, **more)).refusals
    assert any(reason in each for each in refusals)


def test_few_cells_and_the_fallback_are_told() -> None:
    found = cells(60, 20)
    judgement = judge_cells(found, score(found, PRESETS["ki67"]), measured(found), fallback=True)
    assert not judgement.refusals
    assert [warning.split(":")[0].split(";")[0] for warning in judgement.warnings] == ["not final", "only 80 cells"]


def test_shares_are_of_the_density() -> None:
    half = colouring(pixels((DAB, 0.5), (EOSIN, 0.5)))
    assert isinstance(half, Colouring)
    assert half.eosin == pytest.approx(0.5, abs=0.1)
    assert half.brown == pytest.approx(0.5, abs=0.1)
