"""Storage commitment with Orthanc, both ways: it asks this node, and this node asks it."""

from collections.abc import Iterator

import httpx
import pytest

from dicomsvc.config import CommitmentSettings, PeerSettings, Permission, Settings
from dicomsvc.dimse import Peer, send_files
from dicomsvc.dimse.commitment import commitment_result, request_commitment
from dicomsvc.store import Store
from tests.instances import wsi_dataset
from tests.integration.archive import keep
from tests.integration.commitment_peer import Node, free_port, until
from tests.integration.orthanc import AE_TITLE, Orthanc, running_orthanc

FAST = CommitmentSettings(quiet_seconds=0.3, retry_seconds=0.3, retry_longest_seconds=1)

pytestmark = pytest.mark.peer


@pytest.fixture
def service_port() -> int:
    return free_port()


@pytest.fixture
def orthanc(service_port: int) -> Iterator[Orthanc]:
    with running_orthanc({"us": ("DICOMSVC", service_port)}, DicomAlwaysAllowStore=True) as running:
        yield running


def ask(orthanc: Orthanc, instances: list[tuple[str, str]]) -> str:
    """Let Orthanc ask this node, and return its Transaction UID."""
    resources = [{"SOPClassUID": sop_class, "SOPInstanceUID": instance} for sop_class, instance in instances]
    document = {"DicomInstances": resources, "Timeout": 10}
    uid: str = orthanc.post("/modalities/us/storage-commitment", document)["ID"]
    return uid


def forget(orthanc: Orthanc, study_instance_uid: str) -> None:
    """Let Orthanc delete a study."""
    found = httpx.post(f"{orthanc.url}/tools/lookup", content=study_instance_uid, timeout=30).raise_for_status().json()
    [path] = [one["Path"] for one in found if one["Type"] == "Study"]
    httpx.delete(orthanc.url + path, timeout=30).raise_for_status()


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
        good = ask(orthanc, asked)
        until(lambda: orthanc.get(f"/storage-commitment/{good}")["Status"] != "Pending")
        damaged, lost = (store.instances.find_sop_instance(uid).path for _, uid in asked[:2])
        damaged.chmod(0o600)
        damaged.write_bytes(damaged.read_bytes()[:-1] + b"\xff")
        lost.unlink()
        bad = ask(orthanc, asked)
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
        forget(orthanc, kept[0].study_instance_uid)
        again = request_commitment(store.engine, peer, asked, wait_seconds=0).transaction_uid
        until(lambda: commitment_result(store.engine, again).ended)
    assert commitment_result(store.engine, uid).all_committed
    after = commitment_result(store.engine, again)
    assert after.failed == {asked[0][1]: 0x0112}
    assert set(after.committed) == {uid for _, uid in asked[1:]}
