# ruff: noqa: E402 - torch is an extra; without it nothing of this can be imported
"""A study trains and measures every cell once, goes on where it was stopped, and reports what came out."""

import csv
import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from dicomsvc.ai.training.granularity.material import read_material
from dicomsvc.ai.training.granularity.plan import Cell, Plan
from dicomsvc.ai.training.granularity.report import make_report
from dicomsvc.ai.training.granularity.study import Study
from dicomsvc.ai.training.granularity.trials import try_cell
from dicomsvc.ai.training.labelled import fold_of
from dicomsvc.cli import app
from dicomsvc.errors import BadRequest
from tests.unit.ai.made_training import fluorescence, write

NAMES = "efficientnet_lite0,linknet"
SEEDS = (0, 1, 3, 6, 7, 8, 2, 4, 20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("labelled")
    write(root, [fluorescence(seed, 128) for seed in SEEDS])
    assert {fold_of(f"made{seed}") for seed in SEEDS} >= {0, 3, 4}
    return root


@pytest.fixture(scope="module")
def study(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("study")
    arguments = ["granularity", str(folder), "--out", str(out), "--networks", NAMES, "--patch", "64", "--steps", "3"]
    done = CliRunner().invoke(app, [*arguments, "--side", "32", "--marks", "pixel,box"], catch_exceptions=False)
    assert done.exit_code == 0
    return out


def test_the_report_has_every_cell_with_intervals(study):
    document = json.loads((study / "results.json").read_text())
    assert [(row["network"], row["granularity"]) for row in document["rows"]] == [
        (network, kind) for network in NAMES.split(",") for kind in ("pixel", "box")
    ]
    for row in document["rows"]:
        assert all(each["low"] <= each["value"] <= each["high"] for each in row["measures"].values())
    assert document["marks"]["pixel"]["dice"]["value"] == 1
    assert 0.7 < document["marks"]["box"]["dice"]["value"] < 0.95
    lines = list(csv.DictReader((study / "results.csv").read_text().splitlines()))
    assert {line["truth"] for line in lines} == {"pixel", "own"}
    assert len(lines) == 4 * 2 * 4


def test_the_page_needs_no_other_file(study):
    page = (study / "report.html").read_text()
    assert page.count("<svg") == 3
    assert not re.search(r'(src|href)="', page)
    assert "linknet" in (study / "report.md").read_text()
    assert (study / "segmenters.svg").read_text().startswith("<svg")


def test_what_is_done_is_not_done_again_and_what_is_missing_is(study, folder):
    kept = study / "cells" / "linknet-pixel-128-0.json"
    before = kept.stat().st_mtime_ns
    missing = study / "cells" / "linknet-box-128-0.json"
    first = json.loads(missing.read_text())["pictures"]
    missing.unlink()
    plan = make_report(study).plan
    Study(folder, study, plan).run()
    assert kept.stat().st_mtime_ns == before
    # A cell is made of its seed alone.
    assert json.loads(missing.read_text())["pictures"] == first


def test_a_report_of_an_unfinished_study_says_what_is_missing(study, tmp_path):
    for file in ("plan.json", "material.json", "cells/linknet-pixel-128-0.json"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text((study / file).read_text())
    report = make_report(tmp_path)
    assert (len(report.rows), report.orderings) == (1, ())
    (tmp_path / "cells" / "linknet-pixel-128-0.json").write_text("{")
    with pytest.raises(BadRequest, match="not readable"):
        make_report(tmp_path)


def test_a_segmenter_learns_the_marks_that_it_is_given(folder):
    plan = Plan(networks=("unet",), steps={"unet": 30}, crop=64, batch=8)
    material = read_material(folder, plan)
    found = {}
    for kind in ("pixel", "box"):
        (cell,) = [each for each in plan.cells() if each.granularity == kind]
        tables = try_cell(Cell(cell.network, cell.granularity, 64, 0), plan, material, lambda step: None)["pictures"]
        found[kind] = np.sum([table["pixel"] for table in tables.values()], axis=0)
    marked = {kind: table[:, 1].sum() for kind, table in found.items()}
    assert marked["box"] > 1.1 * marked["pixel"]
    dice = {kind: 2 * table[1, 1] / (2 * table[1, 1] + table[0, 1] + table[1, 0]) for kind, table in found.items()}
    assert dice["pixel"] > 0.8
    assert dice["pixel"] > dice["box"]


def test_pictures_of_one_part_only_are_not_enough(tmp_path):
    write(tmp_path, [fluorescence(0, 96)])
    with pytest.raises(BadRequest, match="too few pictures"):
        read_material(tmp_path, Plan())
