"""Reports in a running service: in over HTTP and MLLP, reviewed, searched, stored as DICOM SR, exported."""

import io
import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import RunningService, start_service
from tests.instances import part10, wsi_dataset
from tests.integration.written_reports import BREAST, BREAST_AMENDED, KIDNEY, KIDNEY_ZH

SECRET = "Quillfeather"


@pytest.fixture(scope="module")
def service() -> Iterator[RunningService]:
    """A running service that takes reports over MLLP too."""
    with tempfile.TemporaryDirectory(prefix="dicomsvc-service-") as name:
        Path(name).chmod(0o755)
        running = start_service(Path(name) / "data", arguments=("--mllp", "127.0.0.1:0"))
        yield running
        running.process.terminate()
        try:
            assert running.process.wait(40) == 0, running.log.read_text()
            assert SECRET not in running.log.read_text()
        finally:
            running.process.kill()


@pytest.fixture
def client(service: RunningService) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=60) as client:
        yield client


def post(client: httpx.Client, **said: Any) -> str:
    answer = client.post("/api/reports", json=said)
    assert answer.status_code in (200, 201), answer.text
    url: str = answer.json()["url"]
    return url


def until(look: Any, seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if seen := look():
            return seen
        time.sleep(0.2)
    raise AssertionError("it does not come about")


def store_slide(client: httpx.Client, accession_number: str) -> str:
    ds = wsi_dataset(patient_id="P-1")
    ds.AccessionNumber = accession_number
    boundary = "b"
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + part10(ds) + b"\r\n--b--\r\n"
    kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
    answer = client.post("/dicomweb/studies", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 200, answer.text
    return str(ds.StudyInstanceUID)


def test_a_report_comes_in_as_json_and_is_answered_with_its_values(client: httpx.Client) -> None:
    url = post(client, text=BREAST, id="J-1", accession_number="S-J")
    assert post(client, text=BREAST, id="J-1", accession_number="S-J") == url
    answer = client.get(url)
    report = answer.json()
    er = next(value for value in report["values"] if value["field"] == "er")
    assert (er["value"], er["review"], report["state"], report["held"]) == (
        "positive",
        "open",
        "structured",
        "no_study",
    )
    place = er["evidence"][0]
    assert report["text"][place["start"] : place["end"]] == er["raw"]
    assert answer.headers["Cache-Control"] == "no-store"
    first = client.get(f"{url}/versions/1").json()
    assert (first["text"], first["document"]["quality"]["structured"]) == (BREAST, True)


def test_a_report_comes_in_as_the_documents_that_systems_send(client: httpx.Client) -> None:
    fhir = {
        "resourceType": "DiagnosticReport",
        "status": "final",
        "code": {"text": "Pathology"},
        "identifier": [{"value": "FHIR-1"}],
        "conclusion": KIDNEY,
    }
    hl7 = (
        f"MSH|^~\\&|LIS|H|D|H|20260101||ORU^R01|M7|P|2.5.1\rPID|1||P-1\rOBR|1|PL|HL7-1|X\rOBX|1|FT|X||{KIDNEY}||||||F\r"
    )
    rtf = b"{\\rtf1\\ansi Kidney, right, nephrectomy: clear cell renal cell carcinoma.\\par}"
    for kind, content in (
        ("text/plain; charset=gb18030", KIDNEY_ZH.encode("gb18030")),
        ("application/rtf", rtf),
        ("application/fhir+json", json.dumps(fhir).encode()),
        ("application/hl7-v2", hl7.replace("\n", "\\.br\\").encode()),
    ):
        answer = client.post("/api/reports", content=content, headers={"Content-Type": kind})
        assert answer.status_code == 201, (kind, answer.text)
        report = client.get(answer.json()["url"]).json()
        assert report["state"] == "structured", kind
        assert "laterality" in {value["field"] for value in report["values"]}, kind


@pytest.mark.parametrize(
    ("kind", "content", "status"),
    [
        ("application/json", b'{"text": "Quillfeather', 400),
        ("application/json", b'["Quillfeather"]', 400),
        ("application/json", b'{"text": "Quillfeather", "status": "Quillfeather"}', 400),
        ("application/json", b'{"text": "  ", "patient_id": "Quillfeather"}', 400),
        ("text/plain", "Quillfeather é".encode("latin-1"), 400),
        ("application/pdf", b"%PDF-1.4 Quillfeather", 400),
        ("application/fhir+json", b'{"resourceType": "Patient", "id": "Quillfeather"}', 400),
        ("application/hl7-v2", b"Quillfeather", 409),
        ("image/png", b"Quillfeather", 415),
    ],
)
def test_wrong_input_is_refused_without_repeating_it(
    client: httpx.Client, kind: str, content: bytes, status: int
) -> None:
    answer = client.post("/api/reports", content=content, headers={"Content-Type": kind})
    assert answer.status_code == status, answer.text
    assert SECRET not in answer.text


def test_a_huge_text_is_answered_and_not_structured(client: httpx.Client) -> None:
    answer = client.post(
        "/api/reports?report_id=HUGE",
        content=b"carcinoma \x01 0.5 x " * 500_000,
        headers={"Content-Type": "text/plain"},
    )
    assert answer.status_code == 201
    report = client.get("/api/reports", params={"report_id": "HUGE"}).json()["reports"][0]
    assert (report["state"], bool(report["reason"])) == ("refused", True)
    too_large = client.post(
        "/api/reports/batch", content=b"{" * (101 << 20), headers={"Content-Type": "application/jsonl"}
    )
    assert too_large.status_code == 413


def test_a_batch_is_answered_line_by_line_and_structured_by_a_work_item(client: httpx.Client) -> None:
    lines = [json.dumps({"id": f"B-{number}", "text": BREAST, "accession_number": "S-B"}) for number in range(5)]
    content = "\n".join([*lines, "{", lines[0], '{"id": "B-9", "text": ""}'])
    answer = client.post("/api/reports/batch", content=content, headers={"Content-Type": "application/x-ndjson"})
    assert answer.status_code == 202
    batch = answer.json()
    assert (batch["accepted"], batch["duplicate"], batch["rejected"]) == (5, 1, 2)
    assert [line["line"] for line in batch["reports"] if line["answer"] == "rejected"] == [6, 8]
    until(lambda: client.get(batch["job_url"], params={"wait": 10}).json()["state"] == "COMPLETED")
    page = client.get("/api/reports", params={"accession_number": "S-B", "columns": "er"}).json()
    assert page["total"] == 5
    assert all(report["fields"]["er"][0]["value"] == "positive" for report in page["reports"])


def test_the_table_has_the_columns_filters_and_highlights_asked_for(client: httpx.Client) -> None:
    post(client, text=KIDNEY_ZH, id="T-1", accession_number="S-T")
    post(client, text=KIDNEY, id="T-2", accession_number="S-T")
    query = {"accession_number": "S-T", "columns": "tumor_size_mm,laterality", "field.tumor_size_mm": ">40"}
    page = client.get("/api/reports", params={**query, "sort": "field.tumor_size_mm"}).json()
    assert [report["fields"]["tumor_size_mm"][0]["value"] for report in page["reports"]] == [45, 75]
    [hit] = client.get("/api/reports", params={"q": "肾周脂肪", "accession_number": "S-T"}).json()["reports"]
    assert [piece["text"] for piece in hit["snippet"] if piece["match"]] == ["肾周脂肪"]
    for wrong in ({"columns": "nonsense"}, {"field.nonsense": "1"}, {"sort": "text"}, {"field.er": ">"}):
        assert client.get("/api/reports", params=wrong).status_code == 400
    names = {field["id"] for field in client.get("/api/reports/fields").json()}
    assert {"er", "tumor_size_mm"} <= names


def test_a_review_needs_the_state_that_the_person_saw(client: httpx.Client) -> None:
    url = post(client, text=BREAST, id="R-1")
    assert client.get(f"{url}/hl7").text.startswith("MSH|^~\\&|DICOMSVC")
    shown = client.get(url)
    number = next(value["number"] for value in shown.json()["values"] if value["field"] == "er")
    order = {"actions": [{"action": "correct", "number": number, "value": "negative", "comment": "see slide 3"}]}
    assert client.post(f"{url}/review", json=order).status_code == 400
    done = client.post(f"{url}/review", json=order, headers={"If-Match": shown.headers["ETag"]})
    assert done.status_code == 200
    assert client.post(f"{url}/review", json=order, headers={"If-Match": shown.headers["ETag"]}).status_code == 412
    sign = {"actions": [{"action": "accept_all"}, {"action": "sign", "person_name": "Doe^J", "organisation": "H"}]}
    signed = client.post(f"{url}/review", json=sign, headers={"If-Match": done.headers["ETag"]}).json()
    er = next(value for value in signed["values"] if value["field"] == "er")
    assert (signed["review"], signed["signed_name"], er["value"], er["found"]["value"]) == (
        *("signed", "Doe^J"),
        *("negative", "positive"),
    )
    assert [entry["action"] for entry in signed["reviews"]][:: len(signed["reviews"]) - 1] == ["correct", "sign"]
    again = client.post(f"{url}/review", json=order, headers={"If-Match": "*"})
    assert again.status_code == 409
    lines = client.get("/api/reports/export", params={"format": "corrections", "report_id": "R-1"}).text.splitlines()
    [training] = [json.loads(line) for line in lines]
    assert training["text"] == BREAST
    correction = training["corrections"][0]
    assert (correction["old"]["value"], correction["new"]["value"], correction["who"]) == (
        *("positive", "negative"),
        "local",
    )


def test_a_held_report_is_matched_when_its_slide_comes_and_stored_as_dicom_sr(client: httpx.Client) -> None:
    url = post(client, text=KIDNEY_ZH, id="SR-1", accession_number="S-SR", patient_id="P-1")
    assert client.post(f"{url}/sr").status_code == 409
    assert url in [each["url"] for each in client.get("/api/reports", params={"held": True}).json()["reports"]]
    study = store_slide(client, "S-SR")
    until(lambda: client.get(url).json()["study_instance_uid"] == study)
    made = client.post(f"{url}/sr")
    assert made.status_code == 201, made.text
    assert client.post(f"{url}/sr").json()["sop_instance_uid"] == made.json()["sop_instance_uid"]
    found = client.get(f"/dicomweb/studies/{study}/series", params={"Modality": "SR"}).json()
    assert [each["0020000E"]["Value"][0] for each in found] == [made.json()["series_instance_uid"]]
    assert [each["sop_instance_uid"] for each in client.get(url).json()["objects"]] == [made.json()["sop_instance_uid"]]
    # What was written here does not come round again.
    assert client.post(f"/api/reports/of-instance/{made.json()['sop_instance_uid']}").status_code == 409


def test_a_person_matches_a_report_with_a_study(client: httpx.Client) -> None:
    study = store_slide(client, "S-HAND")
    url = post(client, text=BREAST, id="H-1", patient_id="P-1")
    assert client.post(f"{url}/match", json={"study_instance_uid": "1.2.3"}).status_code == 404
    matched = client.post(f"{url}/match", json={"study_instance_uid": study}).json()
    assert (matched["study_instance_uid"], matched["linked_by"]) == (study, "person")
    assert client.post(f"{url}/match", json={"study_instance_uid": None}).json()["held"] == "no_accession_number"


def test_a_cohort_is_exported_in_all_formats(client: httpx.Client) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    for number, text in enumerate((BREAST, KIDNEY_ZH)):
        post(client, text=text, id=f"E-{number}", accession_number="S-E")

    def export(**asked: str) -> httpx.Response:
        answer = client.get("/api/reports/export", params={"accession_number": "S-E", "sort": "report_id", **asked})
        assert answer.status_code == 200, answer.text
        return answer

    csv = export(columns="er,tumor_size_mm").text.splitlines()
    assert [line.split(",")[0] for line in csv] == ["report_id", "E-0", "E-1"]
    assert csv[1].endswith("positive,stated,23,stated")
    wide = pq.read_table(io.BytesIO(export(format="parquet", columns="tumor_size_mm").content))
    assert wide.column("tumor_size_mm").to_pylist() == [23, 45]
    long = pq.read_table(io.BytesIO(export(format="parquet", shape="long").content)).to_pylist()
    assert {row["report_id"] for row in long} == {"E-0", "E-1"}
    bundles = [json.loads(line) for line in export(format="fhir").text.splitlines()]
    assert [bundle["resourceType"] for bundle in bundles] == ["Bundle", "Bundle"]
    masters = [json.loads(line) for line in export(format="jsonl").text.splitlines()]
    assert [master["text"] for master in masters] == [BREAST, KIDNEY_ZH]
    assert export(format="corrections").text == ""
    assert len(export(**{"field.er": "positive"}).text.splitlines()) == 2


def oru(control_id: str, text: str, *, status: str = "F", filler: str = "MLLP-1") -> bytes:
    lines = text.rstrip("\n").replace("\n", "\\.br\\")
    message = (
        f"MSH|^~\\&|LIS|LAB|DICOMSVC|H|20260101||ORU^R01|{control_id}|P|2.5.1|||||||UNICODE UTF-8\r"
        f"PID|1||P-1^^^H||{SECRET}^Ada\rOBR|1|PL-1|{filler}|22634-0^Path^LN||||||||||||||S-M|||||||{status}\r"
        f"OBX|1|FT|22634-0^Path^LN||{lines}||||||{status}\r"
    )
    return b"\x0b" + message.encode() + b"\x1c\r"


def mllp_address(client: httpx.Client) -> tuple[str, int]:
    processes = client.get("/api/status").json()["processes"]
    address = next(process["address"] for process in processes if process["role"] == "hl7")
    host, port = address.split(":")
    return host, int(port)


def sent(address: tuple[str, int], *messages: bytes) -> list[str]:
    answers = []
    with socket.create_connection(address, timeout=30) as connection:
        for message in messages:
            connection.sendall(message)
            answer = b""
            while not answer.endswith(b"\x1c\r"):
                answer += connection.recv(4096)
            match = re.search(rb"MSA\|(\w\w)", answer)
            assert match is not None
            answers.append(match[1].decode())
    return answers


def test_reports_come_over_mllp_are_amended_and_cancelled(client: httpx.Client) -> None:
    address = mllp_address(client)
    assert sent(address, oru("M1", BREAST), oru("M1", BREAST)) == ["AA", "AA"]

    def state(name: str = "state", **asked: str) -> Any:
        page = client.get("/api/reports", params={"source": "hl7", "report_id": "MLLP-1", **asked}).json()
        return page["reports"][0][name] if page["total"] == 1 else None

    until(lambda: state() == "structured")
    assert state("version") == 1
    assert sent(address, oru("M2", BREAST_AMENDED, status="C")) == ["AA"]
    until(lambda: (state(), state("version"), state("status")) == ("structured", 2, "corrected"))
    assert sent(address, oru("M3", "", status="X")) == ["AA"]
    assert state() is None
    assert state(status="cancelled") == "withdrawn"
    assert sent(address, b"\x0bgarbage\x1c\r") == ["AR"]


def test_what_people_saw_and_did_is_audited_without_any_text(client: httpx.Client, service: RunningService) -> None:
    url = post(client, text=f"{BREAST}\n{SECRET}", id="A-1")
    client.get(url)
    client.get("/api/reports", params={"q": SECRET})
    command = [sys.executable, "-m", "dicomsvc", "reports", "list", "--words", SECRET, "--data", str(service.data)]
    listed = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(listed.stdout)["total"] == 1
    metrics = client.get("/metrics").text
    assert 'dicomsvc_reports{what="state_structured"}' in metrics
    assert SECRET not in metrics
    assert SECRET not in service.log.read_text()


@pytest.mark.slow
def test_an_acknowledged_report_survives_a_kill(client: httpx.Client) -> None:
    with tempfile.TemporaryDirectory(prefix="dicomsvc-service-") as name:
        Path(name).chmod(0o755)
        first = start_service(Path(name) / "data", arguments=("--mllp", "127.0.0.1:0"))
        with httpx.Client(base_url=first.url, timeout=60) as killed:
            address = mllp_address(killed)
        assert sent(address, oru("K1", BREAST, filler="K-1")) == ["AA"]
        first.process.send_signal(signal.SIGKILL)
        first.process.wait(20)
        command = [sys.executable, "-m", "dicomsvc", "reports", "list", "--data", str(first.data), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        assert [report["report_id"] for report in json.loads(done.stdout)["reports"]] == ["K-1"]


def test_files_of_all_kinds_are_imported_by_command(service: RunningService, tmp_path: Path) -> None:
    (tmp_path / "c1.txt").write_bytes(KIDNEY_ZH.encode("gb18030"))
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "c1.txt").write_text(BREAST, encoding="utf-8")
    (tmp_path / "two.jsonl").write_text(json.dumps({"id": "C-2", "text": BREAST}) + "\n{\n", encoding="utf-8")
    (tmp_path / "three.hl7").write_bytes(oru("C3", KIDNEY, filler="C-3")[1:-2])
    base = [sys.executable, "-m", "dicomsvc", "reports"]
    where = ["--data", str(service.data)]
    done = subprocess.run(
        [*base, "import", str(tmp_path), "--sender", "files", "--json", *where],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    result = json.loads(done.stdout)
    assert (result["accepted"], result["rejected"]) == (4, 1)
    assert result["problems"][0]["file"].endswith("two.jsonl:2")
    out = tmp_path / "out.csv"
    export = [*base, "export", "--out", str(out), "--columns", "laterality", "--where", "laterality=left", *where]
    assert subprocess.run(export, capture_output=True, timeout=120, check=False).returncode == 0
    assert {"c1", "deeper/c1", "C-2"} <= {line.split(",")[0] for line in out.read_text(encoding="utf-8").splitlines()}
