"""The shipped models of tissue and of virtual stains: glass is nothing, their limits hold, synthetic is said."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openslide
import pytest

from dicomsvc.ai.catalogue.manifest import Manifest
from dicomsvc.ai.catalogue.reading import read_manifest
from dicomsvc.ai.images import analyse_picture, channel_pictures, describe
from dicomsvc.ai.inference import InProcessBackend
from dicomsvc.errors import UnfitSlide

MODELS = Path(__file__).parents[3] / "triton_models"
CMU = Path(__file__).parents[2] / "data" / "CMU-1-Small-Region.svs"


@pytest.fixture(scope="module")
def backend() -> Iterator[InProcessBackend]:
    found = InProcessBackend(MODELS)
    yield found
    found.close()


def shipped(name: str) -> Manifest:
    [manifest] = read_manifest(MODELS / name)
    return manifest


def glass() -> np.ndarray:
    return np.full((400, 400, 3), 245, np.uint8)


def tissue() -> np.ndarray:
    with openslide.OpenSlide(CMU) as slide:
        return np.asarray(slide.read_region((900, 900), 0, (700, 700)).convert("RGB"))


def test_glass_has_no_class_and_tissue_has_one(backend: InProcessBackend) -> None:
    manifest = shipped("tissue-class")
    empty = describe(analyse_picture(glass(), 1.3, manifest, backend), manifest)["areas"]
    assert sum(empty.values()) == 0
    found = describe(analyse_picture(tissue(), 0.499, manifest, backend), manifest)["areas"]
    assert sum(found.values()) > 0.9


def test_coarser_slides_than_it_learned_from_are_refused(backend: InProcessBackend) -> None:
    for name in ("tissue-class", "virtual-if"):
        with pytest.raises(UnfitSlide, match=r"needs 1\.3 um"):
            analyse_picture(glass(), 2.0, shipped(name), backend)


def test_glass_is_dark_in_the_virtual_stains_and_nuclei_are_bright(backend: InProcessBackend) -> None:
    manifest = shipped("virtual-if")
    dark = channel_pictures(analyse_picture(glass(), 1.3, manifest, backend), manifest)
    assert max(float(plane.mean()) for plane in dark.values()) < 10
    picture = tissue()
    shown = channel_pictures(analyse_picture(picture, 0.499, manifest, backend), manifest)["hoechst"].astype(float)
    nuclei = picture[:, :, 0] < 110
    assert shown[nuclei].mean() > 1.5 * shown[~nuclei].mean()


def test_the_models_say_what_their_figures_are(backend: InProcessBackend) -> None:
    assert "agreement with that model" in shipped("tissue-class").limitations
    assert "Synthetic" in shipped("virtual-if").intended_use
    for name in ("tissue-class", "virtual-if"):
        assert all(figure.interval for figure in shipped(name).accuracy)
        assert (MODELS / name / "1" / "model.onnx").stat().st_size < 6_000_000
