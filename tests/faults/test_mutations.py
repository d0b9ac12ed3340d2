"""Thousands of damaged objects through STOW-RS and C-STORE: each gets an answer of the vocabulary, nothing breaks."""

import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from pynetdicom import AE, _config
from pynetdicom.dsutils import split_dataset

from tests.conftest import RunningService
from tests.instances import VL_WHOLE_SLIDE, part10, wsi_dataset

COUNT = int(os.environ.get("DICOMSVC_MUTATIONS", "3000"))
BATCH = 25
STOW_REASONS = {0xA700, 0xA900, 0xC000, 0x0122, 0x0111, 0xC409, 0x0124}
DIMSE_STATUSES = {0x0000, 0xB007, *STOW_REASONS}
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"


def mutate(content: bytes, chance: random.Random) -> bytes:
    """Damage a file in one of the ways that files get damaged, or that somebody would damage it."""
    damaged = bytearray(content)
    way = chance.randrange(6)
    at = chance.randrange(len(damaged))
    if way == 0:
        for _ in range(chance.randrange(1, 20)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
    elif way == 1:
        del damaged[at:]
    elif way == 2:
        del damaged[at : at + chance.randrange(1, 200)]
    elif way == 3:
        damaged[at:at] = chance.randbytes(chance.randrange(1, 200))
    elif way == 4:
        damaged[at : at + 4] = chance.choice((b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0"))
    else:
        start = chance.randrange(len(damaged))
        damaged[at : at + 100] = damaged[start : start + 100]
    return bytes(damaged)


def mutants(count: int, seed: int) -> Iterator[bytes]:
    chance = random.Random(seed)
    originals = [part10(wsi_dataset(frames=frames, seed=frames, tile=32)) for frames in (1, 2, 7)]
    for _ in range(count):
        yield mutate(chance.choice(originals), chance)


def resident_bytes(service: RunningService, role: str) -> int:
    family = psutil.Process(service.process.pid).children(recursive=True)
    [process] = [process for process in family if process.cmdline()[-1:] == [role]]
    return int(process.memory_info().rss)


def test_damaged_objects_by_stow_are_each_answered(service: RunningService) -> None:
    reasons: Counter[int] = Counter()
    before = 0
    with httpx.Client(timeout=60) as client:
        batch: list[bytes] = []
        for number, mutant in enumerate(mutants(COUNT // 2, seed=1), start=1):
            batch.append(mutant)
            if len(batch) == BATCH:
                reasons.update(stow(client, service, batch))
                batch = []
            if number == COUNT // 8:
                before = resident_bytes(service, "web")
    assert set(reasons) <= STOW_REASONS | {0}, f"answers outside the vocabulary: {reasons}"
    assert reasons[0xC000] > COUNT // 50
    assert resident_bytes(service, "web") - before < 50 << 20
    assert "Traceback" not in service.log.read_text()
    assert httpx.get(f"{service.url}/readyz").status_code == 200


def stow(client: httpx.Client, service: RunningService, batch: list[bytes]) -> list[int]:
    boundary = "b7f3d2c1a0"
    body = b"".join(
        f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + content + b"\r\n" for content in batch
    )
    answer = client.post(
        f"{service.dicomweb}/studies",
        content=body + f"--{boundary}--\r\n".encode(),
        headers={
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Accept": "application/dicom+json",
        },
    )
    assert answer.status_code in {200, 202, 400, 409, 415, 503}, answer.status_code
    document = answer.json()
    failed = [item["00081197"]["Value"][0] for item in document.get("00081198", {}).get("Value", [])]
    stored = document.get("00081199", {}).get("Value", [])
    assert len(failed) + len(stored) == len(batch), "an instance was left without an answer"
    return failed + [0] * len(stored)


def test_damaged_objects_by_c_store_are_each_answered(
    service: RunningService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Then pynetdicom sends what follows the File Meta Information as it is, without parsing it.
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
    statuses: Counter[int] = Counter()
    before = 0
    application = AE(ae_title="MUTANT")
    application.add_requested_context(VL_WHOLE_SLIDE, [JPEG_BASELINE])
    application.add_requested_context("1.2.840.10008.1.1")
    association = application.associate("127.0.0.1", service.dimse_port, ae_title="DICOMSVC")
    assert association.is_established
    chance = random.Random(2)
    path = tmp_path / "mutant.dcm"
    for number in range(COUNT // 2):
        original = part10(wsi_dataset(frames=number % 5 + 1, seed=number % 5, tile=32))
        path.write_bytes(original)
        _, data_set = split_dataset(path)
        path.write_bytes(original[:data_set] + mutate(original[data_set:], chance))
        answer = association.send_c_store(path)
        assert "Status" in answer, "the association broke"
        statuses[answer.Status] += 1
        if number == COUNT // 8:
            before = resident_bytes(service, "dimse")
    echo = association.send_c_echo()
    association.release()
    assert echo.Status == 0
    assert resident_bytes(service, "dimse") - before < 50 << 20
    assert set(statuses) <= DIMSE_STATUSES, f"statuses outside the vocabulary: {statuses}"
    assert statuses[0xC000] > COUNT // 50
    assert "Traceback" not in service.log.read_text()
