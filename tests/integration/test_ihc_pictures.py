"""The shipped IHC models score drawn pictures of known truth, and refuse what they were not made for. In process."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import openslide
import pytest
from PIL import Image
from typer.testing import CliRunner

from dicomsvc.ai.catalogue.reading import read_manifest
from dicomsvc.ai.ihc.assessment import Assessment, assess_picture
from dicomsvc.ai.ihc.presets import preset_named
from dicomsvc.ai.images import analyse_picture
from dicomsvc.ai.inference.in_process import InProcessBackend
from dicomsvc.cli import app
from tests.integration.drawn_ihc import drawn

MODELS = Path(__file__).parents[2] / "triton_models"
CMU = Path(__file__).parents[1] / "data" / "CMU-1-Small-Region.svs"


@pytest.fixture(scope="module")
def backend() -> Iterator[InProcessBackend]:
    with closing(InProcessBackend(MODELS)) as made:
        yield made


def assessed(backend: InProcessBackend, pixels: np.ndarray, model: str = "ihc", marker: str = "ki67") -> Assessment:
    manifest = read_manifest(MODELS / model)[-1]
    found = analyse_picture(pixels, 0.5, manifest, backend, threads=1).instances
    assert found is not None
    return assess_picture(pixels, found, preset_named(marker), manifest)


@pytest.mark.parametrize(("percent", "haze"), [(0, 0.03), (15, 0.2), (60, 0.04), (100, 0.04)])
def test_the_trained_network_tells_the_percentage_whatever_the_haze(
    backend: InProcessBackend, percent: float, haze: float
) -> None:
    pixels, truth = drawn(384, percent, haze)
    found = assessed(backend, pixels)
    assert found.judgement.refusals == ()
    assert found.final
    assert found.score.percent_positive == pytest.approx(truth, abs=3)


def test_a_score_of_the_fallback_is_not_final(backend: InProcessBackend) -> None:
    pixels, truth = drawn(384, 40)
    found = assessed(backend, pixels, "ihc-classical")
    assert not found.final
    assert found.score.percent_positive == pytest.approx(truth, abs=8)
    assert "not final" in found.words()


def test_real_hematoxylin_and_eosin_is_refused(backend: InProcessBackend) -> None:
    with openslide.OpenSlide(CMU) as slide:
        pixels = np.asarray(slide.read_region((900, 900), 0, (384, 384)).convert("RGB"))
    found = assessed(backend, pixels)
    assert "looks like H&E" in found.judgement.refusals[0]
    assert found.document().keys().isdisjoint({"percent_positive", "h_score", "bins"})


def test_infer_adds_the_score_to_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    pixels, truth = drawn(256, 50)
    Image.fromarray(pixels).save(tmp_path / "ihc.png")
    more = ["--mpp", "0.5", "--out", str(tmp_path / "out.jsonl"), "--in-process", "--data", str(tmp_path / "data")]
    done = CliRunner().invoke(app, ["infer", "ihc-classical", str(tmp_path / "ihc.png"), "--marker", "er", *more])
    assert done.exit_code == 0, done.output
    line = json.loads((tmp_path / "out.jsonl").read_text())
    assert line["score"]["marker"] == "er"
    assert line["score"]["note"] == "not for diagnosis"
    assert line["score"]["percent_positive"] == pytest.approx(truth, abs=15)
    assert {each["class"] for each in line["instances"]} == {"Negative nucleus", "Positive nucleus"}
    refused = CliRunner().invoke(app, ["infer", "ihc-classical", str(tmp_path / "ihc.png"), "--marker", "x", *more])
    assert refused.exit_code != 0
