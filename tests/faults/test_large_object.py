"""An instance of more than 4 GB in and out, by C-STORE, STOW-RS and WADO-RS: no process grows by more than 100 MB."""

import hashlib
import os
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from pydicom.uid import generate_uid

from dicomsvc.dimse import Peer, send_files
from tests.conftest import RunningService
from tests.instances import part10, wsi_dataset

SIZE_GB = float(os.environ.get("DICOMSVC_LARGE_GB", "4.2"))
FRAME_BYTES = 4 << 20
LIMIT = 100 << 20


class Growth:
    """Watches every process of a service and remembers how far each grew."""

    def __init__(self, service: RunningService) -> None:
        self._processes = [
            process
            for process in psutil.Process(service.process.pid).children(recursive=True)
            if process.name() != "postgres"
        ]
        self._before = {process.pid: process.memory_info().rss for process in self._processes}
        self.most = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            for process in self._processes:
                self.most = max(self.most, process.memory_info().rss - self._before[process.pid])

    def __enter__(self) -> "Growth":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def large_file(path: Path, size_gb: float = SIZE_GB, **uids: str) -> str:
    """Write an instance of many large frames; return the SHA-256 of one of them."""
    frames = int(size_gb * (1 << 30)) // FRAME_BYTES
    ds = wsi_dataset(frames=1, **uids)
    ds.NumberOfFrames = frames
    content = part10(ds)
    header = content[: content.rindex(b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff") + 12]
    frame = b"\xff\xd8" + os.urandom(FRAME_BYTES - 4) + b"\xff\xd9"
    item = struct.pack("<HHI", 0xFFFE, 0xE000, FRAME_BYTES)
    with path.open("wb") as file:
        file.write(header + struct.pack("<HHI", 0xFFFE, 0xE000, 0))
        for _ in range(frames):
            file.write(item)
            file.write(frame)
        file.write(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))
    return hashlib.sha256(frame).hexdigest()


def stow_body(path: Path, boundary: str) -> Iterator[bytes]:
    yield f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            yield piece
    yield f"\r\n--{boundary}--\r\n".encode()


@pytest.mark.slow
def test_a_large_instance_in_and_out_costs_no_memory(service: RunningService, tmp_path: Path) -> None:
    httpx.get(f"{service.dicomweb}/studies")
    time.sleep(3)
    study, series = generate_uid(), generate_uid()
    by_dimse, by_stow = tmp_path / "dimse.dcm", tmp_path / "stow.dcm"

    digest = large_file(by_dimse, study_instance_uid=study, series_instance_uid=series)
    with Growth(service) as growth:
        [sent] = send_files([by_dimse], Peer("127.0.0.1", service.dimse_port))
    assert sent.ok, sent.message
    assert growth.most < LIMIT, f"C-STORE: {growth.most >> 20} MB"
    by_dimse.unlink()

    large_file(by_stow, study_instance_uid=study, series_instance_uid=series)
    with Growth(service) as growth:
        answer = httpx.post(
            f"{service.dicomweb}/studies",
            content=stow_body(by_stow, "large"),
            headers={"Content-Type": 'multipart/related; type="application/dicom"; boundary=large'},
            timeout=600,
        )
    assert answer.status_code == 200, answer.text
    assert growth.most < LIMIT, f"STOW-RS: {growth.most >> 20} MB"
    size = by_stow.stat().st_size
    by_stow.unlink()

    url = f"{service.dicomweb}/studies/{study}/series/{series}/instances/{sent.sop_instance_uid}"
    with Growth(service) as growth:
        with httpx.stream("GET", url, headers={"Accept": "application/dicom; transfer-syntax=*"}, timeout=600) as got:
            received = sum(len(piece) for piece in got.iter_raw(1 << 20))
        frame = httpx.get(f"{url}/frames/77", headers={"Accept": "application/octet-stream; transfer-syntax=*"})
    assert growth.most < LIMIT, f"WADO-RS: {growth.most >> 20} MB"
    assert abs(received - size) < 4096
    assert hashlib.sha256(frame.content).hexdigest() == digest
