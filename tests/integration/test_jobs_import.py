"""Imports and conversions end to end: work item, worker, child process, the one door."""

import os
import shutil
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
from pydicom import dcmread
from pydicom.fileset import FileSet

from dicomsvc.errors import BadRequest, NotFound
from dicomsvc.ingest.handlers import HANDLERS
from dicomsvc.ingest.imports import import_and_wait, submit_import
from dicomsvc.jobs import Jobs, Patience, State, Worker, WorkItem, follow
from dicomsvc.store import Store
from tests.instances import part10, wsi_dataset


def imported(store: Store, *paths: Path, **options: object) -> list[WorkItem]:
    return import_and_wait(store, list(paths), options, requested_by="tester")


@pytest.fixture
def dicom_folder(folder: Path) -> Path:
    place = folder / "in"
    (place / "deep" / "er").mkdir(parents=True)
    for number in range(5):
        (place / "deep" / f"{number}.dcm").write_bytes(part10(wsi_dataset()))
    return place


def test_a_folder_of_dicom_files_is_imported_and_each_file_accounted_for(store: Store, dicom_folder: Path) -> None:
    (dicom_folder / "README.txt").write_text("nothing")
    broken = part10(wsi_dataset())
    (dicom_folder / "broken").write_bytes(broken[: len(broken) // 2])
    os.mkfifo(dicom_folder / "pipe")
    [item] = imported(store, dicom_folder)
    assert item.state is State.COMPLETED and not item.succeeded
    assert item.outputs["stored"] == 5
    assert [entry["file"] for entry in item.outputs["failed"]] == ["broken"]
    assert item.outputs["passed_over"] == ["README.txt"]
    [again] = imported(store, dicom_folder)
    assert (again.outputs["stored"], again.outputs["duplicates"]) == (0, 5)


def test_a_single_broken_file_fails_with_its_error(store: Store, folder: Path) -> None:
    broken = part10(wsi_dataset())
    (folder / "broken.dcm").write_bytes(broken[: len(broken) // 2])
    [item] = imported(store, folder / "broken.dcm")
    assert item.failed and item.error_kind == "NotParseable"


def test_a_dicomdir_imports_what_it_names(store: Store, folder: Path) -> None:
    media = FileSet()
    for _ in range(3):
        file = folder / "one.dcm"
        file.write_bytes(part10(wsi_dataset()))
        media.add(dcmread(file))
    media.write(folder / "media")
    [item] = imported(store, folder / "media" / "DICOMDIR")
    assert item.succeeded and item.outputs["stored"] == 3


def test_what_is_not_there_or_not_understood_is_refused_before_anything_is_made(store: Store, folder: Path) -> None:
    jobs = Jobs(store.engine)
    with pytest.raises(NotFound):
        submit_import(jobs, [folder / "nowhere"], {}, "tester")
    with pytest.raises(BadRequest, match="mpp"):
        submit_import(jobs, [folder], {"mpp": "wide"}, "tester")
    assert jobs.search() == []


def test_a_slide_becomes_one_series_with_the_metadata_asked_for(store: Store, cmu_small_region: Path) -> None:
    [item] = imported(store, cmu_small_region, metadata={"patient_id": "P-17", "accession_number": "A-1"})
    assert item.succeeded, item.describe()
    records = store.instances.find(item.outputs["study_instance_uid"], item.outputs["series_instance_uid"])
    assert sorted(record.sop_instance_uid for record in records) == item.outputs["sop_instance_uids"]
    ds = dcmread(records[0].path, stop_before_pixels=True)
    assert (ds.PatientID, ds.AccessionNumber) == ("P-17", "A-1")
    assert item.progress.total and item.progress.done == item.progress.total
    assert not list(store.layout.spool.glob("*/*.part"))


def test_slides_in_a_folder_become_work_items_of_their_own(
    store: Store, dicom_folder: Path, cmu_small_region: Path
) -> None:
    shutil.copy(cmu_small_region, dicom_folder / "deep" / "er" / "slide.svs")
    first, second = imported(store, dicom_folder)
    assert first.outputs["work_items"] == [second.uid]
    assert second.kind == "convert" and second.succeeded


def test_an_unknown_format_fails_and_stores_nothing(store: Store, folder: Path) -> None:
    (folder / "slide.svs").write_bytes(b"this is no slide" * 100)
    [item] = imported(store, folder / "slide.svs")
    assert item.failed and item.error_kind == "UnknownSlideFormat"
    assert store.changes() == []


def test_a_conversion_repeated_after_its_commit_makes_one_result(store: Store, cmu_small_region: Path) -> None:
    [first] = imported(store, cmu_small_region)
    jobs = Jobs(store.engine)
    again = jobs.create(first.kind, first.inputs, "tester")
    Worker(store.settings, store.engine, HANDLERS).run(until_idle=True)
    second = jobs.get(again.uid)
    assert second.outputs == first.outputs
    assert len(store.instances.find(first.outputs["study_instance_uid"])) == len(first.outputs["sop_instance_uids"])


def _kill_children_after(jobs: Jobs, uid: str, seconds: float) -> None:
    while jobs.get(uid).state is State.SCHEDULED:
        time.sleep(0.01)
    time.sleep(seconds)
    for process in psutil.Process().children(recursive=True):
        if "spawn_main" in " ".join(process.cmdline()):
            os.kill(process.pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_conversion_killed_at_any_moment_makes_one_result(store: Store, cmu_small_region: Path) -> None:
    jobs = Jobs(store.engine)
    settings = store.settings.model_copy(update={"jobs": store.settings.jobs.model_copy(update={"attempts": 9})})
    for delay in (0.05, 0.1, 0.2, 0.3, 0.4):
        [item] = submit_import(jobs, [cmu_small_region], {}, "tester")
        worker = Worker(settings, store.engine, HANDLERS, patience=Patience(retry=0.1))
        killer = threading.Thread(target=_kill_children_after, args=(jobs, item.uid, delay))
        thread = threading.Thread(target=worker.run)
        thread.start()
        killer.start()
        [done] = follow(jobs, [item.uid])
        killer.join()
        worker.stop()
        thread.join()
        assert done.succeeded, done.describe()
        records = store.instances.find(done.outputs["study_instance_uid"])
        assert len(records) == len(done.outputs["sop_instance_uids"])
    assert store.verify().sound


@pytest.mark.slow
def test_a_large_conversion_is_cancelled_within_two_seconds_and_leaves_nothing(store: Store, big_data: Path) -> None:
    jobs = Jobs(store.engine)
    [slide] = (big_data / "slides").glob("Orion*.tif")
    [item] = submit_import(jobs, [slide], {}, "tester")
    worker = Worker(store.settings, store.engine, HANDLERS)
    thread = threading.Thread(target=worker.run)
    thread.start()
    while not jobs.get(item.uid).progress.done:
        time.sleep(0.02)
    asked = time.monotonic()
    jobs.request_cancel(item.uid)
    [cancelled] = follow(jobs, [item.uid])
    assert time.monotonic() - asked < 2.5
    worker.stop()
    thread.join()
    assert cancelled.state is State.CANCELED and not cancelled.failed
    assert store.changes() == []
    assert not list(store.layout.spool.glob("*/*.part"))
