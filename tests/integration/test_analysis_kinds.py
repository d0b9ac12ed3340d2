"""Every kind of model gives results of its kind; what is not right fails clearly and stores nothing. In process."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from pydicom import Dataset, dcmread
from pydicom.pixels import pixel_array

from dicomsvc.ai.analysis.handler import analyze
from dicomsvc.ai.analysis.submission import Wish, submit
from dicomsvc.ai.catalogue.repository import Catalogue
from dicomsvc.cli.triton import server_for_command
from dicomsvc.config import Settings
from dicomsvc.errors import Cancelled, Conflict, DicomsvcError, ModelFailure, NotFound, UnfitSlide
from dicomsvc.jobs import Jobs, Progress, Work
from dicomsvc.objects.annotations import GraphicType, read_annotations
from dicomsvc.store import Store
from tests.integration import model_folders
from tests.integration.wado_server import converted, store_files

SLIDE = Path(__file__).parents[1] / "data" / "CMU-1-Small-Region.svs"
REGION = {"regions": [[900, 900, 700, 600]]}


@pytest.fixture
def in_process(settings: Settings) -> Iterator[Store]:
    triton = settings.triton.model_copy(update={"in_process": True})
    with Store(settings.model_copy(update={"triton": triton})) as store:
        yield store


def put(store: Store, slide: Path = SLIDE, mpp: float | None = None) -> tuple[str, str]:
    first = store_files(store, converted(slide, mpp))[0]
    return first.study_instance_uid, first.series_instance_uid


def work_on(store: Store, model: str, uids: tuple[str, str], **inputs: Any) -> Work:
    Catalogue(store.settings).find(model)
    asked = {"study_instance_uid": uids[0], "series_instance_uid": uids[1], "model": model, **inputs}
    return Work(
        uid=Jobs(store.engine).create("analyze", asked, "tester").uid,
        kind="analyze",
        inputs=asked,
        requested_by="tester",
        attempt=1,
        store=store,
        report=lambda progress: None,
        log=lambda line: None,
    )


def results(store: Store, outputs: Any) -> list[Dataset]:
    return [dcmread(store.instances.find_sop_instance(each["sop_instance_uid"]).path) for each in outputs["instances"]]


def instances(store: Store) -> int:
    return len(list(store.layout.instances.rglob("*.dcm")))


def test_a_map_becomes_a_parametric_map_with_the_model_s_values(in_process: Store, tmp_path: Path) -> None:
    Catalogue(in_process.settings).add(model_folders.darkness_map(tmp_path / "darkness"))
    outputs = analyze(work_on(in_process, "darkness", put(in_process), **REGION))
    maps = [ds for ds in results(in_process, outputs) if ds.Modality == "OT"]
    values = np.frombuffer(max(maps, key=lambda ds: ds.TotalPixelMatrixRows).FloatPixelData, np.float32)
    numbers = outputs["numbers"][0]
    assert 0.1 < numbers["value_mean"] < 0.6
    assert values.max() == pytest.approx(numbers["value_maximum"], abs=1e-5)


def test_an_image_becomes_a_derived_slide_that_is_not_taken_for_the_slide(in_process: Store, tmp_path: Path) -> None:
    catalogue = Catalogue(in_process.settings)
    catalogue.add(model_folders.same_picture(tmp_path / "same"))
    uids = put(in_process)
    made = results(in_process, analyze(work_on(in_process, "same", uids, **REGION)))
    assert {ds.SOPClassUID.name for ds in made} == {"VL Whole Slide Microscopy Image Storage"}
    assert {ds.FrameOfReferenceUID for ds in made} == {
        dcmread(record.path, stop_before_pixels=True).FrameOfReferenceUID for record in in_process.instances.find(*uids)
    }
    assert all("Synthetic" in ds.DerivationDescription for ds in made)
    item = submit(in_process, catalogue, uids[0], None, Wish("tissue"), "tester")
    assert item.inputs["series_instance_uid"] == uids[1]


def test_named_channels_become_optical_paths_of_one_synthetic_image(in_process: Store, tmp_path: Path) -> None:
    Catalogue(in_process.settings).add(model_folders.two_stains(tmp_path / "stains"))
    made = results(in_process, analyze(work_on(in_process, "stains", put(in_process), **REGION)))
    assert {ds.SOPClassUID.name for ds in made} == {"VL Whole Slide Microscopy Image Storage"}
    finest = max(made, key=lambda ds: ds.TotalPixelMatrixRows)
    assert finest.PhotometricInterpretation == "MONOCHROME2"
    assert [path.OpticalPathIdentifier for path in finest.OpticalPathSequence] == ["1", "2"]
    assert [path.OpticalPathDescription.split(": ")[1] for path in finest.OpticalPathSequence] == [
        "Darkness",
        "Red light",
    ]
    assert "Synthetic" in finest.DerivationDescription
    assert "Red light stands for Red light of the tile" in finest.DerivationDescription
    darkness, red = pixel_array(finest).reshape(2, -1).astype(float)
    looked_at = red > 20
    # In the slide's colours darkness falls where red grows: each path holds its own channel.
    assert np.corrcoef(darkness[looked_at], red[looked_at])[0, 1] < -0.8
    assert np.median(red[looked_at]) > np.median(darkness[looked_at])


def test_a_classification_becomes_areas_of_tiles(in_process: Store, tmp_path: Path) -> None:
    Catalogue(in_process.settings).add(model_folders.dark_or_bright(tmp_path / "dark"))
    outputs = analyze(work_on(in_process, "dark", put(in_process)))
    assert [row["class"] for row in outputs["numbers"]] == ["Class 1", "Class 2"]
    segmentation = next(ds for ds in results(in_process, outputs) if ds.Modality == "SEG")
    assert [segment.SegmentLabel for segment in segmentation.SegmentSequence] == ["Class 1", "Class 2"]


def test_points_become_annotations_without_outlines(in_process: Store, tmp_path: Path) -> None:
    Catalogue(in_process.settings).add(model_folders.dark_spots(tmp_path / "spots"))
    outputs = analyze(work_on(in_process, "spots", put(in_process), **REGION))
    annotations = next(ds for ds in results(in_process, outputs) if ds.Modality == "ANN")
    [group] = read_annotations(annotations)
    assert group.graphic_type is GraphicType.POINT
    assert len(group) == outputs["numbers"][0]["count"] > 10


def test_classes_and_probabilities_become_segmentations(in_process: Store, tmp_path: Path) -> None:
    Catalogue(in_process.settings).add(model_folders.dark_and_bright(tmp_path / "two"))
    work = work_on(in_process, "two", put(in_process), **REGION, options={"probability": True, "labelmap": True})
    made = results(in_process, analyze(work))
    kinds = {ds.SegmentationType for ds in made if ds.Modality == "SEG"}
    assert kinds == {"BINARY", "FRACTIONAL", "LABELMAP"}
    assert len({ds.SeriesInstanceUID for ds in made}) == 4


def test_the_same_attempt_twice_stores_the_same_objects_once(in_process: Store) -> None:
    work = work_on(in_process, "tissue", put(in_process))
    first = analyze(work)
    stored = instances(in_process)
    assert analyze(work) == first
    # As if the first attempt had died between storing and telling so.
    (in_process.layout.root / "work" / work.uid / "outputs.json").unlink()
    again = analyze(work)
    assert again["instances"] == first["instances"]
    assert instances(in_process) == stored


def test_an_attempt_goes_on_where_another_stopped(in_process: Store) -> None:
    told: list[Progress] = []
    uids = put(in_process)

    def stop_after_a_chunk(progress: Progress) -> None:
        if list((in_process.layout.root / "work").rglob("chunk-*.npz")):
            raise Cancelled("enough")

    small = {"regions": [[0, 0, 2220, 2967]]}
    work = work_on(in_process, "nuclei", uids, **small)
    with pytest.raises(Cancelled):
        analyze(replace(work, report=stop_after_a_chunk))
    lines: list[str] = []
    outputs = analyze(replace(work, report=told.append, log=lines.append))
    assert "done before" in lines[0]
    assert next(progress.done for progress in told if progress.total) > 0
    assert outputs["numbers"][0]["count"] > 1000


def test_a_slide_that_is_deleted_meanwhile_does_not_come_back_by_its_results(in_process: Store) -> None:
    study, series = put(in_process)

    def delete_at_the_end(progress: Progress) -> None:
        if progress.text.startswith("writing") and instances(in_process):
            in_process.delete("tester", study)

    work = replace(work_on(in_process, "tissue", (study, series)), report=delete_at_the_end)
    with pytest.raises(NotFound):
        analyze(work)
    assert instances(in_process) == 0


def blank_slide(folder: Path, value: int) -> Path:
    path = folder / f"blank-{value}.tiff"
    pixels = np.full((1024, 1024, 3), value, np.uint8)
    tifffile.imwrite(path, pixels, tile=(256, 256), compression="jpeg", photometric="rgb")
    return path


def fails(store: Store, work: Work, kind: type[DicomsvcError], words: str) -> None:
    before = instances(store)
    with pytest.raises(kind, match=words):
        analyze(work)
    assert instances(store) == before


def test_a_model_that_gives_nan_fails(in_process: Store, tmp_path: Path) -> None:
    Catalogue(in_process.settings).add(model_folders.not_a_number(tmp_path / "nan"))
    fails(in_process, work_on(in_process, "nan", put(in_process), **REGION), ModelFailure, "(?i)nan|finite|no number")


def test_a_model_that_gives_another_shape_fails(in_process: Store, tmp_path: Path) -> None:
    Catalogue(in_process.settings).add(model_folders.too_small(tmp_path / "small"))
    fails(in_process, work_on(in_process, "small", put(in_process), **REGION), ModelFailure, "shape|100")


@pytest.mark.parametrize("model", ["nuclei", "tissue"])
def test_an_empty_slide_fails(in_process: Store, tmp_path: Path, model: str) -> None:
    uids = put(in_process, blank_slide(tmp_path, 244), 0.25)
    fails(in_process, work_on(in_process, model, uids), UnfitSlide, "tissue|nothing")


def test_a_slide_that_is_too_coarse_fails_with_both_resolutions(in_process: Store, tmp_path: Path) -> None:
    uids = put(in_process, blank_slide(tmp_path, 150), 2.0)
    fails(in_process, work_on(in_process, "nuclei", uids), UnfitSlide, r"0\.5.*slide has 2")


def test_fluorescence_is_refused_by_a_model_for_stains(in_process: Store, tmp_path: Path) -> None:
    pixels = np.zeros((1024, 1024, 3), np.uint8)
    rows, columns = np.ogrid[:1024, :1024]
    for row, column in np.random.default_rng(1).integers(20, 1000, (60, 2)):
        pixels[(rows - row) ** 2 + (columns - column) ** 2 < 150] = (40, 60, 230)
    path = tmp_path / "dark.tiff"
    tifffile.imwrite(path, pixels, tile=(256, 256), compression="jpeg", photometric="rgb")
    fails(in_process, work_on(in_process, "nuclei", put(in_process, path, 0.25)), UnfitSlide, "fluorescence")


def test_a_slide_without_resolution_fails_and_says_what_to_do(in_process: Store) -> None:
    from tests.instances import part10, wsi_dataset

    ds = wsi_dataset()
    [stored] = store_files(in_process, [part10(ds)])
    uids = stored.study_instance_uid, stored.series_instance_uid
    fails(in_process, work_on(in_process, "tissue", uids), UnfitSlide, "mpp")


def test_an_analysis_waits_for_the_model_server_says_why_and_goes_on(store: Store) -> None:
    work = work_on(store, "tissue", put(store))
    told: list[Progress] = []
    lines: list[str] = []
    patient = replace(work, report=told.append, log=lines.append)
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(analyze, patient)
        deadline = time.monotonic() + 30
        while not any(progress.text.startswith("waiting") for progress in told):
            assert time.monotonic() < deadline and not ended.done()
            time.sleep(0.05)
        assert "no model server runs" in told[-1].text
        with server_for_command(store.settings):
            outputs = ended.result(60)
    assert outputs["backend"].startswith("Triton")
    assert [line.partition(":")[0] for line in lines][-2:] == ["waiting", "going on"]


def test_cancelling_ends_the_wait_for_the_model_server(store: Store) -> None:
    work = work_on(store, "tissue", put(store))

    def stop(progress: Progress) -> None:
        if progress.text.startswith("waiting"):
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        analyze(replace(work, report=stop))


def test_a_slow_model_does_not_hold_up_a_cancellation(in_process: Store, tmp_path: Path) -> None:
    Catalogue(in_process.settings).add(model_folders.slow_map(tmp_path / "slow"))
    work = work_on(in_process, "slow", put(in_process))
    asked: list[float] = []
    told: list[float] = []

    def stop_in_mid_batch(progress: Progress) -> None:
        if progress.text == "tiles":
            told.append(time.monotonic())
            if told[-1] - told[0] > 1.5:
                assert progress.done == 0, "the model is not slow enough for this test to show anything"
                asked.append(told[-1])
                raise Cancelled("enough")

    with pytest.raises(Cancelled):
        analyze(replace(work, report=stop_in_mid_batch))
    assert time.monotonic() - asked[0] < 2


@pytest.mark.parametrize("end", ["disabled", "replaced"])
def test_a_model_put_out_of_use_ends_the_analysis_that_runs(in_process: Store, tmp_path: Path, end: str) -> None:
    catalogue = Catalogue(in_process.settings)
    catalogue.add(model_folders.darkness_map(tmp_path / "darkness"))
    work = work_on(in_process, "darkness", put(in_process), **REGION)
    other = tmp_path / "other" / "darkness"

    def put_out_of_use(progress: Progress) -> None:
        if progress.text == "tiles" and catalogue.get("darkness").enabled:
            if end == "disabled":
                catalogue.set_enabled("darkness", False)
            elif not other.exists():
                catalogue.remove("darkness")
                catalogue.add(model_folders.not_a_number(other))

    before = instances(in_process)
    with pytest.raises(Conflict, match=end):
        analyze(replace(work, report=put_out_of_use))
    assert instances(in_process) == before
