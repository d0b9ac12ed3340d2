"""The shipped model ``nuclei-classical`` finds nuclei: made ones with known truth, and those of the real slide."""

from pathlib import Path

import cv2
import numpy as np
import openslide
import pytest

from dicomsvc.ai.catalogue.reading import read_manifest
from dicomsvc.ai.images import analyse_picture, describe
from dicomsvc.ai.inference import InProcessBackend
from tests.accuracy.made_tissue import MadeTissue, make_tissue
from tests.accuracy.scoring import dice, f1

MODELS = Path(__file__).parents[2] / "triton_models"


@pytest.fixture(scope="module")
def look():
    manifest = read_manifest(MODELS / "nuclei-classical")[-1]
    backend = InProcessBackend(MODELS)
    return lambda picture, mpp: describe(analyse_picture(picture, mpp, manifest, backend), manifest)["instances"]


@pytest.fixture(scope="module")
def tissues() -> list[MadeTissue]:
    return [make_tissue(seed) for seed in range(3)]


def centroids(instances) -> np.ndarray:
    return np.array([instance["centroid"] for instance in instances], float).reshape(-1, 2)


def test_made_nuclei_are_found_and_outlined(look, tissues):
    """Measured: F1 0.96, 0.97, 0.96; Dice 0.93."""
    for tissue in tissues:
        instances = look(tissue.picture, 0.25)
        assert f1(centroids(instances), tissue.centres) > 0.93
        assert dice([np.array(instance["contour"]) for instance in instances], tissue.labels) > 0.9


def test_made_nuclei_are_found_at_half_the_resolution(look, tissues):
    for tissue in tissues:
        small = cv2.resize(tissue.picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        instances = look(small, 0.5)
        assert f1(centroids(instances) * 2 + 0.5, tissue.centres) > 0.9


def test_a_small_picture_has_what_the_large_one_has_there(look, tissues):
    """A picture of less than a tile, mirrored at its edges, and one of several tiles: the same nuclei."""
    tissue = tissues[0]
    large = np.tile(tissue.picture, (2, 2, 1))
    found = centroids(look(large, 0.25))
    alone = centroids(look(tissue.picture, 0.25))
    for shift in ((0, 0), (512, 0), (0, 512), (512, 512)):
        here = found - shift
        near = (here > 20).all(axis=1) & (here < 492).all(axis=1)
        assert f1(here[near], alone[(alone > 20).all(axis=1) & (alone < 492).all(axis=1)]) > 0.98


@pytest.mark.parametrize("colour", [(255, 255, 255), (240, 238, 242), (0, 0, 0), (230, 170, 200), (120, 80, 160)])
def test_nothing_is_found_in_a_picture_of_one_colour(look, colour):
    rng = np.random.default_rng(1)
    picture = np.clip(np.array(colour) + rng.normal(0, 1.0, (300, 400, 3)), 0, 255).astype(np.uint8)
    assert len(look(picture, 0.25)) <= 3


def test_the_real_slide_has_nuclei_where_it_is_dark_blue(look, cmu_small_region):
    slide = openslide.OpenSlide(str(cmu_small_region))
    picture = np.asarray(slide.read_region((600, 600), 0, (900, 900)).convert("RGB"))
    instances = look(picture, 0.499)
    per_mm2 = len(instances) / (0.9 * 0.499) ** 2
    assert 1000 < per_mm2 < 6000
    areas = np.array([instance["measurements"]["area_um2"] for instance in instances])
    assert 15 < np.median(areas) < 70
    inside = np.zeros(picture.shape[:2], np.uint8)
    for instance in instances:
        cv2.fillPoly(inside, [np.rint(instance["contour"]).astype(np.int32)], [1])
    red = picture[:, :, 0].astype(float)
    assert red[inside == 0].mean() - red[inside == 1].mean() > 40
