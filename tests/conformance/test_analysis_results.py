"""What analyses store is valid for dicom3tools and readable for DCMTK, for every kind of model. In process."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from pydicom import Dataset, dcmread

from dicomsvc.ai.analysis.handler import analyze
from dicomsvc.ai.catalogue.repository import Catalogue
from dicomsvc.ai.clicks.service import Asked, ClickService
from dicomsvc.config import Settings
from dicomsvc.store import Store
from dicomsvc.wsi.slide import open_slide
from tests.conformance.test_annotations_reports import ALLOWED, dumped
from tests.conformance.test_annotations_reports import complaints as new_complaints
from tests.conformance.test_pixel_objects import (
    FULL_SEGMENTATION_ERRORS,
    LABELMAP_ERRORS,
    MAP_ERRORS,
    SEGMENTATION_ERRORS,
    SEVERAL_SEGMENTS_ERRORS,
    complaints,
)
from tests.integration import model_folders
from tests.integration.drawn_ihc import drawn
from tests.integration.handmade_slides import file_of, level, uids
from tests.integration.test_analysis_kinds import REGION, put, work_on
from tests.integration.wado_server import store_files

pytestmark = pytest.mark.peer
MADE: dict[str, Callable[[Path], Path]] = {
    "darkness": model_folders.darkness_map,
    "same": model_folders.same_picture,
    "classes": model_folders.dark_or_bright,
    "spots": model_folders.dark_spots,
    "two": model_folders.dark_and_bright,
}


@pytest.fixture
def in_process(settings: Settings) -> Iterator[Store]:
    triton = settings.triton.model_copy(update={"in_process": True})
    with Store(settings.model_copy(update={"triton": triton})) as store:
        yield store


@pytest.mark.parametrize("model", ["tissue", "nuclei", "tissue-class", "virtual-if", *MADE])
def test_results_of_every_kind_of_model_are_valid(model: str, in_process: Store, tmp_path: Path) -> None:
    if model in MADE:
        Catalogue(in_process.settings).add(MADE[model](tmp_path / model))
    options = {"options": {"labelmap": True, "probability": model == "two"}}
    work = work_on(in_process, model, put(in_process), **REGION, **options)
    paths = results(in_process, analyze(work)["instances"])
    for path in paths:
        check(path)
    assert complaints("dcentvfy", *paths) == set()


def test_results_of_immunohistochemistry_are_valid(in_process: Store, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "ihc.tif", drawn(512, 40)[0], tile=(256, 256), photometric="rgb", compression="jpeg")
    uids = put(in_process, tmp_path / "ihc.tif", 0.5)
    work = work_on(in_process, "ihc", uids, options={"marker": "ki67", "channels": True})
    paths = results(in_process, analyze(work)["instances"])
    for path in paths:
        check(path)
    assert {dcmread(path, stop_before_pixels=True).Modality for path in paths} == {"ANN", "SEG", "SR", "SM"}
    assert complaints("dcentvfy", *paths) == set()


def test_what_clicks_store_is_valid(in_process: Store) -> None:
    _, series = put(in_process)
    # Nuclei lie close here: some of these places are on one.
    points = np.stack(np.meshgrid(np.arange(1000, 1240, 30), np.arange(1000, 1240, 30)), axis=2).reshape(-1, 2)
    asked = Asked(points.astype(np.float64), "nuclick")
    answer = ClickService(in_process).on_slide(series, asked, keep_for="Li^Ming=李^明")
    assert len(answer["instances"]) > 5
    paths = results(in_process, answer["stored"])
    for path in paths:
        check(path)
    assert {dcmread(path, stop_before_pixels=True).Modality for path in paths} == {"ANN", "SR"}
    assert complaints("dcentvfy", *paths) == set()


def test_results_of_a_slide_that_lacks_what_they_must_have_are_valid(in_process: Store) -> None:
    pixels = open_slide(in_process, *put(in_process)).read_region(0, 900, 900, 800, 700)
    study, series, frame_of_reference = uids()
    store_files(in_process, [file_of(level([pixels], (study, series, frame_of_reference)))])
    work = work_on(in_process, "nuclei", (study, series))
    for path in results(in_process, analyze(work)["instances"]):
        check(path)


def results(store: Store, instances: list[dict[str, str]]) -> list[Path]:
    return [Path(store.instances.find_sop_instance(each["sop_instance_uid"]).path) for each in instances]


def check(path: Path) -> None:
    ds = dcmread(path, stop_before_pixels=True)
    if ds.Modality == "ANN":
        assert new_complaints(path) == ALLOWED
    elif ds.Modality == "SR":
        assert new_complaints(path) == set()
        assert "not verified" in dumped(path)
    else:
        assert complaints("dciodvfy", path) == allowed(ds)


def allowed(ds: Dataset) -> frozenset[str]:
    """Return what dicom3tools says wrongly of an object with frames."""
    if ds.Modality == "SM":
        return frozenset()
    if ds.Modality == "OT":
        return MAP_ERRORS
    if ds.SegmentationType == "LABELMAP":
        return LABELMAP_ERRORS
    if ds.DimensionOrganizationType == "TILED_SPARSE":
        return SEGMENTATION_ERRORS
    return FULL_SEGMENTATION_ERRORS if len(ds.SegmentSequence) == 1 else SEVERAL_SEGMENTS_ERRORS
