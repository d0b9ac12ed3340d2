"""C-GET as SCU with archives that serve it: Orthanc, DCMTK's dcmqrscp, pynetdicom, this node itself."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
)

from dicomsvc.cli.context import open_store
from dicomsvc.config import DimseSettings, Settings
from dicomsvc.dimse import DimseServer, Peer, PeerFailure, echo, send_files
from dicomsvc.dimse.getting import get
from dicomsvc.dimse.holdings import sop_classes_of
from dicomsvc.dimse.proposals import SYNTAXES, USUAL_SOP_CLASSES
from dicomsvc.errors import NotFound
from dicomsvc.ingest.convert import ConversionOptions, FolderSink, convert_slide
from dicomsvc.ingest.dimse import store_instance
from dicomsvc.service.dimse import SERVICES
from dicomsvc.store import Store
from tests.certificates import Authority
from tests.conftest import RunningService, require_program
from tests.instances import VL_WHOLE_SLIDE, part10, wsi_dataset
from tests.integration.get_provider import identifier
from tests.integration.orthanc import AE_TITLE, Orthanc, a_free_port, running_orthanc
from tests.unit.dimse.wire import data_set_of

pytestmark = pytest.mark.peer

STUDY = "1.2.3.1"
LABELS, CAPTURES = f"{STUDY}.2", f"{STUDY}.3"
VOLUMES = f"{STUDY}.1"


def _in_syntax(ds: Dataset, syntax: UID) -> Dataset:
    """Return a slide with pixel data in another syntax: without compression, or as JPEG 2000 codestreams."""
    pixels = np.random.default_rng(7).integers(0, 255, (int(ds.NumberOfFrames), ds.Rows, ds.Columns, 3), np.uint8)
    ds.PhotometricInterpretation = "RGB"
    if syntax == JPEG2000Lossless:
        from imagecodecs import jpeg2k_encode

        ds.PhotometricInterpretation = "YBR_RCT"
        ds.PixelData = encapsulate([jpeg2k_encode(frame, level=0, codecformat="j2k") for frame in pixels])
    else:
        ds.PixelData = pixels.tobytes()
    ds.file_meta.TransferSyntaxUID = syntax
    return ds


def study() -> list[Dataset]:
    """Return a study: slides in JPEG, labels native and in JPEG 2000, secondary captures in Implicit VR."""
    made = [
        wsi_dataset(
            study_instance_uid=STUDY,
            series_instance_uid=series,
            sop_instance_uid=f"{series}.{number}",
            seed=number,
            instance_number=number,
            patient_id="P-1",
        )
        for series, count in ((VOLUMES, 3), (LABELS, 2), (CAPTURES, 1))
        for number in range(1, count + 1)
    ]
    _in_syntax(made[3], ExplicitVRLittleEndian)
    _in_syntax(made[4], JPEG2000Lossless)
    capture = _in_syntax(made[5], ImplicitVRLittleEndian)
    capture.SOPClassUID = capture.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    capture.Modality, capture.NumberOfFrames = "OT", 1
    capture.PixelData = capture.PixelData[: capture.Rows * capture.Columns * 3]
    for keyword in ("TotalPixelMatrixRows", "TotalPixelMatrixColumns", "NumberOfFrames"):
        del capture[keyword]
    return made


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """The files of a study, by SOP Instance UID."""
    (tmp_path / "study").mkdir()
    written = {}
    for ds in study():
        written[str(ds.SOPInstanceUID)] = path = tmp_path / "study" / f"{ds.SOPInstanceUID}.dcm"
        path.write_bytes(part10(ds))
    return written


def put(files: dict[str, Path], peer: Peer) -> None:
    results = list(send_files(list(files.values()), peer))
    assert all(result.ok for result in results), results


def held(store: Store, files: dict[str, Path], *, pixel_data_only: bool = False) -> set[str]:
    """Return which instances the store has, having compared each with its file, byte by byte."""
    found = set()
    for uid, path in files.items():
        try:
            record = store.instances.find_sop_instance(uid)
        except NotFound:
            continue
        if pixel_data_only:
            assert dcmread(record.path).PixelData == dcmread(path).PixelData, uid
        else:
            assert data_set_of(record.path.read_bytes()) == data_set_of(path.read_bytes()), uid
        found.add(uid)
    return found


LEVELS = pytest.mark.parametrize(
    ("uids", "prefix"),
    [((STUDY,), STUDY), ((STUDY, VOLUMES), VOLUMES), ((STUDY, LABELS, f"{LABELS}.1"), f"{LABELS}.1")],
    ids=["study", "series", "instance"],
)


@pytest.fixture(scope="module")
def orthanc() -> Iterator[Orthanc]:
    with running_orthanc({}) as running:
        yield running


@LEVELS
def test_orthanc_sends_study_series_and_instance_as_they_were_put_into_it(
    store: Store, orthanc: Orthanc, files: dict[str, Path], uids: tuple[str, ...], prefix: str
) -> None:
    peer = Peer("127.0.0.1", orthanc.dicom_port, AE_TITLE, "NOBODY")
    put(files, peer)
    told: list[tuple[int, int]] = []
    got = get(peer, identifier(*uids), store, store_instance, progress=lambda *done: told.append(done))
    expected = {uid for uid in files if uid.startswith(prefix)}
    assert held(store, files) == expected
    assert (got.ok, got.completed, got.warnings, got.failed) == (True, len(expected), 0, 0)
    assert told[-1] == (len(expected), len(expected))
    assert set(sop_classes_of(peer, identifier(STUDY))) == {VL_WHOLE_SLIDE, SecondaryCaptureImageStorage}


def test_a_study_that_orthanc_lacks_brings_nothing(store: Store, orthanc: Orthanc) -> None:
    got = get(Peer("127.0.0.1", orthanc.dicom_port, AE_TITLE), identifier("1.2.9"), store, store_instance)
    assert (got.completed, got.failed) == (0, 0)


def test_what_came_is_kept_as_brought_by_the_peer(store: Store, orthanc: Orthanc, files: dict[str, Path]) -> None:
    peer = Peer("127.0.0.1", orthanc.dicom_port, AE_TITLE)
    put(files, peer)
    get(peer, identifier(STUDY, CAPTURES), store, store_instance)
    with store.engine.connect() as connection:
        stored = connection.exec_driver_sql("SELECT kind, source, sender FROM change").all()
        told = connection.exec_driver_sql("SELECT who, address FROM audit WHERE sop_instance_uid IS NOT NULL").all()
    assert stored == [("stored", "dimse", AE_TITLE)]
    assert told == [(AE_TITLE, "127.0.0.1")]


@contextmanager
def running_dcmqrscp(folder: Path, *arguments: str) -> Iterator[Peer]:
    """Run DCMTK's archive on an empty folder."""
    program, port = require_program("dcmqrscp"), a_free_port()
    (folder / "QR").mkdir(parents=True)
    configuration = folder / "dcmqrscp.cfg"
    configuration.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 65536\nMaxAssociations = 8\n"
        "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nQR {folder}/QR RW (100, 1024mb) ANY\nAETable END\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "-d", "-c", str(configuration), *arguments], stdout=log, stderr=log)
    peer = Peer("127.0.0.1", port, "QR")
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                echo(peer)
                break
            except PeerFailure:
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
        yield peer
    finally:
        process.terminate()
        process.wait(10)


@LEVELS
def test_dcmqrscp_sends_what_was_put_into_it(
    store: Store, tmp_path: Path, files: dict[str, Path], uids: tuple[str, ...], prefix: str
) -> None:
    # It takes native images and one compressed syntax; an image's context it chooses by its class alone.
    files = {uid: path for uid, path in files.items() if dcmread(path).file_meta.TransferSyntaxUID != JPEG2000Lossless}
    with running_dcmqrscp(tmp_path / "qr", "+xy") as peer:
        put(files, peer)
        got = get(peer, identifier(*uids), store, store_instance)
        log = (tmp_path / "qr" / "log").read_text()
    # It writes Implicit VR as Explicit VR.
    assert held(store, files, pixel_data_only=True) == {uid for uid in files if uid.startswith(prefix)}, log
    assert (got.status, got.failed, got.ok) == (0, 0, True), log


class PynetdicomArchive:
    """A pynetdicom provider of C-GET and, with ``answers`` by level, of C-FIND."""

    def __init__(self, files: dict[str, Path], answers: Mapping[str, Sequence[Dataset]] | None = None) -> None:
        self._files = files
        self._answers = answers
        self.asked: list[str] = []

    def __enter__(self) -> "PynetdicomArchive":
        ae = AE("PYNETDICOM")
        ae.add_supported_context(StudyRootQueryRetrieveInformationModelGet)
        for sop_class in (VL_WHOLE_SLIDE, SecondaryCaptureImageStorage):
            ae.add_supported_context(sop_class, SYNTAXES, scu_role=False, scp_role=True)
        if self._answers is not None:
            ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        handlers = [(evt.EVT_C_GET, self._get), (evt.EVT_C_FIND, self._find)]
        self._server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.peer = Peer("127.0.0.1", self._server.server_address[1], "PYNETDICOM")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    def _get(self, event: Event) -> Iterator[int | tuple[int, Dataset | None]]:
        yield len(self._files)
        for path in self._files.values():
            yield 0xFF00, dcmread(path)

    def _find(self, event: Event) -> Iterator[tuple[int, Dataset | None]]:
        assert self._answers is not None
        level = event.identifier.QueryRetrieveLevel
        self.asked.append(level)
        for answer in self._answers.get(level, ()):
            yield 0xFF00, answer
        yield 0x0000, None


def found(**attributes: str) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def test_pynetdicom_that_answers_no_query_sends_what_is_proposed_anyway(store: Store, files: dict[str, Path]) -> None:
    with PynetdicomArchive(files) as archive:
        assert sop_classes_of(archive.peer, identifier(STUDY)) == USUAL_SOP_CLASSES
        got = get(archive.peer, identifier(STUDY), store, store_instance)
    assert (got.ok, got.completed) == (True, len(files))
    assert held(store, files) == set(files)


def test_an_archive_that_tells_no_classes_of_a_study_is_asked_for_those_of_its_instances(
    store: Store, files: dict[str, Path]
) -> None:
    answers = {
        "STUDY": [found(StudyInstanceUID=STUDY, SOPClassesInStudy="")],
        "SERIES": [found(SeriesInstanceUID=VOLUMES), found(SeriesInstanceUID=CAPTURES)],
        "IMAGE": [
            found(SOPClassUID=VL_WHOLE_SLIDE),
            found(SOPClassUID="nonsense"),
            found(SOPClassUID=SecondaryCaptureImageStorage),
            found(SOPClassUID="1.2.840.10008.1.1"),
            found(SOPClassUID=""),
            found(Modality="SM"),
        ],
    }
    keys = identifier(STUDY)
    with PynetdicomArchive(files, answers) as archive:
        assert sop_classes_of(archive.peer, keys) == (VL_WHOLE_SLIDE, SecondaryCaptureImageStorage)
        assert archive.asked == ["STUDY", "SERIES", "IMAGE", "IMAGE"]
        assert keys == identifier(STUDY)
        assert get(archive.peer, keys, store, store_instance).ok
    assert held(store, files) == set(files)


def command(data: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "dicomsvc", *arguments, "--data", str(data)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "DICOMSVC_STORE__DISK_RESERVE_MB": "0", **environment},
    )


def test_the_command_gets_a_study_by_tls_from_another_node_without_a_running_service(
    settings: Settings, store: Store, files: dict[str, Path], folder: Path, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    theirs, ours = authority.issue("archive"), authority.issue("node")
    tls = theirs.settings(bind="127.0.0.1:0", client_ca=authority.certificate, require_client_certificate=True)
    server = DimseServer(DimseSettings(bind="127.0.0.1:0", tls=tls), SERVICES, store)
    server.start()
    put(files, Peer("127.0.0.1", server.port))
    peers = {"archive": {"ae_title": "DICOMSVC", "host": "127.0.0.1", "port": server.tls_port, "tls": True}}
    own = {"certificate": str(ours.certificate), "key": str(ours.key), "ca": str(authority.certificate)}
    environment = {"DICOMSVC_PEERS": json.dumps(peers), "DICOMSVC_DIMSE__TLS": json.dumps(own)}
    other = folder / "other"
    done = command(other, "retrieve", "archive", STUDY, "--get", "--json", **environment)
    server.stop(2)
    assert done.returncode == 0, done.stderr
    expected = {"status": 0, "comment": "", "completed": len(files), "failed": 0, "warnings": 0, "ok": True}
    assert json.loads(done.stdout) == expected
    with open_store(other) as brought:
        assert held(brought, files) == set(files)


def test_the_command_gets_from_orthanc_into_the_store_of_a_running_service(
    service: RunningService, orthanc: Orthanc, files: dict[str, Path], free_port: int
) -> None:
    archive = f"127.0.0.1:{orthanc.dicom_port}"
    put(files, Peer("127.0.0.1", orthanc.dicom_port, AE_TITLE))
    done = command(service.data, "retrieve", archive, STUDY, VOLUMES, "--get", "--called", AE_TITLE)
    assert (done.returncode, done.stdout) == (0, "3 stored, 0 with warnings, 0 failed\n"), done.stderr
    query = f"{service.dicomweb}/studies/{STUDY}/instances"
    there = {each["00080018"]["Value"][0] for each in httpx.get(query, timeout=30).raise_for_status().json()}
    assert there == {uid for uid in files if uid.startswith(VOLUMES)}
    refused = command(service.data, "retrieve", archive, STUDY, "--get", "--to", "X")
    assert refused.returncode != 0
    assert "leave --to away" in refused.stderr
    gone = command(service.data, "retrieve", f"127.0.0.1:{free_port}", STUDY, "--get")
    assert gone.returncode != 0
    assert "cannot be reached" in gone.stderr


def test_a_converted_slide_comes_back_from_orthanc_byte_for_byte(
    store: Store, orthanc: Orthanc, cmu_small_region: Path, tmp_path: Path
) -> None:
    with FolderSink(tmp_path / "slide") as sink:
        instances = convert_slide(cmu_small_region, sink, ConversionOptions(metadata={}))
    files = {str(dcmread(each.path, stop_before_pixels=True).SOPInstanceUID): each.path for each in instances}
    [study] = {dcmread(path, stop_before_pixels=True).StudyInstanceUID for path in files.values()}
    assert len(files) > 2
    peer = Peer("127.0.0.1", orthanc.dicom_port, AE_TITLE)
    put(files, peer)
    got = get(peer, identifier(study), store, store_instance)
    assert (got.ok, got.completed) == (True, len(files))
    assert held(store, files) == set(files)


def test_a_damaged_instance_of_another_node_has_failed_and_the_others_come(
    service: RunningService, store: Store, files: dict[str, Path]
) -> None:
    peer = Peer("127.0.0.1", service.dimse_port, "DICOMSVC")
    put(files, peer)
    with open_store(service.data) as theirs:
        path = theirs.instances.find_sop_instance(f"{VOLUMES}.2").path
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)
    got = get(peer, identifier(STUDY), store, store_instance)
    assert (got.status, got.completed, got.failed, got.ok) == (0xB000, len(files) - 1, 1, False)
    assert held(store, files) == set(files) - {f"{VOLUMES}.2"}
