"""A site trains on what its own people drew: drawn in a viewer, stored, cut out, trained, exported, run on Triton."""

import csv
import json
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset

pytest.importorskip("torch")

from tests.conftest import REPOSITORY, RunningService, import_slide
from tests.integration.dicomweb_client import BOUNDARY, MULTIPART, multipart
from tests.integration.test_analyses import SEG, SR, Slide
from tests.integration.test_models_command import told
from tests.viewer_drawings import NUCLEUS, PERSON, REGION, Outline, bulk, part10, report

LABELS = REPOSITORY / "scripts" / "nuclei_labels" / "CMU-1-Small-Region.geojson"
OTHER = "Garcia^Maria"
RECIPE = """
task = "segmentation"
title = "Nuclei of a site"
summary = "For a test."
mpp = 0.5
labels = "classes"
encoder = "plain"
side = 64
batch = 2
steps = 2
learning_rate = 0.02
# Two steps teach little: with these weights the network says nucleus rather too often than never.
weights = [0.01, 1.0]

[[labelled]]
folder = "drawn"

[[class]]
label = "Nucleus"
type = { value = "84640000", scheme = "SCT", meaning = "Nucleus" }
"""


@pytest.fixture(scope="module")
def slide(model_service: RunningService, cmu_small_region: Path) -> Slide:
    return Slide(model_service, *import_slide(model_service, cmu_small_region))


@pytest.fixture(scope="module")
def outlines() -> dict[str, list[Outline]]:
    """The nuclei of two crops that were outlined by hand, each with its region of interest."""
    found: dict[str, list[Outline]] = {}
    for feature in json.loads(LABELS.read_text())["features"]:
        points = [tuple(point) for point in feature["geometry"]["coordinates"][0][:-1]]
        if feature["properties"]["classification"]["name"] == "Region*":
            name = feature["properties"]["name"]
            found[name] = [Outline(points, REGION)]
        else:
            found[name].append(Outline(points, NUCLEUS))
    return {name: found[name] for name in ("cmu_a", "cmu_b")}


@pytest.fixture(scope="module")
def drawn(slide: Slide, outlines: dict[str, list[Outline]]) -> list[Dataset]:
    """A report of one person and bulk annotations of another, stored as a viewer stores them."""
    url = f"{slide.service.dicomweb}/studies/{slide.study}"
    documents = httpx.get(f"{url}/series/{slide.series}/metadata", timeout=60).json()
    everything = [Dataset.from_json(each, bulk_data_uri_handler=lambda *_: b"") for each in documents]
    levels = [level for level in everything if level.ImageType[2] == "VOLUME"]
    finest = max(levels, key=lambda level: int(level.TotalPixelMatrixColumns))
    objects = [report(levels, outlines["cmu_a"]), bulk(finest, outlines["cmu_b"][1:], OTHER)]
    body = b"\r\n" + multipart([part10(each) for each in objects])
    stored = httpx.post(
        f"{slide.service.dicomweb}/studies", content=body, headers={"Content-Type": MULTIPART}, timeout=60
    )
    assert stored.status_code == 200, (stored.text, BOUNDARY)
    return objects


@pytest.fixture(scope="module")
def folder(slide: Slide, drawn: list[Dataset], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("site") / "drawn"
    data = ("--data", str(slide.service.data))
    summary = told("training-data", slide.study, "--out", str(path), "--mpp", "0.5", "--rim-um", "1", *data)
    assert summary["annotators"] == {PERSON: 1, OTHER: 2}
    assert (summary["slides"], summary["groups"], summary["left_out"]) == (1, 1, {})
    return path


def test_the_drawings_are_the_labels(folder: Path, outlines: dict[str, list[Outline]]) -> None:
    rows = list(csv.DictReader((folder / "index.csv").open()))
    [first] = [row for row in rows if (row["x"], row["width"]) == ("1117", "144")]
    labels = np.asarray(Image.open(folder / "labels" / f"{first['id']}.png"))
    inner = labels[8:-8, 8:-8]
    assert len(np.unique(inner[inner > 0])) == len(outlines["cmu_a"]) - 1
    pixels = np.asarray(Image.open(folder / "images" / f"{first['id']}.png"))[8:-8, 8:-8]
    assert pixels[inner > 0].mean() < pixels[inner == 0].mean() - 20, "nuclei are dark"
    classes = np.asarray(Image.open(folder / "classes" / f"{first['id']}.png"))
    assert ((classes == 255) == (labels == 65535)).all()
    assert ((classes == 1) == ((labels > 0) & (labels < 65535))).all()


def finished(slide: Slide, **order: Any) -> dict[str, Any]:
    """Order an analysis of the slide and return it when it has ended."""
    url = f"{slide.service.url}/api/analyses"
    with httpx.Client(timeout=60) as client:
        body = {"study_instance_uid": slide.study, "series_instance_uid": slide.series, **order}
        ordered = client.post(url, json=body)
        assert ordered.status_code == 201, ordered.text
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            analysis: dict[str, Any] = client.get(f"{url}/{ordered.json()['uid']}").json()
            if analysis["state"] in ("COMPLETED", "CANCELED"):
                return analysis
            time.sleep(0.5)
    raise AssertionError(f"the analysis did not end: {analysis}")


def test_a_network_trained_on_them_runs_on_the_slide(slide: Slide, folder: Path) -> None:
    (folder.parent / "recipe.toml").write_text(RECIPE)
    model = folder.parent / "site-nuclei"
    recipe, run = str(folder.parent / "recipe.toml"), str(folder.parent / "run")
    trained = told("train", recipe, run, "--model", str(model), "--workers", "0")
    assert trained["steps"] == 2
    data = ("--data", str(slide.service.data))
    assert told("models", "add", str(model), *data)["effect"] == "the model server has loaded it"
    region = {"x": 1100, "y": 800, "width": 300, "height": 300}
    analysis = finished(slide, model="site-nuclei", regions=[region])
    assert analysis["state"] == "COMPLETED", analysis
    assert slide.instances(analysis, SEG) and len(slide.instances(analysis, SR)) == 1

    left_out = told("training-data", slide.study, "--out", str(folder.parent / "a"), "--mpp", "0.5", *data)["left_out"]
    assert list(left_out) == ["result of a model that nobody accepted"]
    verdict = {"verdict": "ACCEPTED", "person_name": "Wang^Xiao Dong", "organisation": "Hospital", "comment": ""}
    url = f"{slide.service.url}/api/analyses/{analysis['uid']}/verdict"
    assert httpx.post(url, json=verdict, timeout=60).status_code == 201
    words = ("--out", str(folder.parent / "b"), "--mpp", "0.5", "--origin", "accepted")
    accepted = told("training-data", slide.study, *words, *data)
    assert list(accepted["annotators"]) == ["model (accepted)"] and list(accepted["classes"]) == ["Nucleus"]
    assert 0.4 < accepted["known"] < 1, "only where the model looked"
