"""An instance of more than 1 GB out by C-GET and C-MOVE: no process of the service grows by more than 150 MB."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomsvc.dimse import Peer, send_files
from tests.conftest import RunningService, require_program, start_service
from tests.faults.test_large_object import Growth, large_file
from tests.integration.archive import Receiver

LIMIT = 150 << 20
SIZE_GB = float(os.environ.get("DICOMSVC_RETRIEVED_GB", "1.05"))


@pytest.fixture
def destination(tmp_path: Path) -> Iterator[Receiver]:
    with Receiver(tmp_path / "received") as running:
        yield running


@pytest.fixture
def serving(destination: Receiver) -> Iterator[RunningService]:
    """A service that knows the receiver."""
    peers = {
        "scp": {"ae_title": "STORESCP", "host": "127.0.0.1", "port": destination.port, "may": ["move_destination"]}
    }
    environment = {"DICOMSVC_PEERS": json.dumps(peers), "DICOMSVC_DIMSE__ACCEPT_UNKNOWN": "true"}
    with tempfile.TemporaryDirectory(prefix="dicomsvc-service-") as name:
        Path(name).chmod(0o755)
        running = start_service(Path(name) / "data", environment=environment)
        yield running
        running.process.terminate()
        try:
            assert running.process.wait(40) == 0, running.log.read_text()
        finally:
            running.process.kill()


def data_sets_are_equal(one: Path, other: Path) -> bool:
    """Whether two large files hold the same data set, whatever their File Meta Information."""
    sizes = (one.stat().st_size, other.stat().st_size)
    with one.open("rb") as first, other.open("rb") as second:
        for file in (first, second):
            file.seek(140)
            file.seek(144 + int.from_bytes(file.read(4), "little"))
        if sizes[0] - first.tell() != sizes[1] - second.tell():
            return False
        return all(first.read(1 << 20) == second.read(1 << 20) for _ in range(max(sizes) >> 20))


@pytest.mark.slow
@pytest.mark.peer
def test_a_large_instance_is_got_and_moved_in_flat_memory(
    serving: RunningService, destination: Receiver, tmp_path: Path
) -> None:
    original = tmp_path / "large.dcm"
    large_file(original, SIZE_GB)
    [sent] = send_files([original], Peer("127.0.0.1", serving.dimse_port))
    assert sent.ok, sent.message
    keys = ["-k", "QueryRetrieveLevel=IMAGE", "-k", f"SOPInstanceUID={sent.sop_instance_uid}"]
    where = ["127.0.0.1", str(serving.dimse_port)]
    time.sleep(2)

    got = tmp_path / "got"
    got.mkdir()
    with Growth(serving) as growth:
        subprocess.run(
            [require_program("getscu"), "-S", "+xy", "+B", "-od", str(got), *keys, *where], check=True, timeout=600
        )
    assert growth.most < LIMIT, f"C-GET: {growth.most >> 20} MB"
    [file] = got.iterdir()
    assert data_sets_are_equal(original, file)
    file.unlink()

    with Growth(serving) as growth:
        subprocess.run([require_program("movescu"), "-S", "-aem", "STORESCP", *keys, *where], check=True, timeout=600)
    assert growth.most < LIMIT, f"C-MOVE: {growth.most >> 20} MB"
    [file] = destination.folder.iterdir()
    assert data_sets_are_equal(original, file)
