"""Kill the service at random moments: what was acknowledged is there, what was not leaves no trace."""

import io
import os
import random
import re
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest
from pydicom import dcmread

from dicomsvc.store import Store
from tests.conftest import RunningService, require_program, start_service
from tests.instances import write_instances

ROUNDS = int(os.environ.get("DICOMSVC_KILL_ROUNDS", "3"))
BOUNDARY = "durability"


def kill(service: RunningService) -> None:
    """End every process of the service at once, without any of them noticing."""
    family = [psutil.Process(service.process.pid), *psutil.Process(service.process.pid).children(recursive=True)]
    for process in family:
        if process.name() != "postgres":
            process.send_signal(signal.SIGKILL)
    service.process.wait()


def send_with_storescu(service: RunningService, folder: Path, acknowledged: set[str]) -> None:
    """Send a folder and note which SOP Instance UIDs were answered with success."""
    program = require_program("storescu")
    command = [program, "-v", "-R", "-xy", "-aec", "DICOMSVC", "127.0.0.1", str(service.dimse_port), "+sd", str(folder)]
    sent = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    current = ""
    uids = {path.name: uid for path, uid in UIDS.items()}
    for line in sent.stdout.splitlines() + sent.stderr.splitlines():
        if match := re.search(r"Sending file: .*/(\S+\.dcm)", line):
            current = match[1]
        elif "Received Store Response (Success)" in line:
            acknowledged.add(uids[current])


UIDS: dict[Path, str] = {}


def send_with_stow(service: RunningService, contents: dict[str, bytes], acknowledged: set[str]) -> None:
    for uid, content in contents.items():
        body = (
            f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
            + content
            + f"\r\n--{BOUNDARY}--\r\n".encode()
        )
        try:
            answer = httpx.post(
                f"{service.dicomweb}/studies",
                content=body,
                headers={"Content-Type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'},
                timeout=30,
            )
        except httpx.HTTPError:
            return
        if answer.status_code == 200:
            acknowledged.add(uid)


@pytest.mark.peer
def test_no_acknowledged_instance_is_lost_and_no_other_one_stays() -> None:
    chance = random.Random(20260101)
    with tempfile.TemporaryDirectory(prefix="dicomsvc-kill-") as name:
        base = Path(name)
        base.chmod(0o755)
        everything: dict[str, bytes] = {}
        acknowledged: set[str] = set()
        for turn in range(ROUNDS):
            service = start_service(base / "data")
            by_dimse = write_instances(base / f"dimse-{turn}", 150)
            by_stow = write_instances(base / f"stow-{turn}", 150)
            everything |= by_dimse | by_stow
            UIDS.clear()
            UIDS.update(zip(sorted((base / f"dimse-{turn}").iterdir()), by_dimse, strict=True))
            threads = [
                threading.Thread(target=send_with_storescu, args=(service, base / f"dimse-{turn}", acknowledged)),
                threading.Thread(target=send_with_stow, args=(service, by_stow, acknowledged)),
            ]
            for thread in threads:
                thread.start()
            time.sleep(chance.uniform(0.05, 1.5))
            kill(service)
            for thread in threads:
                thread.join()
        check(base, everything, acknowledged)


def check(base: Path, everything: dict[str, bytes], acknowledged: set[str]) -> None:
    assert acknowledged, "nothing was acknowledged before the first kill: the test shows nothing"
    service = start_service(base / "data")
    try:
        for uid in acknowledged:
            assert same(found(service, uid), everything[uid]), "an acknowledged instance was lost or changed"
        files = list((base / "data" / "instances").rglob("*.dcm"))
        for path in files:
            content = path.read_bytes()
            uid = str(dcmread(io.BytesIO(content), stop_before_pixels=True).SOPInstanceUID)
            assert same(content, everything[uid]), "a half file is in place"
        spooled = list((base / "data" / "spool").rglob("*.part"))
        assert not spooled, "the spool was not swept"
    finally:
        service.process.terminate()
        service.process.wait(40)
    from dicomsvc.cli.context import settings_for, with_migrated_database

    with with_migrated_database(settings_for(base / "data")) as settings, Store(settings) as store:
        result = store.verify()
        assert result.sound, (
            f"{len(result.orphans)} orphans, {len(result.missing)} missing, {len(result.damaged)} damaged"
        )
        assert result.checked >= len(acknowledged)


def found(service: RunningService, sop_instance_uid: str) -> bytes:
    """Return the instance as the service serves it."""
    [row] = httpx.get(f"{service.dicomweb}/instances", params={"SOPInstanceUID": sop_instance_uid}).json()
    study, series = row["0020000D"]["Value"][0], row["0020000E"]["Value"][0]
    answer = httpx.get(
        f"{service.dicomweb}/studies/{study}/series/{series}/instances/{sop_instance_uid}",
        headers={"Accept": "application/dicom; transfer-syntax=*"},
    )
    assert answer.status_code == 200
    return answer.content


def same(content: bytes, original: bytes) -> bool:
    """Whether the data sets are the same; a sender by DIMSE leaves the File Meta Information to the receiver."""
    return content == original or dcmread(io.BytesIO(content)) == dcmread(io.BytesIO(original))
