"""C-STORE and C-ECHO with real peers: DCMTK, pynetdicom, and our own sender."""

import logging
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, generate_uid
from pynetdicom import AE, build_context

from dicomsvc.config import DimseSettings, Settings
from dicomsvc.dimse import DimseServer, Peer, PeerFailure, echo, send_files
from dicomsvc.errors import NotFound
from dicomsvc.service.dimse import SERVICES
from dicomsvc.store import Store
from tests.conftest import require_program
from tests.instances import VL_WHOLE_SLIDE, part10, write_instances, wsi_dataset
from tests.unit.dimse.wire import data_set, data_set_of, store_request, wire

LABEL_MAP_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.7"
Serve = Callable[..., DimseServer]


@pytest.fixture
def serve(settings: Settings, store: Store) -> Iterator[Serve]:
    started: list[DimseServer] = []

    def start(**changes: object) -> DimseServer:
        server = DimseServer(DimseSettings(**{"bind": "127.0.0.1:0", **changes}), SERVICES, store)
        server.start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop(2)


def storescu(port: int, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [require_program("storescu"), "-v", "-R", "-xy", *arguments[:-1], "127.0.0.1", str(port), arguments[-1]],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def stored_data_set(store: Store, sop_instance_uid: str) -> bytes:
    return data_set_of(store.instances.find_sop_instance(sop_instance_uid).path.read_bytes())


def store_by_hand(server: DimseServer, content: bytes, sop_instance_uid: str) -> int:
    with wire(server.port) as peer:
        peer.associate()
        peer.send(store_request(sop_instance_uid) + data_set(content))
        status = peer.response().status
        assert status is not None
        return status


@pytest.mark.peer
def test_what_storescu_sends_is_kept_byte_for_byte(serve: Serve, store: Store, tmp_path: Path) -> None:
    sent = write_instances(tmp_path / "in", 5)
    server = serve()
    result = storescu(server.port, "+sd", str(tmp_path / "in"))
    assert result.returncode == 0, result.stderr
    for uid, content in sent.items():
        assert stored_data_set(store, uid) == data_set_of(content)
    counts = server.counts()
    assert counts.stored == 5
    assert not counts.failed


@pytest.mark.peer
def test_echoscu_is_answered(serve: Serve) -> None:
    result = subprocess.run([require_program("echoscu"), "127.0.0.1", str(serve().port)], check=False, timeout=10)
    assert result.returncode == 0


@pytest.mark.peer
def test_our_sender_delivers_to_storescp(tmp_path: Path) -> None:
    sent = write_instances(tmp_path / "in", 3)
    (tmp_path / "out").mkdir()
    with DcmtkReceiver(tmp_path / "out") as port:
        results = list(send_files(sorted((tmp_path / "in").iterdir()), Peer("127.0.0.1", port)))
    assert [result.ok for result in results] == [True] * 3
    received = {data_set_of(path.read_bytes()) for path in (tmp_path / "out").iterdir()}
    assert received == {data_set_of(content) for content in sent.values()}


class DcmtkReceiver:
    """A running `storescp` that writes to a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> int:
        import socket

        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        command = [require_program("storescp"), "+B", "+xa", "-od", str(self._folder), str(port)]
        self._process = subprocess.Popen(command)
        deadline = time.monotonic() + 10
        while True:
            try:
                echo(Peer("127.0.0.1", port))
                return port
            except PeerFailure:
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)


def test_our_sender_reports_progress_and_each_file(serve: Serve, store: Store, tmp_path: Path) -> None:
    sent = write_instances(tmp_path, 3)
    (tmp_path / "no.dcm").write_bytes(b"no DICOM")
    done: dict[Path, int] = {}

    def progress(path: Path, count: int) -> None:
        done[path] = done.get(path, 0) + count

    paths = [*sorted(tmp_path.iterdir()), tmp_path / "missing.dcm"]
    results = {
        result.path.name: result for result in send_files(paths, Peer("127.0.0.1", serve().port), progress=progress)
    }
    assert [name for name, result in sorted(results.items()) if result.ok] == ["00000.dcm", "00001.dcm", "00002.dcm"]
    assert not results["no.dcm"].ok and "no DICOM file" in results["no.dcm"].message
    assert not results["missing.dcm"].ok
    for path, count in done.items():
        assert count == len(data_set_of(path.read_bytes()))
    assert all(store.instances.find_sop_instance(uid) for uid in sent)


def test_our_sender_uses_several_associations_for_more_than_128_contexts(
    serve: Serve, store: Store, tmp_path: Path
) -> None:
    for number in range(130):
        ds = wsi_dataset(frames=1, tile=16)
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = f"1.2.826.0.1.3680043.10.1.{number}"  # type: ignore[assignment]
        (tmp_path / f"{number}.dcm").write_bytes(part10(ds))
    server = serve()
    results = list(send_files(sorted(tmp_path.iterdir()), Peer("127.0.0.1", server.port)))
    assert len(results) == 130 and all(result.ok for result in results)
    assert server.counts().associations == 2


def test_our_sender_says_that_nobody_answers(free_port: int, tmp_path: Path) -> None:
    write_instances(tmp_path, 2)
    with pytest.raises(PeerFailure, match="cannot be reached"):
        echo(Peer("127.0.0.1", free_port))
    results = list(send_files(sorted(tmp_path.iterdir()), Peer("127.0.0.1", free_port)))
    assert [(result.ok, result.status) for result in results] == [(False, None)] * 2


def test_pynetdicom_sends_a_label_map_segmentation_and_echoes(serve: Serve, store: Store) -> None:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = LABEL_MAP_SEGMENTATION, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.Modality = "SEG"
    ds.file_meta = wsi_dataset(frames=1).file_meta
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ae = AE("PYNETDICOM")
    ae.requested_contexts = [
        build_context("1.2.840.10008.1.1"),
        build_context(LABEL_MAP_SEGMENTATION, ExplicitVRLittleEndian),
    ]
    assoc = ae.associate("127.0.0.1", serve().port)
    assert assoc.is_established
    assert assoc.send_c_echo().Status == 0
    assert assoc.send_c_store(ds).Status == 0
    assoc.release()
    assert assoc.is_released
    assert store.instances.find_sop_instance(ds.SOPInstanceUID).sop_class_uid == LABEL_MAP_SEGMENTATION


def test_a_stream_of_instances_in_one_association_is_stored(serve: Serve, store: Store) -> None:
    originals = [wsi_dataset(seed=number, frames=1) for number in range(20)]
    with wire(serve().port) as peer:
        peer.associate()
        for ds in originals:
            peer.send(store_request(ds.SOPInstanceUID) + data_set(data_set_of(part10(ds)), fragment=997))
        assert [peer.response().status for _ in originals] == [0] * len(originals)
    for ds in originals:
        assert stored_data_set(store, ds.SOPInstanceUID) == data_set_of(part10(ds))


def test_an_instance_of_several_blocks_is_kept_byte_for_byte(serve: Serve, store: Store) -> None:
    ds = wsi_dataset(frames=1300, tile=128)
    content = data_set_of(part10(ds))
    assert len(content) > 4 << 20
    assert store_by_hand(serve(), content, ds.SOPInstanceUID) == 0
    assert stored_data_set(store, ds.SOPInstanceUID) == content
    assert store.verify().sound


def test_another_instance_than_the_request_names_is_refused(serve: Serve, store: Store) -> None:
    ds, named = wsi_dataset(), generate_uid()
    server = serve()
    assert store_by_hand(server, data_set_of(part10(ds)), named) == 0xA900
    for uid in (named, ds.SOPInstanceUID):
        with pytest.raises(NotFound):
            store.instances.find_sop_instance(uid)
    assert server.counts().failed == {0xA900: 1}
    assert server.counters()['dicomsvc_dimse_failed_total{status="0xA900"}'] == 1


def test_a_request_whose_uid_is_none_is_refused(serve: Serve) -> None:
    server = serve()
    for uid in ("", "../../etc/passwd", "1.2.3/4", "1" * 65):
        assert store_by_hand(server, data_set_of(part10(wsi_dataset())), uid) == 0xA900


def test_a_request_for_another_class_than_its_context_is_refused(serve: Serve) -> None:
    ds = wsi_dataset()
    with wire(serve().port) as peer:
        peer.associate()
        peer.send(store_request(ds.SOPInstanceUID, LABEL_MAP_SEGMENTATION) + data_set(data_set_of(part10(ds))))
        assert peer.response().status == 0x0122


def test_a_slide_cut_short_in_its_pixel_data_is_refused(serve: Serve, store: Store) -> None:
    ds = wsi_dataset(frames=8)
    content = data_set_of(part10(ds))
    server = serve()
    for kept in (len(content) - 8, len(content) - 2000, len(content) // 2):
        assert store_by_hand(server, content[:kept], ds.SOPInstanceUID) in (0xA900, 0xC000)
    with pytest.raises(NotFound):
        store.instances.find_sop_instance(ds.SOPInstanceUID)


def test_other_content_under_a_known_uid_is_refused_and_the_same_is_success(serve: Serve) -> None:
    server = serve()
    first = wsi_dataset(seed=1)
    other = wsi_dataset(seed=2, sop_instance_uid=first.SOPInstanceUID)
    statuses = [store_by_hand(server, data_set_of(part10(ds)), first.SOPInstanceUID) for ds in (first, first, other)]
    assert statuses == [0x0000, 0x0000, 0x0111]


def test_a_refusal_in_mid_transfer_is_answered_and_the_next_instance_stored(settings: Settings) -> None:
    small = settings.store.model_copy(update={"max_instance_gb": 2e-5})
    big, fits = wsi_dataset(frames=60), wsi_dataset(frames=1, tile=16)
    with Store(settings.model_copy(update={"store": small})) as store:
        server = DimseServer(settings.dimse, SERVICES, store)
        server.start()
        with wire(server.port) as peer:
            peer.associate()
            for ds, status in ((big, 0xA700), (fits, 0x0000)):
                peer.send(store_request(ds.SOPInstanceUID) + data_set(data_set_of(part10(ds))))
                assert peer.response().status == status
        assert not list(store.layout.spool.rglob("*.part"))
        server.stop(1)


def test_a_disk_without_reserve_is_answered_before_anything_is_spooled(settings: Settings) -> None:
    free = shutil.disk_usage(settings.data.parent).total >> 20
    reserve = settings.store.model_copy(update={"disk_reserve_mb": free + 1})
    ds = wsi_dataset()
    with Store(settings.model_copy(update={"store": reserve})) as store:
        server = DimseServer(settings.dimse, SERVICES, store)
        server.start()
        assert store_by_hand(server, data_set_of(part10(ds)), ds.SOPInstanceUID) == 0xA700
        server.stop(1)


def test_nothing_of_a_patient_is_logged(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server = serve()
    ds = wsi_dataset(patient_name="Secret^Name", patient_id="SECRET-ID")
    content = data_set_of(part10(ds))
    assert store_by_hand(server, content, ds.SOPInstanceUID) == 0
    for damaged in (content[:-300], content.replace(b"VOLUME", b"\xff\xfe\xff\xfe\xff\xfe"), content[:700]):
        store_by_hand(server, damaged, ds.SOPInstanceUID)
    assert any("association from PEER" in record.getMessage() for record in caplog.records)
    for record in caplog.records:
        text = logging.Formatter().format(record)
        assert "Secret" not in text and "SECRET" not in text


def test_the_transfer_syntax_of_the_context_stands_in_the_file(serve: Serve, store: Store) -> None:
    ds = wsi_dataset()
    assert store_by_hand(serve(), data_set_of(part10(ds)), ds.SOPInstanceUID) == 0
    record = store.instances.find_sop_instance(ds.SOPInstanceUID)
    assert (record.transfer_syntax_uid, record.sop_class_uid) == (JPEGBaseline8Bit, VL_WHOLE_SLIDE)
