"""The shipped network ``nuclei`` finds nuclei that it was not trained on, at both resolutions."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from dicomsvc.ai.catalogue.reading import read_manifest
from dicomsvc.ai.images import analyse_picture, describe
from dicomsvc.ai.inference import InProcessBackend
from tests.accuracy.made_tissue import make_tissue
from tests.accuracy.scoring import dice, f1

MODELS = Path(__file__).parents[2] / "triton_models"


@pytest.fixture(scope="module")
def look():
    manifest = read_manifest(MODELS / "nuclei")[-1]
    backend = InProcessBackend(MODELS)
    return lambda picture, mpp: describe(analyse_picture(picture, mpp, manifest, backend), manifest)["instances"]


def centroids(instances) -> np.ndarray:
    return np.array([instance["centroid"] for instance in instances], float).reshape(-1, 2)


@pytest.mark.parametrize("seed", range(3))
def test_made_nuclei_are_found_at_both_resolutions(look, seed):
    tissue = make_tissue(seed)
    small = cv2.resize(tissue.picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    fine, coarse = look(tissue.picture, 0.25), look(small, 0.5)
    assert f1(centroids(fine), tissue.centres) > 0.9
    assert dice([np.array(instance["contour"]) for instance in fine], tissue.labels) > 0.85
    assert f1(centroids(coarse) * 2 + 0.5, tissue.centres) > 0.9


@pytest.mark.parametrize("colour", [(255, 255, 255), (240, 238, 242), (0, 0, 0), (230, 170, 200), (120, 80, 160)])
def test_nothing_is_found_in_a_picture_of_one_colour(look, colour):
    chance = np.random.default_rng(1)
    picture = np.clip(np.array(colour) + chance.normal(0, 1.0, (300, 400, 3)), 0, 255).astype(np.uint8)
    assert len(look(picture, 0.25)) <= 3
