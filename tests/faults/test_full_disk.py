"""A disk that is full, for real: a small file system of its own under the store."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import RunningService, require_program, start_service
from tests.instances import part10, wsi_dataset

SIZE_MB = 160


@pytest.fixture
def small_service() -> Iterator[RunningService]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    with tempfile.TemporaryDirectory(prefix="dicomsvc-full-") as name:
        base = Path(name)
        base.chmod(0o755)
        data = base / "data"
        (data / "spool").mkdir(parents=True)
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "dicomsvc-test", str(data)], check=False
        )
        if mounted.returncode != 0:
            pytest.skip("file systems cannot be mounted here")
        try:
            service = start_service(data)
            yield service
            service.process.terminate()
            service.process.wait(40)
        finally:
            subprocess.run(["umount", "-l", str(data)], check=True)


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
    ballast = small_service.data / "ballast"
    status = os.statvfs(small_service.data)
    with ballast.open("wb") as file:
        file.write(b"\0" * (status.f_bavail * status.f_frsize - (2 << 20)))
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
