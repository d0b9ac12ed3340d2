"""Watched folders with a real worker."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dicomsvc.config import IngestSettings, Settings
from dicomsvc.ingest.handlers import HANDLERS
from dicomsvc.ingest.upkeep import Upkeep
from dicomsvc.jobs import Jobs, Worker
from dicomsvc.store import Store
from tests.instances import part10, wsi_dataset


@pytest.fixture
def watched(folder: Path) -> Path:
    place = folder / "watched"
    place.mkdir()
    return place


@pytest.fixture
def watching_store(settings: Settings, watched: Path) -> Iterator[Store]:
    ingest = IngestSettings(watch=(watched,), settle_seconds=0.4)
    with Store(settings.model_copy(update={"ingest": ingest})) as store:
        yield store


@pytest.fixture
def worker(watching_store: Store) -> Iterator[Worker]:
    worker = Worker(watching_store.settings, watching_store.engine, HANDLERS)
    thread = threading.Thread(target=worker.run)
    thread.start()
    yield worker
    worker.stop()
    thread.join()


@pytest.fixture
def upkeep(watching_store: Store) -> Iterator[Upkeep]:
    upkeep = Upkeep(watching_store, every_seconds=0.1)
    upkeep.start()
    yield upkeep
    upkeep.stop()


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def items(store: Store) -> int:
    return len(Jobs(store.engine).search())


def test_a_file_is_taken_only_when_it_has_settled(watching_store: Store, watched: Path, upkeep: Upkeep) -> None:
    content = part10(wsi_dataset())
    with (watched / "slow.dcm").open("wb", buffering=0) as file:
        for start in range(0, len(content), len(content) // 8):
            file.write(content[start : start + len(content) // 8])
            time.sleep(0.2)
            assert items(watching_store) == 0
    until(lambda: items(watching_store) == 1)


@pytest.mark.usefixtures("worker", "upkeep")
def test_imported_files_go_to_done_and_failed_ones_to_failed_with_the_reason(
    watching_store: Store, watched: Path, cmu_small_region: Path
) -> None:
    (watched / "good.dcm").write_bytes(part10(wsi_dataset()))
    (watched / "bad.svs").write_bytes(b"no slide" * 1000)
    shutil.copy(cmu_small_region, watched / "slide.svs")
    case = watched / "case"
    case.mkdir()
    (case / "1.dcm").write_bytes(part10(wsi_dataset()))
    until(lambda: not [path for path in watched.iterdir() if path.name not in ("done", "failed")])
    assert sorted(path.name for path in (watched / "done").iterdir()) == ["case", "good.dcm", "slide.svs"]
    assert sorted(path.name for path in (watched / "failed").iterdir()) == ["bad.svs", "bad.svs.error.txt"]
    assert "UnknownSlideFormat" in (watched / "failed" / "bad.svs.error.txt").read_text()
    assert items(watching_store) == 4


@pytest.mark.usefixtures("worker")
def test_a_restart_makes_no_second_import(watching_store: Store, watched: Path) -> None:
    (watched / "one.dcm").write_bytes(part10(wsi_dataset()))
    for _ in range(3):
        upkeep = Upkeep(watching_store, every_seconds=0.1)
        upkeep.start()
        time.sleep(0.7)
        upkeep.stop()
    several = [Upkeep(watching_store, every_seconds=0.1) for _ in range(3)]
    for upkeep in several:
        upkeep.start()
    until((watched / "done" / "one.dcm").exists)
    for upkeep in several:
        upkeep.stop()
    assert items(watching_store) == 1


@pytest.mark.usefixtures("worker", "upkeep")
def test_a_file_put_there_again_is_imported_again_beside_the_first(watching_store: Store, watched: Path) -> None:
    (watched / "bad.dcm").write_bytes(b"x" * 1000)
    until((watched / "failed" / "bad.dcm").exists)
    (watched / "bad.dcm").write_bytes(part10(wsi_dataset()))
    until((watched / "done" / "bad.dcm").exists)
    (watched / "bad.dcm").write_bytes(part10(wsi_dataset()))
    until((watched / "done" / "bad-1.dcm").exists)
    assert items(watching_store) == 3


@pytest.mark.usefixtures("upkeep")
def test_links_pipes_hidden_and_unfinished_files_are_left_alone(
    watching_store: Store, watched: Path, folder: Path
) -> None:
    (folder / "secret").write_bytes(part10(wsi_dataset()))
    (watched / "link.dcm").symlink_to(folder / "secret")
    os.mkfifo(watched / "pipe")
    (watched / ".hidden.dcm").write_bytes(b"x")
    (watched / "copying.svs.part").write_bytes(b"x")
    (watched / "mirax").mkdir()
    (watched / "mirax" / "Slidedat.ini").write_bytes(b"[GENERAL]")
    time.sleep(1.2)
    assert items(watching_store) == 0
