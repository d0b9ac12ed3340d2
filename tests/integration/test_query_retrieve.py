"""C-FIND, C-GET and C-MOVE with DCMTK as the other side."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import dcmread

from dicomsvc.config import PeerSettings, Permission, Settings
from dicomsvc.dimse import DimseServer
from dicomsvc.service.dimse import SERVICES
from dicomsvc.store import Store
from tests.conftest import require_program
from tests.instances import part10
from tests.integration.archive import Receiver, findscu, make_archive
from tests.unit.dimse.wire import data_set_of

Serve = Callable[..., DimseServer]


@pytest.fixture
def archive(store: Store) -> dict[str, bytes]:
    """Data sets of a small archive by SOP Instance UID."""
    return {str(ds.SOPInstanceUID): data_set_of(part10(ds)) for ds in make_archive(store)}


@pytest.fixture
def server(store: Store, archive: dict[str, bytes]) -> Iterator[DimseServer]:
    running = DimseServer(store.settings.dimse, SERVICES, store)
    running.start()
    yield running
    running.stop(2)


@pytest.mark.peer
@pytest.mark.parametrize(
    ("model", "keys", "keyword", "values"),
    [
        ("-P", ["QueryRetrieveLevel=PATIENT", "PatientID"], "PatientID", ["P-1", "P-2", "P-3"]),
        ("-P", ["QueryRetrieveLevel=STUDY", "PatientID=P-1"], "StudyInstanceUID", ["1.2.3.1", "1.2.3.2"]),
        (
            "-P",
            ["QueryRetrieveLevel=SERIES", "PatientID=P-1", "StudyInstanceUID=1.2.3.1"],
            "SeriesInstanceUID",
            ["1.2.3.1.1", "1.2.3.1.2"],
        ),
        (
            "-P",
            [
                *("QueryRetrieveLevel=IMAGE", "PatientID=P-1", "StudyInstanceUID=1.2.3.1"),
                *("SeriesInstanceUID=1.2.3.1.2", "InstanceNumber=2"),
            ],
            "SOPInstanceUID",
            ["1.2.3.1.2.2"],
        ),
        ("-S", ["QueryRetrieveLevel=STUDY", "PatientName=adams^*"], "StudyInstanceUID", ["1.2.3.1", "1.2.3.2"]),
        ("-S", ["QueryRetrieveLevel=STUDY", "StudyDate=20260102-20260103"], "StudyDate", ["20260102", "20260103"]),
        ("-S", ["QueryRetrieveLevel=STUDY", "AccessionNumber=A?"], "AccessionNumber", ["A1", "A2", "A3", "A4"]),
        ("-S", ["QueryRetrieveLevel=STUDY", "PatientName=Nobody"], "PatientName", []),
        ("-S", ["QueryRetrieveLevel=SERIES", "StudyInstanceUID=1.2.3.3"], "SeriesInstanceUID", ["1.2.3.3.1"]),
        (
            "-S",
            [r"QueryRetrieveLevel=SERIES", r"SeriesInstanceUID=1.2.3.1.2\1.2.3.4.1"],
            "SeriesInstanceUID",
            ["1.2.3.1.2", "1.2.3.4.1"],
        ),
        ("-S", ["QueryRetrieveLevel=IMAGE", "PatientID=P-2"], "SOPInstanceUID", ["1.2.3.3.1.1", "1.2.3.3.1.2"]),
    ],
)
def test_findscu_finds_at_every_level(
    server: DimseServer, tmp_path: Path, model: str, keys: list[str], keyword: str, values: list[str]
) -> None:
    answers = findscu(server.port, tmp_path, model, keys=[*keys, keyword] if f"{keyword}=" not in str(keys) else keys)
    assert answers.values(keyword) == values
    assert "Final Find Response (Success)" in answers.output


@pytest.mark.peer
def test_a_study_has_the_counts_and_what_every_response_has(server: DimseServer, tmp_path: Path) -> None:
    keys = ["NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "ModalitiesInStudy", "StudyDescription"]
    answers = findscu(server.port, tmp_path, "-S", keys=["QueryRetrieveLevel=STUDY", "StudyInstanceUID=1.2.3.1", *keys])
    [study] = answers.identifiers
    assert (study.NumberOfStudyRelatedSeries, study.NumberOfStudyRelatedInstances) == (2, 4)
    assert (study.ModalitiesInStudy, study.StudyDescription) == ("SM", "Slide 1")
    assert (study.RetrieveAETitle, study.InstanceAvailability) == ("DICOMSVC", "ONLINE")
    assert (study.QueryRetrieveLevel, study.SpecificCharacterSet) == ("STUDY", "ISO_IR 192")
    assert "PatientName" not in study
    assert "PatientID" not in study


@pytest.mark.peer
def test_a_patient_has_counts_over_all_studies(server: DimseServer, tmp_path: Path) -> None:
    keys = ["NumberOfPatientRelatedStudies", "NumberOfPatientRelatedSeries", "NumberOfPatientRelatedInstances"]
    answers = findscu(server.port, tmp_path, "-P", keys=["QueryRetrieveLevel=PATIENT", "PatientID=P-1", *keys])
    [patient] = answers.identifiers
    assert [int(patient[keyword].value) for keyword in keys] == [2, 3, 6]


@pytest.mark.peer
def test_a_key_of_a_lower_level_matches_and_is_said_to_be_unsupported(server: DimseServer, tmp_path: Path) -> None:
    answers = findscu(server.port, tmp_path, "-S", "-d", keys=["QueryRetrieveLevel=STUDY", "SeriesNumber=2"])
    assert answers.values("StudyInstanceUID") == ["1.2.3.1"]
    assert "0xff01" in answers.output.lower()


@pytest.mark.peer
def test_the_study_root_has_no_patients(server: DimseServer, tmp_path: Path) -> None:
    answers = findscu(server.port, tmp_path, "-S", "-d", keys=["QueryRetrieveLevel=PATIENT", "PatientID"])
    assert not answers.identifiers
    assert "0xa900" in answers.output.lower()


@pytest.mark.peer
def test_a_value_that_is_no_date_cannot_be_processed(server: DimseServer, tmp_path: Path) -> None:
    answers = findscu(server.port, tmp_path, "-S", "-d", keys=["QueryRetrieveLevel=STUDY", "StudyDate=tomorrow"])
    assert not answers.identifiers
    assert "0xc000" in answers.output.lower()


def getscu(port: int, folder: Path, *arguments: str, keys: list[str]) -> str:
    key_arguments = [part for key in keys for part in ("-k", key)]
    command = [require_program("getscu"), "-d", "+B", "-od", str(folder), *arguments, *key_arguments]
    done = subprocess.run(
        [*command, "127.0.0.1", str(port)], capture_output=True, timeout=60, check=False, text=True, errors="replace"
    )
    return done.stdout + done.stderr


def received(folder: Path) -> dict[str, bytes]:
    """Return data sets by SOP Instance UID."""
    files = [path for path in folder.iterdir() if path.is_file()]
    return {str(dcmread(path).SOPInstanceUID): data_set_of(path.read_bytes()) for path in files}


@pytest.mark.peer
@pytest.mark.parametrize(
    ("model", "keys", "prefix"),
    [
        ("-P", ["QueryRetrieveLevel=PATIENT", "PatientID=P-1"], ("1.2.3.1.", "1.2.3.2.")),
        ("-S", ["QueryRetrieveLevel=STUDY", "StudyInstanceUID=1.2.3.1"], ("1.2.3.1.",)),
        (
            "-S",
            ["QueryRetrieveLevel=SERIES", "StudyInstanceUID=1.2.3.1", "SeriesInstanceUID=1.2.3.1.2"],
            ("1.2.3.1.2",),
        ),
        (
            "-S",
            [r"QueryRetrieveLevel=IMAGE", r"SOPInstanceUID=1.2.3.3.1.1\1.2.3.4.1.2"],
            ("1.2.3.3.1.1", "1.2.3.4.1.2"),
        ),
    ],
)
def test_getscu_gets_what_is_stored_byte_for_byte(
    server: DimseServer, archive: dict[str, bytes], tmp_path: Path, model: str, keys: list[str], prefix: tuple[str, ...]
) -> None:
    output = getscu(server.port, tmp_path, model, "+xy", keys=keys)
    assert received(tmp_path) == {uid: content for uid, content in archive.items() if uid.startswith(prefix)}, output


@pytest.fixture
def destination(tmp_path: Path) -> Iterator[Receiver]:
    with Receiver(tmp_path / "received") as running:
        yield running


@pytest.fixture
def mover(store: Store, archive: dict[str, bytes], destination: Receiver) -> Iterator[DimseServer]:
    """A node that knows the receiver as a move destination, and another peer that is none."""
    yield from serving(store, destination=destination.port)


def serving(store: Store, **ports: int) -> Iterator[DimseServer]:
    may = {"destination": frozenset({Permission.MOVE_DESTINATION})}
    peers = {
        name: PeerSettings(ae_title=name.upper(), host="127.0.0.1", port=port, may=may.get(name, frozenset()))
        for name, port in {"other": 1, **ports}.items()
    }
    dimse = store.settings.dimse.model_copy(update={"accept_unknown": True})
    settings: Settings = store.settings.model_copy(update={"peers": peers, "dimse": dimse})
    with Store(settings) as opened:
        running = DimseServer(settings.dimse, SERVICES, opened)
        running.start()
        yield running
        running.stop(2)


def movescu(port: int, destination: str, *arguments: str, keys: list[str]) -> str:
    key_arguments = [part for key in keys for part in ("-k", key)]
    command = [require_program("movescu"), "-d", "-aem", destination, *arguments, *key_arguments]
    done = subprocess.run(
        [*command, "127.0.0.1", str(port)], capture_output=True, timeout=60, check=False, text=True, errors="replace"
    )
    return done.stdout + done.stderr


@pytest.mark.peer
def test_movescu_has_a_study_sent_to_storescp(
    mover: DimseServer, archive: dict[str, bytes], destination: Receiver
) -> None:
    output = movescu(mover.port, "DESTINATION", "-S", keys=["QueryRetrieveLevel=STUDY", "StudyInstanceUID=1.2.3.1"])
    assert received(destination.folder) == {
        uid: content for uid, content in archive.items() if uid.startswith("1.2.3.1.")
    }, output
    assert "0x0000: Success" in output
    assert "Completed Suboperations       : 4" in output


@pytest.mark.peer
def test_nothing_to_move_is_success(mover: DimseServer, destination: Receiver) -> None:
    output = movescu(mover.port, "DESTINATION", "-S", keys=["QueryRetrieveLevel=STUDY", "StudyInstanceUID=1.2.9"])
    assert "0x0000: Success" in output
    assert not received(destination.folder)


@pytest.mark.peer
@pytest.mark.parametrize("title", ["NOBODY", "OTHER"])
def test_a_destination_that_is_none_is_refused(mover: DimseServer, title: str) -> None:
    output = movescu(mover.port, title, "-S", keys=["QueryRetrieveLevel=STUDY", "StudyInstanceUID=1.2.3.1"])
    assert "0xa801" in output.lower()


@pytest.mark.peer
def test_a_destination_that_is_down_is_told_as_failed_suboperations(
    store: Store, archive: dict[str, bytes], free_port: int
) -> None:
    for mover in serving(store, destination=free_port):
        output = movescu(mover.port, "DESTINATION", "-S", keys=["QueryRetrieveLevel=STUDY", "StudyInstanceUID=1.2.3.1"])
        assert "0xa702" in output.lower()
        assert "Failed Suboperations          : 4" in output


def dicomsvc(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "dicomsvc", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_our_own_commands_query_and_retrieve(
    mover: DimseServer, archive: dict[str, bytes], destination: Receiver, tmp_path: Path
) -> None:
    peer = f"127.0.0.1:{mover.port}"
    found = dicomsvc("query", peer, "PatientName=王*", "--json", "--data", str(tmp_path))
    assert found.returncode == 0, found.stderr
    [study] = json.loads(found.stdout)
    assert study["0020000D"]["Value"] == ["1.2.3.4"]
    patients = dicomsvc("query", peer, "--level", "PATIENT", "--data", str(tmp_path))
    assert patients.stdout.splitlines()[-1] == "3 results"
    moved = dicomsvc("retrieve", peer, "1.2.3.4", "--to", "DESTINATION", "--data", str(tmp_path))
    assert moved.returncode == 0, moved.stderr
    assert moved.stdout.strip() == "2 stored, 0 with warnings, 0 failed"
    assert set(received(destination.folder)) == {"1.2.3.4.1.1", "1.2.3.4.1.2"}
    refused = dicomsvc("retrieve", peer, "1.2.3.4", "--to", "NOBODY", "--data", str(tmp_path))
    assert refused.returncode == 1
    assert "0xa801" in refused.stdout
