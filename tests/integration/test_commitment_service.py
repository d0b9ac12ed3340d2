"""Storage commitment as people see it: the API and the command line of a running service."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel

from dicomsvc.dimse import Peer, send_files
from tests.conftest import RunningService
from tests.instances import VL_WHOLE_SLIDE, part10, wsi_dataset
from tests.integration.commitment_peer import Requestor, free_port, until


@pytest.fixture(scope="module")
def instance(service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Study and SOP Instance UID of an instance that the service keeps."""
    ds = wsi_dataset()
    path = tmp_path_factory.mktemp("sent") / "one.dcm"
    path.write_bytes(part10(ds))
    assert [result.ok for result in send_files([path], Peer("127.0.0.1", service.dimse_port))] == [True]
    return str(ds.StudyInstanceUID), str(ds.SOPInstanceUID)


def command(data: Path, *arguments: str) -> tuple[int, Any]:
    """Run `dicomsvc` and return its exit status and what it prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "dicomsvc", *arguments, "--data", str(data), "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


@pytest.fixture
def archive(service: RunningService) -> Iterator[str]:
    """The name of a peer that takes requests and never reports."""
    ae, port = AE("SILENT"), free_port()
    ae.add_supported_context(StorageCommitmentPushModel)
    server = ae.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_ACTION, lambda event: (0, None))]
    )
    arguments = ("--ae", "SILENT", "--host", "127.0.0.1", "--port", str(port))
    assert command(service.data, "peers", "add", "silent", *arguments)[0] == 0
    yield "silent"
    server.shutdown()


def test_what_a_peer_asked_for_is_shown(service: RunningService, instance: tuple[str, str]) -> None:
    uid, unknown = generate_uid(), generate_uid()
    requestor = Requestor()
    assoc = requestor.associate(service.dimse_port)
    assert requestor.ask(assoc, uid, [(VL_WHOLE_SLIDE, instance[1]), (VL_WHOLE_SLIDE, unknown)]) == 0x0000
    until(lambda: requestor.reports)
    assoc.release()

    def shown() -> Any:
        return httpx.get(f"{service.url}/api/commitments/{uid}", timeout=10).json()[0]

    until(lambda: shown()["state"] == "reported")
    expected = {"direction": "received", "ae_title": "MODALITY", "instances": 2, "committed": 1, "failed": 1}
    assert shown().items() >= {**expected, "failures": {unknown: "0x0112"}}.items()
    [listed] = httpx.get(f"{service.url}/api/commitments", params={"limit": 1}, timeout=10).json()
    assert listed.items() >= {**expected, "transaction_uid": uid}.items()
    status, documents = command(service.data, "commitments", "show", uid)
    assert status == 0
    assert documents[0]["failures"] == {unknown: "0x0112"}
    status, documents = command(service.data, "commitments", "list")
    assert status == 0
    assert uid in [document["transaction_uid"] for document in documents]


def test_a_transaction_that_nobody_knows_is_not_found(service: RunningService) -> None:
    assert httpx.get(f"{service.url}/api/commitments/1.2.3", timeout=10).status_code == 404
    assert httpx.get(f"{service.url}/api/commitments/no-uid", timeout=10).status_code == 422
    status, message = command(service.data, "commitments", "show", "1.2.3")
    assert status == 1
    assert "no storage commitment is known as 1.2.3" in message


def test_a_peer_is_asked_by_hand(service: RunningService, instance: tuple[str, str], archive: str) -> None:
    status, document = command(service.data, "commitments", "request", archive, instance[0], "--wait", "0")
    assert status == 1, "it is not committed as long as nothing is reported"
    assert (document["state"], document["unanswered"]) == ("asked", [instance[1]])
    [shown] = httpx.get(f"{service.url}/api/commitments/{document['transaction_uid']}", timeout=10).json()
    assert shown.items() >= {"direction": "sent", "ae_title": "SILENT", "state": "asked", "committed": 0}.items()
    status, message = command(service.data, "commitments", "request", "nobody", instance[0])
    assert status == 1
    assert "no peer nobody" in message
