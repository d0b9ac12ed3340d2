"""C-GET as SCU under stress: an instance of more than 1 GB, a process that is killed, a disk that is full."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dicomsvc.cli.context import open_store
from dicomsvc.config import Settings
from dicomsvc.dimse import Peer, send_files
from dicomsvc.errors import NotFound
from dicomsvc.store import Store
from tests.conftest import RunningService
from tests.faults.test_full_disk import small_file_system
from tests.faults.test_large_object import large_file
from tests.faults.test_large_retrieval import LIMIT, SIZE_GB, data_sets_are_equal
from tests.instances import part10, wsi_dataset

STUDY = "1.2.3.77"


@pytest.fixture
def other() -> Iterator[Path]:
    """A folder for another store."""
    with tempfile.TemporaryDirectory(prefix="dicomsvc-get-") as name:
        Path(name).chmod(0o755)
        data = Path(name) / "data"
        yield data
        # The database of a process that was killed runs on, for the next one.
        for pid_file in data.glob("postgres*/postmaster.pid"):
            left = psutil.Process(int(pid_file.read_text().split()[0]))
            left.send_signal(signal.SIGINT)
            left.wait(30)


def retrieving(service: RunningService, data: Path, *uids: str, **environment: str) -> "subprocess.Popen[str]":
    archive = f"127.0.0.1:{service.dimse_port}"
    return subprocess.Popen(
        [sys.executable, "-m", "dicomsvc", "retrieve", archive, *uids, "--get", "--data", str(data)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "DICOMSVC_STORE__DISK_RESERVE_MB": "0", **environment},
    )


def several(service: RunningService, folder: Path, study: str, count: int, frames: int) -> dict[str, Path]:
    """Put instances of a study into the archive; return their files by SOP Instance UID."""
    files = {}
    for number in range(count):
        ds = wsi_dataset(
            study_instance_uid=study,
            series_instance_uid=f"{study}.1",
            sop_instance_uid=f"{study}.1.{number}",
            frames=frames,
            seed=number,
        )
        files[str(ds.SOPInstanceUID)] = path = folder / f"{number}.dcm"
        path.write_bytes(part10(ds))
    assert all(result.ok for result in send_files(list(files.values()), Peer("127.0.0.1", service.dimse_port)))
    return files


def most_memory(process: "subprocess.Popen[str]") -> int:
    """Wait for a process; return the most memory it had, in bytes."""
    most, watched = 0, psutil.Process(process.pid)
    while process.poll() is None:
        try:
            most = max(most, watched.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.05)
    output, errors = process.communicate(timeout=60)
    assert output.startswith("1 stored"), output + errors
    return most


def sent(service: RunningService, path: Path) -> str:
    [result] = send_files([path], Peer("127.0.0.1", service.dimse_port))
    assert result.ok, result.message
    return result.sop_instance_uid


@pytest.mark.slow
def test_a_large_instance_is_got_in_flat_memory(service: RunningService, other: Path, tmp_path: Path) -> None:
    small, large = tmp_path / "small.dcm", tmp_path / "large.dcm"
    small.write_bytes(part10(wsi_dataset(study_instance_uid="1.2.3.78")))
    large_file(large, SIZE_GB, study_instance_uid=STUDY)
    sent(service, small)
    uid = sent(service, large)
    usual = most_memory(retrieving(service, other, "1.2.3.78"))
    started = time.monotonic()
    growth = most_memory(retrieving(service, other, STUDY)) - usual
    seconds = time.monotonic() - started
    print(f"{large.stat().st_size / 1e6 / seconds:.0f} MB/s with the start of the command; growth {growth >> 20} MB")
    assert growth < LIMIT, f"C-GET: {growth >> 20} MB"
    with open_store(other) as store:
        assert data_sets_are_equal(large, store.instances.find_sop_instance(uid).path)


@pytest.mark.slow
def test_a_retrieval_that_is_killed_leaves_what_was_acknowledged_and_can_be_given_again(
    service: RunningService, other: Path, tmp_path: Path
) -> None:
    study = "1.2.3.79"
    files = several(service, tmp_path, study, 40, frames=300)
    process = retrieving(service, other, study)
    spool = other / "spool"
    deadline = time.monotonic() + 60
    while not list(spool.rglob("*.part")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    again = retrieving(service, other, study)
    output, errors = again.communicate(timeout=120)
    assert (again.returncode, output) == (0, f"{len(files)} stored, 0 with warnings, 0 failed\n"), errors
    with open_store(other) as store:
        for uid, path in files.items():
            assert data_sets_are_equal(path, store.instances.find_sop_instance(uid).path)
        store.sweep()
        assert not list(spool.rglob("*.part"))


@pytest.mark.slow
def test_what_a_full_disk_does_not_hold_is_refused_and_the_rest_is_stored(
    service: RunningService, settings: Settings, other: Path, tmp_path: Path
) -> None:
    study = "1.2.3.80"
    files = several(service, tmp_path, study, 12, frames=2500)
    size = sum(path.stat().st_size for path in files.values())
    assert settings.database.url is not None
    with small_file_system(other, f"size={size // 2}"):
        process = retrieving(
            service, other, study, "--json", DICOMSVC_DATABASE__URL=settings.database.url.get_secret_value()
        )
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 1, errors
        result = json.loads(output)
        assert (result["status"], result["ok"]) == (0xB000, False)
        assert result["completed"] + result["failed"] == len(files)
        assert 0 < result["completed"] < len(files)
        assert "C-STORE refused with 0xa700" in errors
        with Store(settings.model_copy(update={"data": other})) as store:
            held = 0
            for uid, path in files.items():
                with contextlib.suppress(NotFound):
                    assert data_sets_are_equal(path, store.instances.find_sop_instance(uid).path)
                    held += 1
        assert held == result["completed"]
        assert not list((other / "spool").rglob("*.part"))
