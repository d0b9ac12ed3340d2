"""Numbers of a whole slide."""

import numpy as np
import pytest

from dicomsvc.ai.decoding.stains import stain_density
from dicomsvc.ai.statistics import STATISTICS, compute, otsu, tissue_pixels
from dicomsvc.errors import InvalidModel

HEMATOXYLIN = np.array([0.65, 0.70, 0.29]) / np.linalg.norm([0.65, 0.70, 0.29])
EOSIN = np.array([0.07, 0.99, 0.11]) / np.linalg.norm([0.07, 0.99, 0.11])


def stained(hematoxylin: np.ndarray, eosin: np.ndarray) -> np.ndarray:
    """Pixels with known amounts of two stains, to base e."""
    density = hematoxylin[:, None] * HEMATOXYLIN + eosin[:, None] * EOSIN
    return np.clip(np.rint(256 * np.exp(-density) - 1), 0, 255).astype(np.uint8)


def test_the_amount_of_each_stain_comes_back():
    rng = np.random.default_rng(1)
    hematoxylin, eosin = rng.uniform(0, 1.5, 1000), rng.uniform(0, 1.0, 1000)
    pixels = stained(hematoxylin, eosin)
    assert stain_density(pixels, "hematoxylin") * np.log(10) == pytest.approx(hematoxylin, abs=0.06)
    assert stain_density(pixels, "eosin") * np.log(10) == pytest.approx(eosin, abs=0.06)


def test_otsu_parts_two_stained_populations_between_them():
    rng = np.random.default_rng(2)
    amounts = np.concatenate([rng.normal(0.2, 0.04, 7000), rng.normal(1.0, 0.1, 3000)])
    (threshold,) = compute(["hematoxylin_otsu"], stained(amounts, np.full(10000, 0.3)))
    assert 0.4 < threshold < 0.8


def test_otsu_is_the_threshold_of_least_variance_within():
    values = np.random.default_rng(3).gamma(2, 0.4, 4000).astype(np.float32)

    def within(threshold: float) -> float:
        low, high = values[values < threshold], values[values >= threshold]
        return len(low) * low.var() + len(high) * high.var()

    candidates = np.linspace(values.min() + 0.01, np.percentile(values, 99.5), 400)
    best = min(within(candidate) for candidate in candidates)
    assert within(otsu(values)) == pytest.approx(best, rel=0.01)


@pytest.mark.parametrize(
    "pixels",
    [
        np.empty((0, 3), np.uint8),
        np.full((1, 3), 255, np.uint8),
        np.full((5000, 3), 255, np.uint8),
        np.zeros((5000, 3), np.uint8),
        np.tile(np.array([[180, 120, 200]], np.uint8), (5000, 1)),
    ],
    ids=["none", "one white", "white", "black", "one colour"],
)
def test_without_two_populations_the_threshold_is_above_all(pixels):
    values = compute(list(STATISTICS), pixels)
    assert np.isfinite(values).all()
    (threshold,) = compute(["hematoxylin_otsu"], pixels)
    highest = float((stain_density(pixels, "hematoxylin") * np.log(10)).max()) if len(pixels) else 0
    assert threshold > highest


def test_a_name_that_is_not_known_is_refused():
    with pytest.raises(InvalidModel, match="'moon' is not known"):
        compute(["hematoxylin_otsu", "moon"], np.empty((0, 3), np.uint8))


def test_the_sample_is_of_tissue_and_bounded_and_always_the_same():
    image = np.full((900, 1000, 3), 250, np.uint8)
    image[:, :500] = np.random.default_rng(4).integers(60, 200, (900, 500, 3))
    sample = tissue_pixels(image, 20_000)
    assert 5_000 < len(sample) <= 20_000
    assert (sample.min(axis=1) < 220).all()
    assert np.array_equal(sample, tissue_pixels(image, 20_000))


def test_a_picture_of_glass_has_no_tissue():
    image = np.full((900, 1000, 3), 245, np.uint8)
    image[10, 10] = 0
    assert len(tissue_pixels(image)) == 0
