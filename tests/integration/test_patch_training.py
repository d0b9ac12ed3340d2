# ruff: noqa: E402 - torch is an extra; without it nothing of this can be imported
"""A site's own outlines become a classifier, and its report gives the shares that are true of another slide."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from dicomsvc.ai.analysis.handler import analyze
from dicomsvc.ai.catalogue.repository import Catalogue
from dicomsvc.cli import app
from dicomsvc.config import Settings
from dicomsvc.jobs import Jobs, Work
from dicomsvc.objects.report import report_text
from dicomsvc.store import Store
from tests.integration.test_analysis_kinds import results
from tests.integration.wado_server import converted, store_files

STEPS_AN_EPOCH = 30
"""Of 240 patches in eights."""
RECIPE = """
task = "patches"
seed = 5
side = 64
core = 32
mpp = 2.0
batch = 8
steps = {steps}
learning_rate = 3e-3
network = "plain"
most = 120
looks = 5
title = "Two made tissues"
block_um = 400
gap_um = 10
test_share = 0.2
dataset = "made outlines, blocks that trained nothing"

[[class]]
label = "Dotted"
names = ["dots"]
type = {{ value = "108369006", scheme = "SCT", meaning = "Neoplasm" }}

[[class]]
label = "Striped"
names = ["stripes"]

[[source]]
slide = "slide.tif"
outlines = "drawn.geojson"
mpp = 1.0
"""


def tissue(seed: int, columns: int, rows: int, border: int) -> np.ndarray:
    """Two made kinds of tissue of the same mean colour: dots left of a border, stripes right of it."""
    chance = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns]
    dots = np.hypot((x % 24) - 12, (y % 24) - 12) < 8
    stripes = ((x + 2 * y) % 40) < 14
    dark = np.where(x < border, dots, stripes)
    pixels = np.where(dark[..., None], (120, 60, 150), (225, 150, 190)) + chance.normal(0, 8, (rows, columns, 1))
    return np.clip(pixels, 0, 255).astype(np.uint8)


def write_slide(file: Path, pixels: np.ndarray) -> Path:
    tifffile.imwrite(file, pixels, tile=(256, 256), photometric="rgb", compression="jpeg")
    return file


def outlines(file: Path) -> None:
    """Write what a person would draw: two rectangles within each kind."""
    features = []
    for name, left in (("dots", 20), ("stripes", 1060)):
        for top in (30, 1040):
            ring = [[left, top], [left + 900, top], [left + 900, top + 940], [left, top + 940], [left, top]]
            geometry = {"type": "Polygon", "coordinates": [ring]}
            properties = {"classification": {"name": name}}
            features.append({"type": "Feature", "properties": properties, "geometry": geometry})
    file.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


@pytest.fixture
def in_process(settings: Settings) -> Iterator[Store]:
    triton = settings.triton.model_copy(update={"in_process": True})
    with Store(settings.model_copy(update={"triton": triton})) as store:
        yield store


def test_outlines_become_patches_a_model_and_shares_near_the_truth(in_process: Store, tmp_path: Path) -> None:
    write_slide(tmp_path / "slide.tif", tissue(1, 2048, 2048, 1024))
    outlines(tmp_path / "drawn.geojson")
    (tmp_path / "recipe.toml").write_text(RECIPE.format(steps=2 * STEPS_AN_EPOCH))
    model = tmp_path / "made-tissues"
    command = ["train", str(tmp_path / "recipe.toml"), str(tmp_path / "run"), "--model", str(model), "--workers", "0"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "made-tissues.report.json").read_text())
    assert report["balanced_accuracy"]["value"] > 0.9
    assert sum(map(sum, report["confusion"])) == sum(report["patches"]["test"].values()) > 0

    catalogue = Catalogue(in_process.settings)
    catalogue.add(model)
    [measured, *_] = catalogue.find("made-tissues").accuracy
    assert measured.measure == "balanced accuracy"
    first = store_files(in_process, converted(write_slide(tmp_path / "other.tif", tissue(2, 1536, 1024, 1024)), 1.0))[0]
    asked = {
        "study_instance_uid": first.study_instance_uid,
        "series_instance_uid": first.series_instance_uid,
        "model": "made-tissues",
    }
    uid = Jobs(in_process.engine).create("analyze", asked, "tester").uid
    outputs = analyze(Work(uid, "analyze", asked, "tester", 1, in_process, lambda progress: None, lambda line: None))
    shares = {row["class"]: row["area_percent"] for row in outputs["numbers"]}
    assert shares["Dotted"] == pytest.approx(100 * 1024 / 1536, abs=6)
    assert sum(shares.values()) == pytest.approx(100)
    made = results(in_process, outputs)
    text = report_text(next(ds for ds in made if ds.Modality == "SR"))
    assert f"Whole slide: Dotted {shares['Dotted']:.1f} %, Striped {shares['Striped']:.1f} % of area." in text
    assert {segment.SegmentLabel for ds in made if ds.Modality == "SEG" for segment in ds.SegmentSequence} == set(
        shares
    )
