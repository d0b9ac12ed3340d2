"""Storage commitment with Orthanc, both ways: it asks this node, and this node asks it."""

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from dicomsvc.config import CommitmentSettings, PeerSettings, Permission, Settings
from dicomsvc.dimse import Peer, send_files
from dicomsvc.dimse.commitment import commitment_result, request_commitment
from dicomsvc.store import Store
from tests.conftest import require_program
from tests.instances import wsi_dataset
from tests.integration.archive import keep
from tests.integration.commitment_peer import Node, free_port, until

AE_TITLE = "ORTHANC"
FAST = CommitmentSettings(quiet_seconds=0.3, retry_seconds=0.3, retry_longest_seconds=1)

pytestmark = pytest.mark.peer


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc that knows this node."""

    url: str
    dicom_port: int
    process: "subprocess.Popen[bytes]"

    def get(self, path: str) -> Any:
        return httpx.get(self.url + path, timeout=30).raise_for_status().json()

    def post(self, path: str, document: object) -> Any:
        return httpx.post(self.url + path, json=document, timeout=60).raise_for_status().json()

    def forget(self, study_instance_uid: str) -> None:
        """Let it delete a study."""
        found = httpx.post(f"{self.url}/tools/lookup", content=study_instance_uid, timeout=30).raise_for_status().json()
        [path] = [one["Path"] for one in found if one["Type"] == "Study"]
        httpx.delete(self.url + path, timeout=30).raise_for_status()

    def ask(self, instances: list[tuple[str, str]]) -> str:
        """Let it ask this node, and return its Transaction UID."""
        resources = [{"SOPClassUID": sop_class, "SOPInstanceUID": instance} for sop_class, instance in instances]
        document = {"DicomInstances": resources, "Timeout": 10}
        uid: str = self.post("/modalities/us/storage-commitment", document)["ID"]
        return uid


@pytest.fixture
def service_port() -> int:
    return free_port()


@pytest.fixture
def orthanc(service_port: int) -> Iterator[Orthanc]:
    require_program("Orthanc")
    with tempfile.TemporaryDirectory(prefix="dicomsvc-orthanc-") as name:
        configuration = Path(name) / "orthanc.json"
        http_port, dicom_port = free_port(), free_port()
        us = {"AET": "DICOMSVC", "Host": "127.0.0.1", "Port": service_port, "AllowStorageCommitment": True}
        configuration.write_text(
            json.dumps(
                {
                    "StorageDirectory": f"{name}/store",
                    "IndexDirectory": f"{name}/index",
                    "HttpPort": http_port,
                    "DicomPort": dicom_port,
                    "DicomAet": AE_TITLE,
                    "RemoteAccessAllowed": False,
                    "AuthenticationEnabled": False,
                    "DicomModalities": {"us": us},
                    "Plugins": [],
                }
            )
        )
        with Path(name, "log").open("wb") as log:
            process = subprocess.Popen(["Orthanc", "--verbose", str(configuration)], stdout=log, stderr=log)
        running = Orthanc(f"http://127.0.0.1:{http_port}", dicom_port, process)
        try:
            until(lambda: answers(running.url), 60)
            yield running
        finally:
            process.terminate()
            process.wait(30)


def answers(url: str) -> bool:
    try:
        return httpx.get(url + "/system", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def store(settings: Settings, orthanc: Orthanc, service_port: int) -> Iterator[Store]:
    peer = PeerSettings(
        ae_title=AE_TITLE, host="127.0.0.1", port=orthanc.dicom_port, may=frozenset({Permission.COMMITMENT})
    )
    changed = {
        "peers": {"orthanc": peer},
        "commitment": FAST,
        "dimse": settings.dimse.model_copy(update={"bind": f"127.0.0.1:{service_port}"}),
    }
    with Store(settings.model_copy(update=changed)) as opened:
        yield opened


def test_orthanc_is_told_what_is_kept_and_what_is_not(store: Store, orthanc: Orthanc) -> None:
    kept = keep(store, *(wsi_dataset(seed=number) for number in range(3)))
    asked = [(one.sop_class_uid, one.sop_instance_uid) for one in kept]
    with Node(store):
        good = orthanc.ask(asked)
        until(lambda: orthanc.get(f"/storage-commitment/{good}")["Status"] != "Pending")
        damaged, lost = (store.instances.find_sop_instance(uid).path for _, uid in asked[:2])
        damaged.chmod(0o600)
        damaged.write_bytes(damaged.read_bytes()[:-1] + b"\xff")
        lost.unlink()
        bad = orthanc.ask(asked)
        until(lambda: orthanc.get(f"/storage-commitment/{bad}")["Status"] != "Pending")
    report = orthanc.get(f"/storage-commitment/{good}")
    assert report["Status"] == "Success"
    assert {one["SOPInstanceUID"] for one in report["Success"]} == {uid for _, uid in asked}
    report = orthanc.get(f"/storage-commitment/{bad}")
    assert report["Status"] == "Failure"
    assert [one["SOPInstanceUID"] for one in report["Success"]] == [asked[2][1]]
    assert {one["SOPInstanceUID"]: one["FailureReason"] for one in report["Failures"]} == {
        asked[0][1]: 0x0110,
        asked[1][1]: 0x0112,
    }


def test_orthanc_is_asked_and_calls_back(store: Store, orthanc: Orthanc) -> None:
    kept = keep(store, *(wsi_dataset(seed=number) for number in range(3)))
    asked = [(one.sop_class_uid, one.sop_instance_uid) for one in kept]
    peer = Peer("127.0.0.1", orthanc.dicom_port, AE_TITLE)
    paths = [store.instances.find_sop_instance(uid).path for _, uid in asked]
    assert all(result.ok for result in send_files(paths, peer))
    with Node(store, upkeep=False):
        uid = request_commitment(store.engine, peer, asked, wait_seconds=0).transaction_uid
        until(lambda: commitment_result(store.engine, uid).ended)
        orthanc.forget(kept[0].study_instance_uid)
        again = request_commitment(store.engine, peer, asked, wait_seconds=0).transaction_uid
        until(lambda: commitment_result(store.engine, again).ended)
    assert commitment_result(store.engine, uid).all_committed
    after = commitment_result(store.engine, again)
    assert after.failed == {asked[0][1]: 0x0112}
    assert set(after.committed) == {uid for _, uid in asked[1:]}


def test_orthanc_is_told_once_it_is_there_again(store: Store, orthanc: Orthanc) -> None:
    """While it is stopped (SIGSTOP) it takes connections and says nothing."""
    import signal

    [kept] = keep(store, wsi_dataset())
    with Node(store, upkeep=False):
        uid = orthanc.ask([(kept.sop_class_uid, kept.sop_instance_uid)])
    orthanc.process.send_signal(signal.SIGSTOP)
    try:
        with Node(store):
            time.sleep(2)
            orthanc.process.send_signal(signal.SIGCONT)
            until(lambda: orthanc.get(f"/storage-commitment/{uid}")["Status"] == "Success")
    finally:
        orthanc.process.send_signal(signal.SIGCONT)
