"""The worklist of a running service: in over HTTP, MLLP and the command line, out to scanners."""

import json
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from hl7.client import MLLPClient
from pydicom import Dataset
from pynetdicom import AE
from typer.testing import CliRunner, Result

from dicomsvc.cli import app
from dicomsvc.errors import NotFound
from dicomsvc.pacs.worklist.find import MODALITY_WORKLIST_FIND
from tests.conftest import RunningService, start_service
from tests.unit.pacs.worklist_messages import PID, header, message, obr, oml, orc, sac, spm

SECRET = "Quillfeather"
CASES = iter(range(1000, 9999))


@pytest.fixture(scope="module")
def service() -> Iterator[RunningService]:
    """A running service that takes orders over MLLP; nothing of a patient is in its log."""
    with tempfile.TemporaryDirectory(prefix="dicomsvc-service-") as name:
        Path(name).chmod(0o755)
        running = start_service(Path(name) / "data", arguments=("--mllp", "127.0.0.1:0"))
        yield running
        running.process.terminate()
        try:
            assert running.process.wait(40) == 0, running.log.read_text()
            log = running.log.read_text()
            assert SECRET not in log and "S26-" not in log
        finally:
            running.process.kill()


@pytest.fixture
def client(service: RunningService) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=60) as client:
        yield client


@pytest.fixture
def case() -> str:
    """An accession number of this test's own."""
    return f"S26-{next(CASES)}"


def slide(case: str, **changes: Any) -> dict[str, Any]:
    return {
        "patient": {"id": "P-1", "name": f"{SECRET}^Ann"},
        "accession_number": case,
        "placer_order_number": "PL-1",
        "container": {"identifier": f"{case}-A-1"},
        **changes,
    }


def scanned(service: RunningService, barcode: str) -> list[Dataset]:
    """Return what a scanner gets that has read a barcode."""
    asked = Dataset()
    asked.SpecificCharacterSet = "ISO_IR 192"
    asked.PatientID = asked.PatientName = asked.AccessionNumber = asked.StudyInstanceUID = ""
    asked.ScheduledProcedureStepSequence = []
    key = Dataset()
    key.ContainerIdentifier = barcode
    key.SpecimenDescriptionSequence = []
    asked.ScheduledSpecimenSequence = [key]
    ae = AE(ae_title="SCAN1")
    ae.add_requested_context(MODALITY_WORKLIST_FIND)
    association = ae.associate("127.0.0.1", service.dimse_port)
    items = [item for _, item in association.send_c_find(asked, MODALITY_WORKLIST_FIND) if item is not None]
    association.release()
    return items


def mllp(client: httpx.Client) -> tuple[str, int]:
    processes = client.get("/api/status").json()["processes"]
    host, _, port = next(each["address"] for each in processes if each["role"] == "hl7").rpartition(":")
    return host, int(port)


def entries(client: httpx.Client, **asked: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/api/worklist", params=asked).json()["entries"]
    return found


def until(look: Any, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if seen := look():
            return seen
        time.sleep(0.2)
    raise AssertionError("it does not come about")


def test_same_entry_twice_is_one_and_another_with_its_numbers_a_conflict(client: httpx.Client, case: str) -> None:
    first = client.post("/api/worklist", json=slide(case))
    assert first.status_code == 201, first.text
    assert first.headers["Location"] == first.json()["url"]
    again = client.post("/api/worklist", json=slide(case))
    assert (again.status_code, again.json()) == (200, first.json())
    other = client.post("/api/worklist", json=slide(case, patient={"id": "P-2", "name": SECRET}))
    assert other.status_code == 409
    assert first.json()["uid"] in other.text and SECRET not in other.text


def test_entry_is_changed_followed_and_deleted(client: httpx.Client, service: RunningService, case: str) -> None:
    url = client.post("/api/worklist", json=slide(case)).json()["url"]
    changed = client.put(url, json=slide(case, procedure={"description": "PAS"}), params={"revision": 1})
    assert (changed.status_code, changed.json()["revision"]) == (200, 2)
    assert client.put(url, json=slide(case), params={"revision": 1}).status_code == 412
    assert client.get(url).json()["entry"]["procedure"]["description"] == "PAS"
    item = client.get(f"{url}/item").json()
    assert item["00321060"]["Value"] == ["PAS"]
    assert [each.AccessionNumber for each in scanned(service, f"{case}-A-1")] == [case]
    assert client.put(f"{url}/status", json={"status": "completed"}).json()["status"] == "completed"
    assert scanned(service, f"{case}-A-1") == []
    assert client.delete(url).status_code == 204
    assert [client.get(url).status_code, client.delete(url).status_code] == [404, 404]


def test_list_has_filters_and_pages(client: httpx.Client, case: str) -> None:
    for number in range(3):
        step = {"start": f"2031-01-0{number + 1}T08:00:00"}
        said = slide(case, container={"identifier": f"{case}-{number}"}, step=step)
        assert client.post("/api/worklist", json=said).status_code == 201
    page = client.get("/api/worklist", params={"accession_number": case, "limit": 2, "offset": 1}).json()
    assert (page["total"], [each["start"] for each in page["entries"]]) == (
        3,
        ["2031-01-02T08:00:00", "2031-01-03T08:00:00"],
    )
    between = {"start_from": "2031-01-02T00:00:00", "start_before": "2031-01-03T00:00:00"}
    assert [each["entry"]["container"]["identifier"] for each in entries(client, **between)] == [f"{case}-1"]
    assert len(entries(client, accession_number=case, status=["started", "completed"])) == 0
    assert len(entries(client, container_identifier=f"{case}-2", patient_id="P-1", status="scheduled")) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"patient": {"id": ""}},
        {"patient": {"id": f"{SECRET}\\x"}},
        {"patient": {"id": "P", "name": f"{SECRET}^a^b^c^d^e^f"}},
        {"patient": {"id": "P", "birth_date": SECRET}},
        {"accession_number": SECRET * 2},
        {"accession_number": "", "placer_order_number": "", "container": {}},
        {"step": {"modality": SECRET}},
        {"step": {"station_ae_titles": ["显微镜"]}},
        {"study_instance_uid": "1.2.x"},
        {"specimens": [{"preparation": [{}]}]},
        {SECRET: 1},
        {"container": {"identifier": "a\u0000b"}},
    ],
)
def test_what_dicom_cannot_hold_is_refused_and_not_repeated(
    client: httpx.Client, case: str, wrong: dict[str, Any]
) -> None:
    answer = client.post("/api/worklist", json=slide(case, **wrong))
    assert answer.status_code == 422
    assert f"{SECRET}\\" not in answer.text and SECRET * 2 not in answer.text
    assert entries(client, accession_number=case) == []


@pytest.mark.parametrize("asked", ["limit=0", "status=gone", "accession_number=%00", "start_from=soon", "offset=-1"])
def test_wrong_filters_are_told(client: httpx.Client, asked: str) -> None:
    assert client.get(f"/api/worklist?{asked}").status_code == 422


def test_body_that_is_too_large_or_no_json_is_refused(client: httpx.Client) -> None:
    kind = {"Content-Type": "application/json"}
    assert client.post("/api/worklist", content=b"[" * (2 << 20), headers=kind).status_code == 413
    assert client.post("/api/worklist", content=b"{", headers=kind).status_code == 422


def test_scanner_reads_a_barcode_and_gets_patient_case_and_specimen(
    client: httpx.Client, service: RunningService, case: str
) -> None:
    pid = f"PID|1||P-7^^^HOSP^MR||{SECRET}^Ann^^^^^L^A~王^安^^^^^L^I||19600203|F"
    body = (orc(filler=case), obr(filler=case), spm(identifier=f"{case}-A"), sac(f"{case}-A-1"))
    with MLLPClient(*mllp(client)) as sender:
        answer = sender.send_message(message(header("OML^O21", case, "GB 18030-2000"), pid, *body, codec="gb18030"))
    assert b"MSA|AA" in answer
    (item,) = scanned(service, f"{case}-A-1")
    assert (item.PatientID, str(item.PatientName), item.AccessionNumber) == ("P-7", f"{SECRET}^Ann=王^安", case)
    assert item.ScheduledProcedureStepSequence[0].Modality == "SM"
    (specimen,) = item.ScheduledSpecimenSequence[0].SpecimenDescriptionSequence
    assert specimen.SpecimenIdentifier == f"{case}-A"
    assert specimen.PrimaryAnatomicStructureSequence[0].CodeMeaning == "Prostate"
    (entry,) = entries(client, accession_number=case)
    client.put(f"{entry['url']}/status", json={"status": "completed"})
    assert scanned(service, f"{case}-A-1") == []


def test_listener_killed_before_the_answer_takes_the_message_again_as_the_same(
    client: httpx.Client, service: RunningService, case: str
) -> None:
    address = mllp(client)
    content = oml(orc(filler=case), obr(filler=case), sac(f"{case}-A-1"), control_id=case)
    [role] = [
        child
        for child in psutil.Process(service.process.pid).children()
        if child.cmdline()[-2:] == ["dicomsvc.cli.role_process", "hl7"]
    ]
    with socket.create_connection(address, timeout=30) as sender:
        sender.sendall(b"\x0b" + content + b"\x1c\r")
        (entry,) = until(lambda: entries(client, accession_number=case))
        role.kill()

    def again() -> bytes | None:
        try:
            with MLLPClient(*address) as sender:
                answered: bytes = sender.send_message(content)
                return answered
        except OSError:
            return None

    assert b"MSA|AA" in until(again)
    assert entries(client, accession_number=case) == [entry]


@pytest.mark.parametrize(
    "hostile",
    [
        message(header("OML^O21"), PID, *["ORC|NW|" + "x" * 60] * 2000),
        message(header("OML^O21"), PID, orc(), obr(), "SPM|" + "~" * 100_000),
        message(header("OML^O21"), "PID|1||" + "~^&" * 50_000, orc()),
        message(header("OML^O21"), PID, orc(), obr(service="\\X41" * 50_000)),
        message(header("ORM^O01"), PID, "ORC|NW|\\X00\\|\\X0B\\\\X1C\\"),
        b"MSH|^~\\&" + b"|" * 100_000 + b"\rORC|",
    ],
)
def test_hostile_messages_are_answered_and_others_taken(client: httpx.Client, case: str, hostile: bytes) -> None:
    with MLLPClient(*mllp(client)) as sender:
        assert sender.send_message(hostile).startswith(b"\x0bMSH|")
        body = (orc(filler=case), obr(filler=case), sac(f"{case}-A-1"))
        assert b"MSA|AA" in sender.send_message(oml(*body, control_id=case))


def command(service: RunningService, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["worklist", *arguments, "--data", str(service.data), "--json"])


def test_command_line_adds_lists_shows_cancels_and_imports(
    service: RunningService, client: httpx.Client, case: str, tmp_path: Path
) -> None:
    added = command(service, "add", "--patient-id", "P-3", "--accession", case, "--barcode", f"{case}-A-1")
    assert added.exit_code == 0, added.output
    uid = json.loads(added.stdout)["uid"]
    assert [each["uid"] for each in json.loads(command(service, "list", "--accession", case).stdout)] == [uid]
    assert json.loads(command(service, "show", uid).stdout)["entry"]["patient"]["id"] == "P-3"
    assert json.loads(command(service, "cancel", uid).stdout)["status"] == "cancelled"
    assert json.loads(command(service, "list", "--accession", case).stdout) == []

    lines = [slide(case, container={"identifier": f"{case}-B-{number}"}) for number in range(2)]
    (tmp_path / "slides.jsonl").write_text("\n".join(json.dumps(line) for line in [*lines, {"patient": {}}]))
    imported = command(service, "import", str(tmp_path / "slides.jsonl"))
    assert imported.exit_code == 1
    assert [each["ok"] for each in json.loads(imported.stdout)] == [True, True, False]
    (tmp_path / "order.hl7").write_bytes(oml(orc(placer="PL-8", filler=case), obr(), sac(f"{case}-C-1")))
    assert command(service, "import", str(tmp_path / "order.hl7")).exit_code == 0
    assert {each["entry"]["container"]["identifier"] for each in entries(client, accession_number=case)} == {
        *(f"{case}-{name}" for name in ("A-1", "B-0", "B-1", "C-1"))
    }
    assert isinstance(command(service, "show", "0" * 32).exception, NotFound)
