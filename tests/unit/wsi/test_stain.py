"""Stain steps."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from dicomsvc.errors import InvalidModel
from dicomsvc.wsi.resampling import Plane
from dicomsvc.wsi.stain import STEPS, apply_steps, complete_settings, fit_steps, sample_tissue
from dicomsvc.wsi.stain.colour import from_lab, to_lab
from dicomsvc.wsi.stain.density import HED, density, intensity, unit, unmix
from dicomsvc.wsi.stain.separation import sparse_amounts
from dicomsvc.wsi.tissue import TissueMask, detect_tissue
from tests.unit.wsi.made_slides import made_slide

Pixels = npt.NDArray[np.uint8]
SLIDES = [
    ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11)),
    ((0.56, 0.72, 0.41), (0.22, 0.80, 0.56)),
    ((0.75, 0.60, 0.28), (0.30, 0.85, 0.43)),
]
NORMALISERS = ("macenko", "vahadane", "reinhard")


def stained(stains: tuple[tuple[float, ...], ...], count: int = 20_000, seed: int = 0, strength: float = 1.0) -> Pixels:
    """Pixels of nuclei (hematoxylin on a little eosin), stroma (eosin) and some of both."""
    random = np.random.default_rng(seed)
    kind = random.random(count)
    hematoxylin = np.where(kind < 0.4, random.gamma(8, 0.15, count), 0.02 * random.random(count))
    eosin = np.where(kind < 0.3, 0.02 * random.random(count), random.gamma(8, 0.09, count))
    amounts = strength * np.stack([hematoxylin, eosin], axis=1).astype(np.float32)
    return intensity((amounts @ unit(np.array(stains))).astype(np.float32))


def degrees(one: object, other: object) -> float:
    """The larger of the angles between two pairs of vectors."""
    cosines = (unit(np.asarray(one)) * unit(np.asarray(other))).sum(axis=1)
    return float(np.degrees(np.arccos(np.clip(cosines, -1, 1))).max())


@pytest.mark.parametrize("stains", SLIDES)
@pytest.mark.parametrize("step", ["macenko", "vahadane"])
def test_stain_vectors_are_found(step: str, stains: tuple[tuple[float, ...], ...]) -> None:
    (parameters,) = fit_steps([(step, {})], stained(stains))
    assert degrees(parameters["stains"], stains) < 1.5


@pytest.mark.parametrize("step", NORMALISERS)
def test_a_slide_normalised_to_itself_hardly_changes(step: str) -> None:
    pixels = stained(SLIDES[1])
    (first,) = fit_steps([(step, {})], pixels)
    if step == "reinhard":
        reference = {"reference_mean": first["mean"], "reference_deviation": first["deviation"]}
    else:
        reference = {"reference_stains": first["stains"], "reference_maximum": first["maximum"]}
    again = apply_steps(pixels[None], fit_steps([(step, reference)], pixels))[0]
    apart = np.abs(again.astype(int) - pixels)
    assert apart.mean() < 1.0


@pytest.mark.parametrize("step", NORMALISERS)
def test_slides_of_other_stains_look_alike_afterwards(step: str) -> None:
    """The same tissue, stained three ways and with three strengths."""
    slides = [stained(stains, strength=strength) for stains, strength in zip(SLIDES, (0.7, 1.0, 1.2), strict=True)]
    after = [apply_steps(pixels[None], fit_steps([(step, {})], pixels))[0] for pixels in slides]

    def apart(pictures: list[Pixels]) -> float:
        means = np.stack([picture.mean(axis=0) for picture in pictures])
        return float(np.ptp(means, axis=0).max())

    assert apart(after) < 0.3 * apart(slides)


def test_what_is_white_stays_glass_and_black_stays_dark() -> None:
    parameters = fit_steps([("macenko", {})], stained(SLIDES[0]))
    white = apply_steps(np.full((4, 4, 3), 255, np.uint8), parameters)
    black = apply_steps(np.zeros((4, 4, 3), np.uint8), parameters)
    assert (white >= 238).all() and (black < 60).all()


@pytest.mark.parametrize("step", sorted(STEPS))
@pytest.mark.parametrize(
    "pixels",
    [
        np.full((5000, 3), 255, np.uint8),
        np.zeros((5000, 3), np.uint8),
        np.full((5000, 3), (200, 120, 180), np.uint8),
        np.empty((0, 3), np.uint8),
        stained(SLIDES[0])[:10],
        np.random.default_rng(0).integers(0, 2, (5000, 1), np.uint8) * np.uint8(255) * np.ones(3, np.uint8),
        np.random.default_rng(0).integers(0, 256, (5000, 3), np.uint8),
    ],
    ids=["white", "black", "one colour", "none", "ten", "black and white", "noise"],
)
def test_nothing_to_learn_from_changes_nothing_and_says_so(step: str, pixels: Pixels) -> None:
    parameters = fit_steps([(step, {})], pixels)
    tile = stained(SLIDES[0], 64 * 64).reshape(64, 64, 3)
    assert json.loads(json.dumps(parameters, allow_nan=False)) == list(parameters)
    changed = apply_steps(tile, parameters)
    assert changed.shape == tile.shape and changed.dtype == np.uint8
    if step != "hed" and len(np.unique(pixels, axis=0)) < 50:
        assert parameters[0]["identity"] and np.array_equal(changed, tile)


def test_parameters_that_went_through_json_do_the_same() -> None:
    pixels = stained(SLIDES[2])
    tile = pixels[: 50 * 60].reshape(50, 60, 3)
    for step in STEPS:
        parameters = fit_steps([(step, {})], pixels)
        assert np.array_equal(apply_steps(tile, json.loads(json.dumps(parameters))), apply_steps(tile, parameters))


def test_steps_follow_each_other() -> None:
    pixels = stained(SLIDES[2])
    steps = fit_steps([("macenko", {}), ("hed", {})], pixels)
    assert [each["step"] for each in steps] == ["macenko", "hed"]
    tile = pixels[:100].reshape(10, 10, 3)
    assert np.array_equal(apply_steps(tile, steps), apply_steps(apply_steps(tile, steps[:1]), steps[1:]))


def test_deconvolution_tells_the_stains_apart() -> None:
    amounts = np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [0.5, 0.4, 0]], np.float32)
    pixels = intensity((amounts @ unit(HED)).astype(np.float32))
    found = apply_steps(pixels[None], fit_steps([("hed", {"maximum": 2.0})], pixels))[0]
    assert np.abs(found / 127.5 - amounts).max() < 0.03


def test_density_and_intensity_undo_each_other() -> None:
    pixels = np.arange(241, dtype=np.uint8)[:, None].repeat(3, axis=1)
    assert np.array_equal(intensity(density(pixels)), pixels)
    assert np.abs(unmix(density(pixels), unit(HED)) @ unit(HED) - density(pixels)).max() < 1e-5
    everything = np.random.default_rng(0).integers(0, 256, (5000, 3), np.uint8)
    assert np.abs(from_lab(to_lab(everything)).astype(int) - everything).max() <= 1


def test_sparse_amounts_are_the_minimum() -> None:
    random = np.random.default_rng(4)
    densities = random.gamma(1.0, 0.5, (300, 3)).astype(np.float32)
    stains = unit(np.array(SLIDES[0]))

    def cost(amounts: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        return ((densities - amounts @ stains) ** 2).sum(axis=1) / 2 + 0.1 * amounts.sum(axis=1)

    best = sparse_amounts(densities, stains, 0.1)
    assert (best >= 0).all()
    for _ in range(200):
        other = np.clip(best + random.normal(0, 0.05, best.shape), 0, None)
        assert (cost(other) >= cost(best) - 1e-5).all()


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("nosuch", {}, "no step 'nosuch'; there are macenko"),
        ("macenko", {"sparsity": 1}, "no setting 'sparsity'"),
        ("vahadane", {"glass": -5}, "above 0"),
        ("macenko", {"percentile": 101}, "below 100"),
        ("reinhard", {"reference_mean": [1, 2]}, "3 number"),
        ("reinhard", {"reference_mean": [1, 2, float("nan")]}, "3 number"),
        ("macenko", {"glass": "bright"}, "must hold numbers"),
    ],
)
def test_wrong_settings_are_named(name: str, settings: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidModel, match=said):
        complete_settings(name, settings)


def test_samples_come_from_all_of_the_tissue_and_always_the_same(tmp_path: Path) -> None:
    pixels = np.full((900, 1200, 3), 243, np.uint8)
    pixels[100:800, 100:600] = (200, 120, 180)
    pixels[100:800, 600:1100] = (120, 80, 160)
    slide = made_slide(tmp_path, pixels, 1.0, (1, 2))
    tissue = detect_tissue(slide)
    found = sample_tissue(Plane(slide, 1.0), tissue, 5000)
    left, right = ((found == colour).all(axis=1).mean() for colour in ((200, 120, 180), (120, 80, 160)))
    assert len(found) > 4500 and 0.4 < left < 0.6 and left + right > 0.9
    assert np.array_equal(found, sample_tissue(Plane(slide, 1.0), tissue, 5000, threads=1))


def test_no_tissue_gives_no_samples_and_steps_that_change_nothing(tmp_path: Path) -> None:
    slide = made_slide(tmp_path, np.full((300, 300, 3), 255, np.uint8), 1.0)
    empty = TissueMask(np.zeros((30, 30), bool), (10.0, 10.0), (1.0, 1.0))
    found = sample_tissue(Plane(slide, 1.0), empty)
    assert found.shape == (0, 3)
    assert all("identity" in each for each in fit_steps([(name, {}) for name in NORMALISERS], found))
