"""Queries and retrievals with Orthanc, which asks this node; instances go both ways."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset

from dicomsvc.config import PeerSettings, Permission
from dicomsvc.dimse import DimseServer, Peer, send_files
from dicomsvc.dimse.querying import find, move
from dicomsvc.service.dimse import SERVICES
from dicomsvc.store import Store
from tests.instances import part10, write_instances
from tests.integration.archive import make_archive
from tests.integration.orthanc import AE_TITLE, Orthanc, a_free_port, running_orthanc
from tests.unit.dimse.wire import data_set_of

pytestmark = pytest.mark.peer


@pytest.fixture
def port() -> int:
    return a_free_port()


@pytest.fixture
def orthanc(port: int) -> Iterator[Orthanc]:
    with running_orthanc({"us": ("DICOMSVC", port)}) as running:
        yield running


@pytest.fixture
def archive(store: Store, orthanc: Orthanc, port: int) -> Iterator[dict[str, bytes]]:
    """A node with an archive that Orthanc may ask; yields its data sets by SOP Instance UID."""
    made = {str(ds.SOPInstanceUID): data_set_of(part10(ds)) for ds in make_archive(store)}
    peer = PeerSettings(ae_title=AE_TITLE, host="127.0.0.1", port=orthanc.dicom_port, may=frozenset(Permission))
    dimse = store.settings.dimse.model_copy(update={"bind": f"127.0.0.1:{port}"})
    settings = store.settings.model_copy(update={"peers": {"orthanc": peer}, "dimse": dimse})
    with Store(settings) as opened:
        server = DimseServer(dimse, SERVICES, opened)
        server.start()
        yield made
        server.stop(2)


@pytest.mark.parametrize(
    ("level", "keys", "keyword", "values"),
    [
        ("Patient", {"PatientID": "P-*"}, "PatientID", ["P-1", "P-2", "P-3"]),
        ("Study", {"PatientName": "adams*"}, "StudyInstanceUID", ["1.2.3.1", "1.2.3.2"]),
        ("Series", {"StudyInstanceUID": "1.2.3.1"}, "SeriesInstanceUID", ["1.2.3.1.1", "1.2.3.1.2"]),
        ("Instance", {"SeriesInstanceUID": "1.2.3.3.1"}, "SOPInstanceUID", ["1.2.3.3.1.1", "1.2.3.3.1.2"]),
        ("Study", {"PatientID": "nobody"}, "StudyInstanceUID", []),
    ],
)
def test_orthanc_finds_at_every_level(
    archive: dict[str, bytes], orthanc: Orthanc, level: str, keys: dict[str, str], keyword: str, values: list[str]
) -> None:
    _, answers = orthanc.query("us", level, keys)
    assert sorted(answer[keyword] for answer in answers) == values


def test_orthanc_has_what_it_found_moved_to_itself(archive: dict[str, bytes], orthanc: Orthanc) -> None:
    query, answers = orthanc.query("us", "Study", {"StudyInstanceUID": "1.2.3.1"})
    assert len(answers) == 1
    orthanc.post(f"{query}/retrieve", {"TargetAet": AE_TITLE, "Synchronous": True})
    assert {uid: data_set_of(content) for uid, content in orthanc.files().items()} == {
        uid: content for uid, content in archive.items() if uid.startswith("1.2.3.1.")
    }


def test_instances_go_to_orthanc_and_come_back_the_same(
    archive: dict[str, bytes], orthanc: Orthanc, store: Store, tmp_path: Path
) -> None:
    sent = write_instances(tmp_path, 3)
    results = list(send_files(sorted(tmp_path.iterdir()), Peer("127.0.0.1", orthanc.dicom_port, AE_TITLE)))
    assert all(result.ok for result in results)
    orthanc.post("/modalities/us/store", {"Resources": orthanc.get("/instances"), "Synchronous": True})
    for uid, content in sent.items():
        path = store.instances.find_sop_instance(uid).path
        assert data_set_of(path.read_bytes()) == data_set_of(content)


def test_what_orthanc_has_is_found_and_moved_here(
    archive: dict[str, bytes], orthanc: Orthanc, store: Store, tmp_path: Path
) -> None:
    name = "Wang^XiaoDong=王^小东"
    sent = write_instances(tmp_path, 3, patient_name=name)
    peer = Peer("127.0.0.1", orthanc.dicom_port, AE_TITLE, "DICOMSVC")
    assert all(result.ok for result in send_files(sorted(tmp_path.iterdir()), peer))
    keys = Dataset()
    keys.SpecificCharacterSet, keys.QueryRetrieveLevel = "ISO_IR 192", "STUDY"
    keys.PatientName, keys.StudyInstanceUID = "Wang*", None
    [study] = find(peer, keys)
    assert study.PatientName == name
    wanted = Dataset()
    wanted.QueryRetrieveLevel, wanted.StudyInstanceUID = "STUDY", study.StudyInstanceUID
    moved = move(peer, wanted, "DICOMSVC")
    assert moved.ok
    assert moved.completed == 3
    for uid, content in sent.items():
        path = store.instances.find_sop_instance(uid).path
        assert data_set_of(path.read_bytes()) == data_set_of(content)
