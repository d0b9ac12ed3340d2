"""A disk that is full, for real: a small file system of its own under the store."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import RunningService, require_program, start_service
from tests.faults.node import (
    FIGURES,
    OUT_OF_RESOURCES,
    Load,
    assert_kept,
    assert_sound,
    c_store,
    echoing,
    eventually,
    running,
)
from tests.instances import part10, write_instances, wsi_dataset

SIZE_MB = 160
DATABASE_MB = 120


@contextlib.contextmanager
def small_file_system(folder: Path, options: str) -> Iterator[None]:
    """Mount a small file system on ``folder``."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "dicomsvc-test", str(folder)], check=False)
    if mounted.returncode != 0:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, leave_bytes: int = 0) -> Path:
    """Leave only so much free; return the file that takes the rest."""
    ballast = folder / "ballast"
    status = os.statvfs(folder)
    with ballast.open("wb") as file, contextlib.suppress(OSError):
        for _ in range((status.f_bavail * status.f_frsize - leave_bytes) >> 12):
            file.write(bytes(1 << 12))
    return ballast


@pytest.fixture
def small_service() -> Iterator[RunningService]:
    with tempfile.TemporaryDirectory(prefix="dicomsvc-full-") as name:
        base = Path(name)
        base.chmod(0o755)
        with small_file_system(base / "data", f"size={SIZE_MB}m"):
            service = start_service(base / "data")
            yield service
            service.process.terminate()
            service.process.wait(40)


def stow(service: RunningService, content: bytes) -> httpx.Response:
    boundary = "full"
    body = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + content
    return httpx.post(
        f"{service.dicomweb}/studies",
        content=body + f"\r\n--{boundary}--\r\n".encode(),
        headers={"Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}'},
        timeout=60,
    )


def spooled(service: RunningService) -> list[Path]:
    return list((service.data / "spool").rglob("*.part"))


@pytest.mark.peer
def test_a_full_disk_is_answered_freed_and_the_next_store_is_fine(small_service: RunningService) -> None:
    storescu = require_program("storescu")
    ballast = fill(small_service.data, 2 << 20)
    big = part10(wsi_dataset(frames=60, tile=512, seed=1))
    assert len(big) > 3 << 20
    answer = stow(small_service, big)
    assert answer.status_code == 503
    assert spooled(small_service) == []

    path = small_service.data.parent / "big.dcm"
    path.write_bytes(big)
    command = [storescu, "-v", "-R", "-xy", "-aec", "DICOMSVC", "127.0.0.1", str(small_service.dimse_port), str(path)]
    sent = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "OutOfResources" in sent.stdout + sent.stderr or "0xa700" in (sent.stdout + sent.stderr).lower()
    assert spooled(small_service) == []

    ballast.unlink()
    assert stow(small_service, big).status_code == 200
    sent = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert sent.returncode == 0
    assert "Success" in sent.stdout + sent.stderr


def refused_and_taken_again(service: RunningService, folder: Path, free: Path, environment: dict[str, str]) -> None:
    """Send while there is no room, then free it: what was acknowledged is there, and what was not is taken."""
    instances = write_instances(folder, 60)
    with echoing(service.dimse_port) as echoes, Load(service, instances) as load:
        assert eventually(lambda: OUT_OF_RESOURCES in load.statuses, 60), load.statuses
        while_full = len(load.acknowledged)
        free.unlink()
        assert eventually(lambda: len(load.acknowledged) == len(instances), 120), "what was refused is not taken later"
    assert load.statuses == {0, OUT_OF_RESOURCES}, load.statuses
    FIGURES.append(f"{folder.name}: {while_full} of 60 acknowledged before it was freed; C-ECHO {echoes()}")
    assert echoes().p99 < 1
    assert eventually(lambda: not spooled(service)), "the spool is not empty"
    assert_kept(service, load.acknowledged)
    assert_sound(service, **environment)


def test_a_store_that_takes_no_more_files_says_so(database_url: str, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="dicomsvc-full-") as name:
        base = Path(name)
        base.chmod(0o755)
        environment = {"DICOMSVC_DATABASE__URL": database_url}
        with (
            small_file_system(base / "data", "size=64m,nr_inodes=300"),
            running(base / "data", environment=environment) as service,
        ):
            ballast = base / "data" / "ballast"
            ballast.mkdir()
            number = 0
            with contextlib.suppress(OSError):
                for number in range(1000):
                    (ballast / str(number)).touch()
            assert c_store(service, part10(wsi_dataset())) == OUT_OF_RESOURCES
            assert stow(service, part10(wsi_dataset())).status_code == 503
            for each in range(number):
                (ballast / str(each)).unlink()
            assert c_store(service, part10(wsi_dataset())) == 0
            assert stow(service, part10(wsi_dataset())).status_code == 200
            assert spooled(service) == []
            assert_sound(service, **environment)


def test_a_database_whose_disk_is_full_costs_nothing_acknowledged(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="dicomsvc-full-") as name:
        base = Path(name)
        base.chmod(0o755)
        folder = base / "data" / "postgres"
        with small_file_system(folder, f"size={DATABASE_MB}m"), running(base / "data") as service:
            assert c_store(service, part10(wsi_dataset())) == 0
            refused_and_taken_again(service, tmp_path / "database full", fill(folder), {})
