"""The modality worklist asked by scanners: ``findscu -W`` and pynetdicom."""

import contextlib
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom import DataElement, Dataset, dcmread
from pydicom.datadict import dictionary_VR
from pynetdicom import AE

from dicomsvc.config import PeerSettings, Permission, Settings
from dicomsvc.dimse import DimseServer
from dicomsvc.dimse.channel import pdu_and_pdv_header
from dicomsvc.dimse.commands import AFFECTED_SOP_CLASS_UID, C_CANCEL_RQ, C_FIND_RQ, encode_request
from dicomsvc.dimse.data_set import encode_data_set
from dicomsvc.dimse.pdu import A_ASSOCIATE_AC, ProposedContext
from dicomsvc.pacs.worklist.arrivals import ArrivalUpkeep
from dicomsvc.pacs.worklist.entry import EntryContent, Status
from dicomsvc.pacs.worklist.find import MODALITY_WORKLIST_FIND
from dicomsvc.pacs.worklist.repository import Filter
from dicomsvc.pacs.worklist.service import Worklist
from dicomsvc.service.dimse import SERVICES
from dicomsvc.store import Store
from tests.conftest import require_program
from tests.instances import wsi_dataset
from tests.integration.archive import keep
from tests.unit.dimse.wire import COMMAND, EXPLICIT_LITTLE, LAST, associate_request, data_set, wire

HEMATOXYLIN = {"value": "12710003", "scheme": "SCT", "meaning": "hematoxylin stain"}
PROSTATE = {"value": "41216001", "scheme": "SCT", "meaning": "Prostate"}
SLIDE = {
    "patient": {"id": "P-1", "issuer": "HOSP", "name": "Wang^Xiaoming=王^小明", "birth_date": "1960-02-03", "sex": "M"},
    "accession_number": "S26-100",
    "placer_order_number": "PL-1",
    "procedure": {"description": "Prostate biopsy", "priority": "STAT"},
    "step": {"station_ae_titles": ["SCAN1", "SCAN2"], "start": "2026-03-05T10:30:00"},
    "container": {"identifier": "S26-100-A-1", "issuer": "LAB"},
    "specimens": [
        {
            "identifier": "S26-100-A",
            "anatomic_sites": [PROSTATE],
            "preparation": [{"staining": [HEMATOXYLIN]}],
        }
    ],
}


def content(**changes: Any) -> EntryContent:
    return EntryContent.model_validate({**SLIDE, **changes})


@pytest.fixture
def worklist(store: Store) -> Worklist:
    return Worklist(store, "rest")


@pytest.fixture
def server(settings: Settings, store: Store, worklist: Worklist) -> Iterator[DimseServer]:
    worklist.create(content(), "tests")
    worklist.create(
        content(
            patient={"id": "P-2", "name": "Müller^Anna"},
            accession_number="S26-200",
            container={"identifier": "S26-200-A-1"},
            specimens=[],
            step={"start": "2026-03-06T08:00:00", "station_ae_titles": ["SCAN2"]},
        ),
        "tests",
    )
    started = DimseServer(settings.dimse, SERVICES, store)
    started.start()
    yield started
    started.stop(2)


def ask(server: DimseServer, identifier: Dataset, ae_title: str = "SCAN1") -> tuple[list[Dataset], list[int]]:
    """Return the items and the statuses of a query."""
    ae = AE(ae_title=ae_title)
    ae.add_requested_context(MODALITY_WORKLIST_FIND)
    association = ae.associate("127.0.0.1", server.port)
    assert association.is_established
    items, statuses = [], []
    for status, item in association.send_c_find(identifier, MODALITY_WORKLIST_FIND):
        statuses.append(int(status.Status))
        if item is not None:
            items.append(item)
    association.release()
    return items, statuses


def keys(step: dict[str, Any] | None = None, **said: Any) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.AccessionNumber = ds.PatientID = ds.PatientName = ""
    inner = Dataset()
    for name, value in (step or {}).items():
        setattr(inner, name, value)
    ds.ScheduledProcedureStepSequence = [inner]
    for name, value in said.items():
        setattr(ds, name, value)
    return ds


def specimen_key(**said: str) -> list[Dataset]:
    item = Dataset()
    for name, value in said.items():
        setattr(item, name, value)
    return [item]


@pytest.mark.parametrize(
    "asked",
    [
        keys(ScheduledSpecimenSequence=specimen_key(ContainerIdentifier="S26-100-A-1")),
        keys(ContainerIdentifier="S26-100-A-1"),
        keys(ContainerIdentifier="S26-100-*"),
        keys(BarcodeValue="S26-100-A-1"),
        keys(SpecimenDescriptionSequence=specimen_key(SpecimenIdentifier="S26-100-A")),
        keys(AccessionNumber="S26-100"),
        keys(AccessionNumber="S26-1??"),
        keys(PatientID="P-1"),
        keys(PatientName="wang*"),
        keys(PatientName="王^小明"),
        keys(PlacerOrderNumberImagingServiceRequest="PL-1", PatientSex="M"),
        keys({"ScheduledStationAETitle": "SCAN1"}),
        keys({"ScheduledProcedureStepStartDate": "20260305"}),
        keys({"ScheduledProcedureStepStartDate": "-20260305"}),
        keys({"ScheduledProcedureStepStartDate": "20260305-20260306", "ScheduledProcedureStepStartTime": "1030-0759"}),
        keys({"Modality": "SM", "ScheduledStationAETitle": "SCAN1", "ScheduledProcedureStepStatus": "SCHEDULED"}),
    ],
)
def test_each_key_finds_the_one_entry_it_is_for(server: DimseServer, asked: Dataset) -> None:
    items, statuses = ask(server, asked)
    assert statuses[-1] == 0x0000
    assert [item.PatientID for item in items] == ["P-1"]
    assert set(statuses[:-1]) == {0xFF00}


@pytest.mark.parametrize(
    "asked",
    [
        keys(PatientID="P-3"),
        keys(AccessionNumber="S26-100", PatientID="P-2"),
        keys({"Modality": "CT"}),
        keys({"ScheduledProcedureStepStartDate": "20260307-"}),
        keys({"ScheduledProcedureStepStatus": "COMPLETED"}),
        keys(PatientID="' OR 1=1 --"),
        # From 5 March at 11 to 6 March at 7:59: a range of moments, not one of days and one of hours.
        keys({"ScheduledProcedureStepStartDate": "20260305-20260306", "ScheduledProcedureStepStartTime": "1100-0759"}),
    ],
)
def test_key_that_nothing_has_finds_nothing(server: DimseServer, asked: Dataset) -> None:
    assert ask(server, asked) == ([], [0x0000])


def test_universal_keys_find_all_and_what_is_unknown_comes_without_value(server: DimseServer) -> None:
    items, statuses = ask(server, keys({"Modality": ""}, MedicalAlerts="", PatientState=""))
    assert statuses == [0xFF00, 0xFF00, 0x0000]
    assert [str(item.PatientName) for item in items] == ["Wang^Xiaoming=王^小明", "Müller^Anna"]
    assert items[0].SpecificCharacterSet == "ISO_IR 192"
    assert items[0].PatientState is None or items[0].PatientState == ""
    assert "StudyInstanceUID" not in items[0]


def test_barcode_gives_patient_case_and_specimen(server: DimseServer) -> None:
    asked = keys(ScheduledSpecimenSequence=[], StudyInstanceUID="", RequestedProcedureID="", PatientBirthDate="")
    asked.ContainerIdentifier = "S26-100-A-1"
    asked.ScheduledProcedureStepSequence = []
    ((item,), _) = ask(server, asked)
    (step,) = item.ScheduledProcedureStepSequence
    assert (item.PatientBirthDate, item.AccessionNumber) == ("19600203", "S26-100")
    assert list(step.ScheduledStationAETitle) == ["SCAN1", "SCAN2"]
    assert (step.Modality, step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime) == (
        "SM",
        "20260305",
        "103000",
    )
    assert item.RequestedProcedureID and item.StudyInstanceUID and step.ScheduledProcedureStepID
    (slide,) = item.ScheduledSpecimenSequence
    assert slide.ContainerIdentifier == "S26-100-A-1"
    assert slide.IssuerOfTheContainerIdentifierSequence[0].LocalNamespaceEntityID == "LAB"
    (specimen,) = slide.SpecimenDescriptionSequence
    assert (specimen.SpecimenIdentifier, bool(specimen.SpecimenUID)) == ("S26-100-A", True)
    assert specimen.PrimaryAnatomicStructureSequence[0].CodeValue == "41216001"
    said = specimen.SpecimenPreparationSequence[0].SpecimenPreparationStepContentItemSequence
    assert HEMATOXYLIN["value"] in {each.ConceptCodeSequence[0].CodeValue for each in said if each.ValueType == "CODE"}


@pytest.mark.parametrize("charset", ["GB18030", "GBK", "ISO_IR 192"])
def test_name_is_found_in_the_character_set_of_the_query(server: DimseServer, charset: str) -> None:
    asked = keys(PatientName="王*")
    asked.SpecificCharacterSet = charset
    ((item,), _) = ask(server, asked)
    assert (item.SpecificCharacterSet, str(item.PatientName)) == ("ISO_IR 192", "Wang^Xiaoming=王^小明")


def test_slides_of_a_case_share_its_study(worklist: Worklist) -> None:
    first, _ = worklist.create(content(), "tests")
    second, _ = worklist.create(content(container={"identifier": "S26-100-A-2"}), "tests")
    other, _ = worklist.create(content(patient={"id": "P-9"}, container={"identifier": "S26-100-A-3"}), "tests")
    assert first.content.study_instance_uid == second.content.study_instance_uid
    assert first.content.study_instance_uid != other.content.study_instance_uid


def test_entry_that_goes_to_another_case_gets_its_study(worklist: Worklist) -> None:
    entry, _ = worklist.create(content(), "tests")
    other, _ = worklist.create(content(accession_number="S26-300"), "tests")
    moved = worklist.change(entry.uid, content(accession_number="S26-300", container={"identifier": "B"}), "tests")
    assert moved.content.study_instance_uid == other.content.study_instance_uid
    back = worklist.change(entry.uid, content(accession_number="S26-400"), "tests")
    assert back.content.study_instance_uid not in (other.content.study_instance_uid, None)


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.CANCELLED])
def test_finished_entries_are_not_found(server: DimseServer, worklist: Worklist, status: Status) -> None:
    entry, _ = worklist.create(content(), "tests")
    worklist.set_status(entry.uid, Status.STARTED, "tests")
    ((item,), _) = ask(server, keys({"ScheduledProcedureStepStatus": ""}, PatientID="P-1"))
    assert item.ScheduledProcedureStepSequence[0].ScheduledProcedureStepStatus == "STARTED"
    worklist.set_status(entry.uid, status, "tests")
    assert ask(server, keys(PatientID="P-1"))[0] == []


def test_unsupported_keys_are_told_by_the_pending_status(server: DimseServer) -> None:
    asked = keys(PatientID="P-1")
    asked.add_new(0x00091001, "LO", "x")
    items, statuses = ask(server, asked)
    assert (len(items), statuses) == (1, [0xFF01, 0x0000])


def test_two_items_in_a_sequence_key_are_refused(server: DimseServer) -> None:
    asked = keys()
    asked.ScheduledProcedureStepSequence = [Dataset(), Dataset()]
    assert ask(server, asked) == ([], [0xA900])


def test_peer_without_the_permission_is_refused(settings: Settings, store: Store) -> None:
    peers = {"scanner": PeerSettings(ae_title="SCAN1", may=frozenset({Permission.STORE}))}
    with Store(settings.model_copy(update={"peers": peers})) as limited:
        server = DimseServer(limited.settings.dimse, SERVICES, limited)
        server.start()
        assert ask(server, keys()) == ([], [0x0124])
        server.stop(2)


def test_long_list_is_read_page_by_page(server: DimseServer, worklist: Worklist) -> None:
    for number in range(250):
        worklist.create(content(container={"identifier": f"LONG-{number:03d}"}, specimens=[]), "tests")
    items, statuses = ask(server, keys(ContainerIdentifier="LONG-*"))
    assert [item.ContainerIdentifier for item in items] == [f"LONG-{number:03d}" for number in range(250)]
    assert statuses[-1] == 0x0000


def test_cancelled_query_ends_and_the_next_is_answered(server: DimseServer) -> None:
    query = encode_request(C_FIND_RQ, 5, {AFFECTED_SOP_CLASS_UID: MODALITY_WORKLIST_FIND})
    command = pdu_and_pdv_header(1, len(query), COMMAND | LAST) + query
    identifier = data_set(encode_data_set(keys(), EXPLICIT_LITTLE), 1)
    cancel = encode_request(C_CANCEL_RQ, 5, {0x0120: 5}, has_data_set=False)
    with wire(server.port) as peer:
        peer.send(associate_request(contexts=[ProposedContext(1, MODALITY_WORKLIST_FIND, (EXPLICIT_LITTLE,))]))
        assert peer.read_pdu()[0] == A_ASSOCIATE_AC
        peer.send(command + identifier + pdu_and_pdv_header(1, len(cancel), COMMAND | LAST) + cancel)
        assert peer.response().status == 0xFE00
        peer.send(command + identifier)
        assert peer.response().status == 0xFF00


@pytest.mark.peer
def test_findscu_asks_with_a_query_file(server: DimseServer, tmp_path: Path) -> None:
    dump = tmp_path / "query.dump"
    dump.write_text(
        "(0008,0005) CS [ISO_IR 192]\n(0008,0050) SH []\n(0010,0010) PN []\n(0010,0020) LO []\n(0020,000d) UI []\n"
        "(0040,0100) SQ\n(fffe,e000) na\n(0008,0060) CS [SM]\n(0040,0001) AE [SCAN1]\n(0040,0002) DA [20260301-]\n"
        "(fffe,e00d) na\n(fffe,e0dd) na\n(0040,0500) SQ\n(fffe,e000) na\n(0040,0512) LO [S26-100-A-1]\n"
        "(0040,0560) SQ\n(fffe,e0dd) na\n(fffe,e00d) na\n(fffe,e0dd) na\n"
    )
    subprocess.run([require_program("dump2dcm"), dump, tmp_path / "query.wl"], check=True, timeout=20)
    done = subprocess.run(
        [
            *(require_program("findscu"), "-v", "-W", "-X", "-od", tmp_path, "-aet", "SCAN1"),
            *("127.0.0.1", str(server.port), str(tmp_path / "query.wl")),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    (answer,) = tmp_path.glob("rsp*.dcm")
    item = dcmread(answer, force=True)
    assert (item.PatientID, str(item.PatientName)) == ("P-1", "Wang^Xiaoming=王^小明")
    specimen = item.ScheduledSpecimenSequence[0].SpecimenDescriptionSequence[0]
    assert specimen.SpecimenIdentifier == "S26-100-A"


def test_start_that_nobody_said_is_when_the_entry_was_made(worklist: Worklist) -> None:
    before = datetime.now().replace(microsecond=0)
    entry, _ = worklist.create(content(step={}), "tests")
    assert before <= entry.start <= datetime.now()


@pytest.mark.parametrize(
    ("changes", "completed"),
    [
        ({}, True),
        ({"ContainerIdentifier": "S26-100-A-2"}, False),
        ({"AccessionNumber": "S26-101"}, False),
        ({"PatientID": "P-2"}, False),
        ({"Modality": "SEG"}, False),
    ],
)
def test_slide_that_has_been_stored_leaves_the_worklist(
    store: Store, worklist: Worklist, changes: dict[str, str], completed: bool
) -> None:
    image = wsi_dataset(patient_id="P-1")
    image.AccessionNumber, image.ContainerIdentifier = "S26-100", "S26-100-A-1"
    keep(store, image)
    entry, _ = worklist.create(content(), "tests")
    upkeep = ArrivalUpkeep(store)
    assert upkeep.complete() == 0, "an image from before the order is another scan"
    again = wsi_dataset(patient_id="P-1")
    again.AccessionNumber, again.ContainerIdentifier = "S26-100", "S26-100-A-1"
    for keyword, value in changes.items():
        setattr(again, keyword, value)
    keep(store, again)
    assert upkeep.complete() == int(completed)
    assert worklist.get(entry.uid).status is (Status.COMPLETED if completed else Status.SCHEDULED)
    assert upkeep.complete() == 0


def test_most_results_of_the_settings_hold(settings: Settings, store: Store, worklist: Worklist) -> None:
    for number in range(3):
        worklist.create(content(container={"identifier": f"C-{number}"}, specimens=[]), "tests")
    limited = settings.model_copy(update={"dimse": settings.dimse.model_copy(update={"find_limit": 2})})
    with Store(limited) as bounded:
        server = DimseServer(limited.dimse, SERVICES, bounded)
        server.start()
        items, statuses = ask(server, keys())
        assert (len(items), statuses[-1]) == (2, 0xA700)
        assert ask(server, keys(ContainerIdentifier="C-[12]"))[1] == [0x0000]
        server.stop(2)


HOSTILE = (
    "'; DROP TABLE worklist_entry; --", "%s%(p0)s", "*" * 300, "?" * 399 + "*", "\\\\\\", "^=^=^", "(((((", "[a-", "-",
    "99999999", "0-0", "1e999", "\x1b$)C", "\x85\xa0\xff", "x" * 5000, "2.25." + "9" * 80, "*\\*", '""',
)  # fmt: skip


@pytest.mark.parametrize("value", HOSTILE)
def test_whatever_a_key_holds_is_answered(server: DimseServer, value: str) -> None:
    asked = Dataset()
    asked.SpecificCharacterSet = "ISO_IR 192"
    for keyword in (
        "AccessionNumber",
        "PatientID",
        "PatientName",
        "PatientBirthDate",
        "StudyInstanceUID",
        "PatientSex",
    ):
        step, specimen = Dataset(), Dataset()
        asked[keyword] = DataElement(keyword, dictionary_VR(keyword), value, validation_mode=0)
        tag = "ScheduledProcedureStepStartDate"
        step[tag] = DataElement(tag, "DA", value, validation_mode=0)
        specimen["ContainerIdentifier"] = DataElement("ContainerIdentifier", "LO", value, validation_mode=0)
        asked.ScheduledProcedureStepSequence, asked.ScheduledSpecimenSequence = [step], [specimen]
        _, statuses = ask(server, asked)
        assert statuses[-1] in (0x0000, 0xA900, 0xC000), keyword
        del asked[keyword]
    assert len(ask(server, keys(PatientID="P-1"))[0]) == 1


@pytest.fixture
def dcmtk(store: Store, worklist: Worklist, server: DimseServer, tmp_path: Path, free_port: int) -> Iterator[int]:
    """DCMTK's worklist server with our items in files; its port."""
    (tmp_path / "OURS").mkdir()
    (tmp_path / "OURS" / "lockfile").touch()
    _, entries = worklist.listed(Filter(), 10)
    for entry in entries:
        item = Dataset.from_json(worklist.item(entry.uid))
        item.SpecificCharacterSet = "ISO_IR 192"
        item.save_as(tmp_path / "OURS" / f"{entry.uid}.wl", implicit_vr=False, little_endian=True)
    command = [require_program("wlmscpfs"), "-dfp", str(tmp_path), "-csk", "--disable-file-reject", str(free_port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", free_port), timeout=1):
            break
        time.sleep(0.1)
    yield free_port
    process.terminate()
    process.wait(10)


@pytest.mark.peer
def test_dcmtk_finds_the_same_in_our_items(server: DimseServer, dcmtk: int) -> None:
    step = "ScheduledProcedureStepSequence[0]"
    queries = (
        *("PatientName=Wang*", "PatientName=*", "PatientID=P-2", "AccessionNumber=S26-100"),
        *(f"{step}.Modality=SM", f"{step}.Modality=CT", f"{step}.ScheduledStationAETitle=SCAN2"),
        *(f"{step}.ScheduledProcedureStepStartDate={said}" for said in ("20260306", "20260305-", "-20260305")),
        f"{step}.ScheduledProcedureStepStartTime=0900-1200",
    )
    found = {query: (patients(server.port, query), patients(dcmtk, query)) for query in queries}
    assert not {query: each for query, each in found.items() if each[0] != each[1]}
    assert {tuple(ours) for ours, _ in found.values()} == {("P-1",), ("P-2",), ("P-1", "P-2"), ()}


def patients(port: int, *asked: str) -> list[str]:
    """Return the patient IDs that findscu gets."""
    given = [part for key in ("SpecificCharacterSet=ISO_IR 192", "PatientID", *asked) for part in ("-k", key)]
    done = subprocess.run(
        [require_program("findscu"), "-v", "-W", "-aec", "OURS", *given, "127.0.0.1", str(port)],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    answers = (done.stdout + done.stderr).partition("Find Response")[2]
    return sorted(re.findall(r"\(0010,0020\) LO \[(\S+?) *\]", answers))
