"""Names, identifiers and accession numbers planted in whatever a node reads: none is in a log, a metric or an error."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydicom import Dataset
from pynetdicom import AE

from dicomsvc.dimse import Peer, send_files
from tests.conftest import REPOSITORY, RunningService
from tests.faults.node import c_store, eventually, running, stow
from tests.instances import part10, wsi_dataset

NAME, PATIENT_ID, ACCESSION = "Quillfeather^Ottoline", "PID-77310-XQ", "ACC-55102-ZV"
MARKERS = ("quillfeather", "ottoline", "pid-77310", "acc-55102", "羽毛笔")
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
PATIENT_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
WORKLIST_FIND = "1.2.840.10008.5.1.4.31"
JSON = "application/dicom+json"


@pytest.fixture(scope="module", params=[pytest.param("INFO", marks=pytest.mark.slow), "DEBUG"])
def talkative(request: pytest.FixtureRequest) -> Iterator[RunningService]:
    """A node whose roles all log at a level, MLLP included."""
    environment = {"DICOMSVC_LOG_LEVEL": request.param}
    with running(environment=environment, arguments=("--mllp", "127.0.0.1:0")) as service:
        yield service


def marked(**changes: str) -> Dataset:
    ds = wsi_dataset(patient_name=f"{NAME}=羽毛笔^奥", patient_id=PATIENT_ID)
    ds.AccessionNumber = ACCESSION
    ds.ReferringPhysicianName = NAME
    ds.StudyDescription = f"Resection {NAME}"
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


def faulty_instances() -> Iterator[bytes]:
    """Return instances with faults in, before and behind the values that are marked."""
    content = part10(marked())
    at = content.index(NAME.encode())
    yield content
    yield content[: at + 4]
    yield content[:at] + b"\xff" * 3 + content[at + 3 :]
    yield content[: at - 2] + b"\xff\xff" + content[at:]
    yield content[:-20]
    yield part10(marked(StudyDate=NAME, PatientBirthDate=PATIENT_ID, StudyTime=ACCESSION))
    broken = marked()
    broken.add_new(0x00200013, "LO", f"{NAME} {PATIENT_ID}")
    broken.add_new(0x00280008, "LO", ACCESSION)
    yield part10(broken)
    for uid in ("StudyInstanceUID", "SOPInstanceUID"):
        ds = marked()
        original = str(ds[uid].value)
        yield part10(ds).replace(original.encode(), PATIENT_ID.ljust(len(original)).encode())


def store_marked(service: RunningService) -> None:
    for content in faulty_instances():
        answer = stow(service, content)
        assert_clean("STOW-RS", answer.text)
        c_store(service, content)
    ds = marked()
    assert stow(service, part10(ds)).status_code == 200
    ds.PatientID = f"{PATIENT_ID}-2"
    assert stow(service, part10(ds)).status_code == 409


def search_marked(service: RunningService) -> None:
    queries = (
        {"PatientName": NAME},
        {"PatientName": NAME, "fuzzymatching": "maybe"},
        {"PatientID": PATIENT_ID, "includefield": "nothing"},
        {"AccessionNumber": ACCESSION, "limit": NAME},
        {"StudyDate": PATIENT_ID},
        {"00100010": "\0" + NAME},
    )
    for level in ("studies", "series", "instances"):
        for query in queries:
            answer = httpx.get(f"{service.dicomweb}/{level}", params=query, timeout=30)
            if answer.status_code >= 400:
                assert_clean(f"QIDO-RS {query}", answer.text)
        # A key that is no attribute is named in the answer, to whoever wrote it; the log has nothing of it.
        assert httpx.get(f"{service.dicomweb}/{level}", params={NAME: PATIENT_ID}, timeout=30).status_code == 400
    for path in ("/dicomweb/studies", "/api/jobs", "/api/reports", "/api/peers", ""):
        for name in (PATIENT_ID, NAME):
            httpx.get(f"{service.url}{path}/{name}", timeout=30)


def post_marked(service: RunningService) -> None:
    plain = "application/json"
    name = {"vr": "PN", "Value": [{"Alphabetic": NAME}]}
    bodies: tuple[tuple[str, str, object], ...] = (
        ("/dicomweb/workitems", JSON, [{"00100010": {"vr": "PN", "Value": [NAME]}}]),
        ("/dicomweb/workitems", JSON, [{"00100010": name}]),
        ("/dicomweb/workitems", JSON, [{NAME: PATIENT_ID}]),
        ("/dicomweb/studies", JSON, [{"00100020": {"vr": "LO", "Value": [PATIENT_ID]}}]),
        ("/api/reports", plain, {"text": f"{NAME} {PATIENT_ID}", "patient_id": [PATIENT_ID]}),
        ("/api/reports", plain, {"text": NAME, "accession_number": ACCESSION}),
        ("/api/analyses", plain, {"study_instance_uid": PATIENT_ID, "model": NAME}),
        ("/api/worklist", plain, {"patient_name": NAME, "patient_id": {"a": PATIENT_ID}}),
        ("/api/peers", plain, {"name": NAME, "ae_title": PATIENT_ID}),
    )
    for path, kind, body in bodies:
        content = json.dumps(body)
        for sent in (content, content[:-3]):
            httpx.post(f"{service.url}{path}", content=sent, headers={"Content-Type": kind}, timeout=30)


def identifier(level: str = "STUDY", **keys: str) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(ds, keyword, value)
    return ds


def query_marked(service: RunningService) -> None:
    """Ask by C-FIND, C-MOVE, C-GET and for the worklist, rightly and wrongly."""
    application = AE(ae_title="MARKED")
    for syntax in (STUDY_ROOT_FIND, PATIENT_ROOT_FIND, STUDY_ROOT_MOVE, STUDY_ROOT_GET, WORKLIST_FIND):
        application.add_requested_context(syntax)
    association = application.associate("127.0.0.1", service.dimse_port)
    assert association.is_established
    asked = 0
    for syntax in (STUDY_ROOT_FIND, PATIENT_ROOT_FIND, WORKLIST_FIND):
        for query in (
            identifier(PatientName=NAME, PatientID=PATIENT_ID, StudyInstanceUID=""),
            identifier("PATIENT", PatientName=f"{NAME}*", AccessionNumber=ACCESSION),
            identifier(NAME, StudyDate=PATIENT_ID),
            identifier("INSTANCE", StudyInstanceUID=PATIENT_ID),
        ):
            asked += len(list(association.send_c_find(query, syntax)))
    for query in (identifier(PatientID=PATIENT_ID), identifier(StudyInstanceUID=PATIENT_ID, PatientName=NAME)):
        asked += len(list(association.send_c_move(query, "ELSEWHERE", STUDY_ROOT_MOVE)))
        asked += len(list(association.send_c_get(query, STUDY_ROOT_GET)))
    association.release()
    assert asked, "nothing was answered"


def send_hl7(service: RunningService) -> None:
    heartbeat = httpx.get(f"{service.url}/api/status", timeout=30).json()
    [address] = [each["address"] for each in heartbeat["processes"] if each["role"] == "hl7"]
    host, _, port = address.rpartition(":")
    head = "MSH|^~\\&|LIS|LAB|DICOMSVC|X|20260102101112||{kind}|{control}|P|2.5.1\r"
    patient = f"PID|1||{PATIENT_ID}^^^LAB||{NAME}||19700101|F\r"
    order = f"ORC|NW|{ACCESSION}\rOBR|1|{ACCESSION}||{NAME}\rSPM|1|{PATIENT_ID}\r"
    messages = (
        head.format(kind="ORU^R01", control="1") + patient + f"OBR|1||{ACCESSION}|22637-3\rOBX|1|TX|22637-3||{NAME}\r",
        head.format(kind="ORU^R01", control="2") + patient + f"OBX|1|ED|x||{NAME}^{PATIENT_ID}\r",
        head.format(kind="OML^O21", control="3") + patient + order,
        head.format(kind="ORM^O01", control="4") + patient + f"ORC|{NAME}|{ACCESSION}\r",
        head.format(kind=NAME, control=PATIENT_ID) + patient,
        patient,
        NAME,
    )
    with socket.create_connection((host, int(port)), 30) as link:
        for message in messages:
            link.sendall(b"\x0b" + message.encode() + b"\x1c\r")
            received = b""
            while not received.endswith(b"\x1c\r") and (piece := link.recv(4096)):
                received += piece


def import_marked(service: RunningService, folder: Path) -> None:
    """Import files that are named after a patient too."""
    whole = folder / f"{NAME}-{PATIENT_ID}.dcm"
    whole.write_bytes(part10(marked()))
    cut = folder / f"{ACCESSION}.dcm"
    cut.write_bytes(part10(marked())[:600])
    slide = folder / f"{NAME}.svs"
    slide.write_bytes(b"II*\0" + bytes(400))
    for path in (whole, cut, slide):
        command = [sys.executable, "-m", "dicomsvc", "import", str(path), "--data", str(service.data)]
        subprocess.run(command, capture_output=True, timeout=120, check=False, cwd=REPOSITORY)
    list(send_files([whole, cut], Peer("127.0.0.1", service.dimse_port, calling_ae_title="MARKED")))


def assert_clean(what: str, text: str) -> None:
    found = [marker for marker in MARKERS if marker in text.lower()]
    lines = [line for line in text.splitlines() if any(marker in line.lower() for marker in found)]
    assert not found, f"{what}: {found} in {lines[:3]}"


def test_no_marker_of_a_patient_is_in_a_log_or_a_metric(talkative: RunningService, tmp_path: Path) -> None:
    store_marked(talkative)
    search_marked(talkative)
    post_marked(talkative)
    query_marked(talkative)
    send_hl7(talkative)
    import_marked(talkative, tmp_path)
    assert_clean("metrics", httpx.get(f"{talkative.url}/metrics", timeout=30).text)
    assert_clean("status", httpx.get(f"{talkative.url}/api/status", timeout=30).text)
    assert eventually(lambda: "C-STORE refused" in talkative.log.read_text()), "nothing was logged at all"
    assert_clean("the logs of all roles", talkative.log.read_text())
