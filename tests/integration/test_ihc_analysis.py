"""Immunohistochemistry through an analysis: score, report, classes and channels; H&E is refused. In process."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tifffile
from pydicom import Dataset

from dicomsvc.ai.analysis.handler import analyze
from dicomsvc.config import Settings
from dicomsvc.errors import BadRequest, UnfitSlide
from dicomsvc.objects.annotations import read_annotations
from dicomsvc.objects.report_text import report_text
from dicomsvc.store import Store
from tests.integration.drawn_ihc import drawn
from tests.integration.test_analysis_kinds import instances, put, results, work_on

SIDE = 1024
POSITIVE_PERCENT = 30


@pytest.fixture
def in_process(settings: Settings) -> Iterator[Store]:
    triton = settings.triton.model_copy(update={"in_process": True})
    with Store(settings.model_copy(update={"triton": triton})) as store:
        yield store


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ihc") / "ihc.tif"
    tifffile.imwrite(path, drawn(SIDE, POSITIVE_PERCENT)[0], tile=(256, 256), photometric="rgb", compression="jpeg")
    return path


def report(made: list[Dataset]) -> Dataset:
    return next(ds for ds in made if ds.Modality == "SR")


def concepts(ds: Dataset) -> Iterator[tuple[str, Any]]:
    """Yield code and value of every numeric content item."""
    for item in ds.get("ContentSequence") or ():
        if item.ValueType == "NUM":
            value = item.MeasuredValueSequence[0].NumericValue
            yield item.ConceptNameCodeSequence[0].CodeValue, float(value)
        yield from concepts(item)


def clean(made: list[Dataset], tmp_path: Path) -> None:
    """Have dciodvfy find no error in report and annotations."""
    tool = shutil.which("dciodvfy")
    if tool is None:
        pytest.skip("dciodvfy is not installed")
    for ds in made:
        if ds.Modality in ("SR", "ANN"):
            path = tmp_path / f"{ds.Modality}-{ds.SOPInstanceUID}.dcm"
            ds.save_as(path)
            said = subprocess.run([tool, path], capture_output=True, text=True, check=False).stderr
            faults = [line for line in said.splitlines() if line.startswith("Error")]
            assert [line for line in faults if "CommonZCoordinateValue" not in line] == [], (ds.Modality, said)


def test_a_slide_gets_its_percentage_bins_and_h_score(in_process: Store, slide: Path, tmp_path: Path) -> None:
    uids = put(in_process, slide, 0.5)
    outputs = analyze(work_on(in_process, "ihc-classical", uids, options={"marker": "ki67", "channels": True}))
    score = outputs["scores"][0]
    assert score["status"] == "scored"
    assert not score["final"]
    assert score["percent_positive"] == pytest.approx(POSITIVE_PERCENT, abs=4)
    made = results(in_process, outputs)
    values = dict(concepts(report(made)))
    assert values["29593-1"] == pytest.approx(score["percent_positive"], abs=0.01)
    assert values["H_SCORE"] == pytest.approx(score["h_score"], abs=0.1)
    assert values["CELLS_0"] + values["CELLS_1"] + values["CELLS_2"] + values["CELLS_3"] == score["total"]
    text = report_text(report(made))
    assert "scored, not final, not for diagnosis" in text
    groups = read_annotations(next(ds for ds in made if ds.Modality == "ANN"))
    assert [group.finding.label for group in groups] == ["Negative nucleus", "Positive nucleus"]
    assert "mean_marker_od" in groups[1].measurements
    paths = max((ds for ds in made if ds.Modality == "SM"), key=lambda ds: ds.TotalPixelMatrixRows).OpticalPathSequence
    assert [path.OpticalPathDescription.split(": ")[1] for path in paths] == ["Hematoxylin", "Marker", "DAPI", "LAP2"]
    clean(made, tmp_path)


def test_regions_have_scores_of_their_own(in_process: Store, slide: Path) -> None:
    regions = [[0, 0, 512, 512], [512, 512, 60, 60]]
    outputs = analyze(work_on(in_process, "ihc-classical", put(in_process, slide, 0.5), regions=regions))
    first, second = outputs["scores"]
    assert (first["area"], first["status"]) == ("Region 1", "scored")
    assert second["status"] == "refused"
    assert "cells were found" in second["reasons"][0]
    assert "percent_positive" not in second
    assert "only" in report_text(report(results(in_process, outputs)))


def test_a_slide_of_hematoxylin_and_eosin_is_refused_and_nothing_is_stored(in_process: Store) -> None:
    uids = put(in_process)
    before = instances(in_process)
    with pytest.raises(UnfitSlide, match="looks like H&E"):
        analyze(work_on(in_process, "ihc-classical", uids, options={"marker": "ki67"}))
    assert instances(in_process) == before


@pytest.mark.parametrize(("model", "marker"), [("ihc-classical", "ki76"), ("tissue", "ki67")])
def test_a_marker_that_does_not_fit_is_refused(in_process: Store, model: str, marker: str) -> None:
    with pytest.raises(BadRequest, match="marker"):
        analyze(work_on(in_process, model, ("1.2", "1.3"), options={"marker": marker}))
