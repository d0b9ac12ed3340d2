"""The running service's trail: what people and peers did by the web and by DICOM, told by the worker."""

import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from lxml import etree
from pydicom.uid import generate_uid

from dicomsvc.auth import hash_token
from tests.conftest import RunningService, require_program, running_service, start_service
from tests.instances import VL_WHOLE_SLIDE, part10, write_instances, wsi_dataset

SCHEMA = etree.RelaxNG(etree.parse(Path(__file__).parents[1] / "data" / "audit-message.rng"))
TOKEN = "a-token-of-ada"
MARKER = "MARKER-OF-A-PATIENT"
Told = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def service() -> Iterator[RunningService]:
    yield from running_service(
        environment={"DICOMSVC_AUTH__TOKENS": json.dumps({"ada": hash_token(TOKEN)})}  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def client(service: RunningService) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {TOKEN}", "X-Forwarded-For": "6.6.6.6, 203.0.113.9"}
    with httpx.Client(base_url=service.dicomweb, headers=headers, timeout=60) as opened:
        yield opened


@pytest.fixture(scope="module")
def stored(client: httpx.Client) -> tuple[str, str, str]:
    ds = wsi_dataset(patient_id=MARKER, patient_name=MARKER)
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + part10(ds) + b"\r\n--b--\r\n"
    content_type = 'multipart/related; type="application/dicom"; boundary=b'
    assert client.post("/studies", content=body, headers={"Content-Type": content_type}).status_code == 200
    return ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID


@pytest.fixture(scope="module")
def told(service: RunningService) -> Told:
    """Return the trail's rows of an event of a study; waits for some."""

    def rows(event: str, *options: str) -> list[dict[str, Any]]:
        deadline = time.monotonic() + 60
        while True:
            # Listing tells everything that has been noted; what a process holds is noted within seconds.
            command = [sys.executable, "-m", "dicomsvc", "audit", "list", "--event", event, *options, "--json"]
            done = subprocess.run(
                [*command, "--data", str(service.data)], capture_output=True, text=True, timeout=120, check=True
            )
            found: list[dict[str, Any]] = json.loads(done.stdout)
            if found:
                assert all(SCHEMA.validate(etree.fromstring(row["message"])) for row in found)
                return found
            assert time.monotonic() < deadline
            time.sleep(0.5)

    return rows


def test_what_came_by_stow_names_user_client_study_and_patient(stored: tuple[str, str, str], told: Told) -> None:
    [row] = told("instances-transferred", "--study", stored[0])
    assert (row["who"], row["patient_ids"], row["outcome"]) == (["ada"], [MARKER], 0)
    root = etree.fromstring(row["message"])
    assert root.find("ActiveParticipant").get("NetworkAccessPointID") == "203.0.113.9"
    assert root.find(".//SOPClass").get("UID") == VL_WHOLE_SLIDE


def test_frames_metadata_and_pictures_are_told_as_one_look_at_the_study(
    client: httpx.Client, stored: tuple[str, str, str], told: Told
) -> None:
    study, series, instance = stored
    path = f"/studies/{study}/series/{series}/instances/{instance}"
    for number in (1, 2, 3, 1, 2, 3):
        assert client.get(f"{path}/frames/{number}").status_code == 200
    assert client.get(f"{path}/metadata").status_code == 200
    assert client.get(f"{path}/rendered").status_code == 200
    time.sleep(4)
    rows = told("instances-accessed", "--study", study)
    assert {tuple(row["who"]) for row in rows} == {("ada",)}
    assert rows[0]["patient_ids"] == [MARKER]
    sop_class = etree.fromstring(rows[0]["message"]).find(".//SOPClass")
    assert (sop_class.get("NumberOfInstances"), [each.get("UID") for each in sop_class]) == ("1", [instance])


def test_a_retrieved_instance_is_transferred_and_a_search_is_a_query(
    client: httpx.Client, stored: tuple[str, str, str], told: Told
) -> None:
    study, series, instance = stored
    assert client.get(f"/studies/{study}/series/{series}/instances/{instance}").status_code == 200
    assert client.get("/studies", params={"PatientID": MARKER}).status_code == 200
    [query] = told("query", "--user", "ada")
    asked = etree.fromstring(query["message"]).find(".//ParticipantObjectQuery")
    assert base64.b64decode(asked.text) == f"PatientID={MARKER}".encode()
    rows = told("instances-transferred", "--study", study)
    sent = etree.fromstring(rows[-1]["message"])
    assert sent.find("EventIdentification").get("EventActionCode") == "R"
    assert [each.get("UserIsRequestor") for each in sent.findall("ActiveParticipant")] == ["false", "true"]


def test_a_wrong_token_is_a_failed_login_and_none_is_not(service: RunningService, told: Told) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer wrong too"}):
        assert httpx.get(f"{service.dicomweb}/studies", headers=headers, timeout=30).status_code == 401
    rows = told("user-authentication")
    assert sum(2 if "2 times" in row["message"] else 1 for row in rows) == 2
    assert all(row["outcome"] == 4 for row in rows)
    assert "wrong" not in "".join(row["message"] for row in rows)


@pytest.mark.peer
def test_peers_are_named_in_what_they_store_ask_get_and_are_refused(
    service: RunningService, told: Told, tmp_path: Path
) -> None:
    ds = wsi_dataset(patient_id=MARKER)
    file = tmp_path / "a.dcm"
    file.write_bytes(part10(ds))
    port = str(service.dimse_port)
    for program, *arguments in (
        ("storescu", "-R", "-xy", "-aet", "SCANNER", "127.0.0.1", port, str(file)),
        ("findscu", "-S", "-aet", "STATION", "-k", "0008,0052=STUDY", "-k", f"0010,0020={MARKER}", "127.0.0.1", port),
        (
            *("getscu", "-S", "+xy", "-aet", "STATION", "-od", str(tmp_path)),
            *("-k", "0008,0052=STUDY", "-k", f"0020,000d={ds.StudyInstanceUID}", "127.0.0.1", port),
        ),
    ):
        done = subprocess.run([require_program(program), *arguments], capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
    [query] = told("query", "--user", "STATION")
    detail = etree.fromstring(query["message"]).find(".//ParticipantObjectDetail")
    assert detail.get("type") == "TransferSyntax"
    assert MARKER.encode() in base64.b64decode(
        etree.fromstring(query["message"]).find(".//ParticipantObjectQuery").text
    )
    study = str(ds.StudyInstanceUID)
    [came] = told("instances-transferred", "--study", study, "--user", "SCANNER")
    [begun] = told("begin-transferring", "--study", study)
    [went] = told("instances-transferred", "--study", study, "--user", "STATION")
    assert (came["patient_ids"], begun["who"], went["who"]) == ([MARKER], ["STATION"], ["STATION"])
    assert etree.fromstring(went["message"]).find(".//SOPClass").get("NumberOfInstances") == "1"


def test_a_deleted_study_names_who_and_whose(client: httpx.Client, told: Told) -> None:
    ds = wsi_dataset(study_instance_uid=generate_uid(), patient_id=MARKER)
    content_type = {"Content-Type": "application/dicom"}
    assert client.post("/studies", content=part10(ds), headers=content_type).status_code == 200
    assert client.delete(f"/studies/{ds.StudyInstanceUID}").status_code == 204
    [row] = told("study-deleted", "--study", str(ds.StudyInstanceUID))
    assert (row["who"], row["patient_ids"]) == (["ada"], [MARKER])


def test_a_body_that_is_no_instance_is_a_transfer_that_failed(client: httpx.Client, told: Told) -> None:
    answer = client.post("/studies", content=b"nonsense" * 100, headers={"Content-Type": "application/dicom"})
    assert answer.status_code in (400, 409)
    rows = told("instances-transferred", "--failures")
    assert [row["outcome"] for row in rows] == [4]


def test_every_role_says_that_it_started_the_chain_verifies_and_no_log_names_a_patient(
    service: RunningService, told: Told
) -> None:
    started = {row["who"][0].partition("/")[0] for row in told("application-activity")}
    assert {"web", "dimse", "worker"} <= started
    command = [sys.executable, "-m", "dicomsvc", "audit", "verify", "--json", "--data", str(service.data)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=dict(os.environ))
    assert json.loads(done.stdout)["sound"], done.stdout
    assert MARKER not in service.log.read_text()
    assert MARKER not in httpx.get(f"{service.url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).text


@pytest.mark.slow
@pytest.mark.peer
def test_every_instance_that_survives_a_kill_is_in_the_trail_once(tmp_path: Path) -> None:
    """Sum of the trail's counts against the index, after kills in the middle of C-STORE."""
    written = write_instances(tmp_path / "sent", 400)
    with tempfile.TemporaryDirectory(prefix="dicomsvc-") as name:
        Path(name).chmod(0o755)
        data = Path(name) / "data"
        for seconds in (1.0, 2.0, 0.5):
            running = start_service(data)
            command = [require_program("storescu"), "-R", "-xy", "-aet", "SCANNER", "+sd", "127.0.0.1"]
            sender = subprocess.Popen(
                [*command, str(running.dimse_port), str(tmp_path / "sent")],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            time.sleep(seconds)
            with httpx.Client(timeout=30) as client:
                pids = [each["pid"] for each in client.get(f"{running.url}/api/status").json()["processes"]]
            for pid in (*pids, running.process.pid):
                os.kill(pid, signal.SIGKILL)
            running.process.wait(20)
            sender.wait(60)
        running = start_service(data)
        with httpx.Client(timeout=60) as client:
            stored = client.get(f"{running.dicomweb}/instances", params={"limit": 1000}).json()
        command = [sys.executable, "-m", "dicomsvc", "audit", "list", "--limit", "10000", "--json", "--data", str(data)]
        told = json.loads(subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout)
        created = 0
        for row in told:
            root = etree.fromstring(row["message"])
            action = root.find("EventIdentification").get("EventActionCode")
            if row["event"] == "instances-transferred" and row["outcome"] == 0 and action == "C":
                created += sum(int(each.get("NumberOfInstances")) for each in root.iter("SOPClass"))
        verify = [sys.executable, "-m", "dicomsvc", "audit", "verify", "--data", str(data)]
        sound = subprocess.run(verify, capture_output=True, text=True, timeout=120, check=False)
        running.process.terminate()
        running.process.wait(40)
    assert 0 < len(stored) <= len(written)
    assert created == len(stored)
    assert sound.returncode == 0, sound.stdout
