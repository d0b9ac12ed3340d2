"""Forwards to real peers: what arrives there, what is tried again, what is given up, what survives."""

import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom.events import Event

from dicomsvc.config import Settings
from dicomsvc.errors import Cancelled, Conflict
from dicomsvc.jobs import Progress
from dicomsvc.routing.admission import admit
from dicomsvc.routing.forwards import Forward, Forwards, ForwardState
from dicomsvc.store import Store
from dicomsvc.store.layout import file_key
from tests.conftest import require_program
from tests.integration.archive import Receiver
from tests.integration.orthanc import dicomweb_plugins
from tests.integration.routed import Carrier, Scp, make_old, opened, put, route, series_of, with_routing
from tests.unit.dimse.wire import data_set_of

RULE = {"name": "archive", "send": ["PEER"], "stable_seconds": 0}


def routed(settings: Settings, port: int, **routing: object) -> Settings:
    return with_routing(settings, peers={"PEER": port}, **{"rules": [RULE], **routing})


def states(store: Store, record: Forward) -> dict[str, int]:
    found = Forwards(store.engine).get(record.id)
    words = ("waiting", "sent", "confirmed", "failed", "skipped")
    return {word: getattr(found, word) for word in words if getattr(found, word)}


@pytest.mark.peer
def test_storescp_gets_slide_and_result_byte_for_byte_over_one_association(settings: Settings, tmp_path: Path) -> None:
    with Receiver(tmp_path / "out") as peer, opened(routed(settings, peer.port)) as store:
        slide = series_of(20)
        put(store, *slide)
        carrier = Carrier(store)
        [record] = carrier.carry_all()
        assert (record.state, record.sent, record.answers) == (ForwardState.DONE, 20, 20)
        assert record.bytes_sent == record.bytes > 0
        received = {data_set_of(path.read_bytes()) for path in peer.folder.iterdir()}
    assert received == {data_set_of(store_bytes(store, str(ds.SOPInstanceUID))) for ds in slide}
    assert any("20 of 20 instances" in text and "MB/s" in text for text in carrier.texts)


def store_bytes(store: Store, uid: str) -> bytes:
    return store.layout.instance_path(file_key(uid)).read_bytes()


def test_a_peer_that_is_down_is_tried_again_and_gets_all_when_it_is_up(settings: Settings, free_port: int) -> None:
    with opened(routed(settings, free_port, first_pause_seconds=10, longest_pause_seconds=50)) as store:
        put(store, *series_of(3))
        carrier = Carrier(store)
        [record] = carrier.carry_all()
        pauses = [carrier.carry(record) for _ in range(4)]
        assert [round(later.seconds / 10) for later in pauses if later] == pytest.approx([2, 4, 5, 5], rel=0.25)
        record = Forwards(store.engine).get(record.id)
        assert (record.state, record.waiting, record.tries) == (ForwardState.PAUSING, 3, 5)
        assert "cannot be reached" in record.reason
        with Scp(port=free_port) as peer:
            assert carrier.carry(record) is None
            assert len(peer.received) == 3
        assert Forwards(store.engine).get(record.id).state is ForwardState.DONE


def test_a_peer_that_is_down_gets_one_try_at_a_time_whatever_waits_for_it(settings: Settings, free_port: int) -> None:
    with opened(routed(settings, free_port, per_destination=1)) as store:
        put(store, *(series_of(1)[0] for _ in range(4)))
        carrier = Carrier(store)
        carrier.carry_all()
        assert admit(store.engine, store.settings.routing) == 0
        assert [each.state for each in Forwards(store.engine).search()].count(ForwardState.WAITING) == 3


def test_what_a_peer_has_no_room_for_waits_while_others_go_on(settings: Settings) -> None:
    first: list[str] = []

    def full(number: int, event: Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        first[:] = first or [uid]
        return 0xA700 if uid == first[0] and number < 5 else 0x0000

    with Scp(full) as peer, opened(routed(settings, peer.port, per_destination=1)) as store:
        put(store, *series_of(3))
        carrier = Carrier(store)
        [record] = carrier.carry_all()
        assert record.state is ForwardState.PAUSING
        assert states(store, record) == {"waiting": 1, "sent": 2}
        assert "0xa700" in record.reason
        put(store, *series_of(1))
        route(store)
        assert admit(store.engine, store.settings.routing) == 1
        while carrier.carry(record) is not None:
            pass
        assert states(store, record) == {"sent": 3}
        # Those that had been answered for were not sent again.
        assert peer.received.count(first[0]) == len(peer.received) - 2


@pytest.mark.parametrize("status", [0x0122, 0xA900, 0xC000, 0x0111, 0x0124])
def test_half_of_it_refused_for_good_is_dead_at_once_and_the_rest_is_there(settings: Settings, status: int) -> None:
    with (
        Scp(lambda number, event: status if number % 2 else 0) as peer,
        opened(routed(settings, peer.port)) as store,
    ):
        put(store, *series_of(6))
        [record] = Carrier(store).carry_all()
        assert record.state is ForwardState.DEAD
        assert states(store, record) == {"sent": 3, "failed": 3}
        assert f"{status:#06x}" in record.reason
        failed = Forwards(store.engine).instances(record.id, state="failed")
        assert {each.status for each in failed} == {status}


def test_a_warning_counts_as_sent(settings: Settings) -> None:
    with Scp(lambda number, event: 0xB007) as peer, opened(routed(settings, peer.port)) as store:
        put(store, *series_of(2))
        [record] = Carrier(store).carry_all()
        assert (record.state, record.sent) == (ForwardState.DONE, 2)
        assert {each.status for each in Forwards(store.engine).instances(record.id)} == {0xB007}


def test_dead_letters_are_sent_again_on_request_without_what_arrived(settings: Settings) -> None:
    refusing = True
    with (
        Scp(lambda number, event: 0xC000 if refusing and number % 2 else 0) as peer,
        opened(routed(settings, peer.port)) as store,
    ):
        put(store, *series_of(4))
        carrier = Carrier(store)
        [record] = carrier.carry_all()
        assert record.state is ForwardState.DEAD
        refusing = False
        Forwards(store.engine).retry(record.id)
        [record] = carrier.carry_all()
        assert (record.state, record.sent, len(peer.received)) == (ForwardState.DONE, 4, 6)
        with pytest.raises(Conflict):
            Forwards(store.engine).retry(record.id)


def test_what_was_dropped_is_not_sent_and_can_be_sent_after_all(settings: Settings) -> None:
    with Scp() as peer, opened(routed(settings, peer.port)) as store:
        put(store, *series_of(2))
        [record] = route(store)
        admit(store.engine, store.settings.routing)
        assert Forwards(store.engine).drop(record.id).state is ForwardState.DROPPED
        carrier = Carrier(store)
        assert carrier.carry(record) is None
        assert peer.received == []
        Forwards(store.engine).retry(record.id)
        [record] = carrier.carry_all()
        assert (record.state, record.sent) == (ForwardState.DONE, 2)


def test_what_cannot_be_sent_for_days_becomes_a_dead_letter(settings: Settings, free_port: int) -> None:
    with opened(routed(settings, free_port)) as store:
        put(store, *series_of(2))
        carrier = Carrier(store)
        [record] = carrier.carry_all()
        make_old(store, 73)
        assert carrier.carry(record) is None
        record = Forwards(store.engine).get(record.id)
        assert (record.state, record.failed) == (ForwardState.DEAD, 2)
        assert record.reason.startswith("given up after 72 hours: ")


def test_what_was_deleted_meanwhile_is_passed_over_and_said(settings: Settings) -> None:
    with Scp() as peer, opened(routed(settings, peer.port)) as store:
        kept, deleted = series_of(2)
        put(store, kept, deleted)
        route(store)
        store.delete("test", str(deleted.StudyInstanceUID), None, str(deleted.SOPInstanceUID))
        [record] = Carrier(store).carry_all()
        assert record.state is ForwardState.DONE
        assert states(store, record) == {"sent": 1, "skipped": 1}
        [skipped] = Forwards(store.engine).instances(record.id, state="skipped")
        assert skipped.note == "deleted before it was sent"
        assert peer.received == [str(kept.SOPInstanceUID)]


def test_a_peer_that_dies_within_an_object_gets_the_others_and_that_one_later(settings: Settings) -> None:
    def die_once(number: int, event: Event) -> int:
        if number == 2:
            event.assoc.abort()
        return 0

    with Scp(die_once) as peer, opened(routed(settings, peer.port)) as store:
        put(store, *series_of(4))
        carrier = Carrier(store)
        [record] = carrier.carry_all()
        assert states(store, record) == {"waiting": 1, "sent": 3}
        assert carrier.carry(record) is None
        assert states(store, record) == {"sent": 4}
        assert len(peer.received) == 5


def test_a_damaged_file_is_a_dead_letter_and_is_never_sent(settings: Settings) -> None:
    with Scp() as peer, opened(routed(settings, peer.port)) as store:
        sound, hurt = series_of(2)
        put(store, sound, hurt)
        path = store.layout.instance_path(file_key(str(hurt.SOPInstanceUID)))
        content = bytearray(path.read_bytes())
        content[-20] ^= 1
        path.write_bytes(content)
        [record] = Carrier(store).carry_all()
        assert states(store, record) == {"sent": 1, "failed": 1}
        assert "damaged" in record.reason
        assert peer.received == [str(sound.SOPInstanceUID)]
        assert store.instances.find_sop_instance(str(hurt.SOPInstanceUID)).damaged, "it must not be served any more"
        assert not store.instances.find_sop_instance(str(sound.SOPInstanceUID)).damaged


def test_a_peer_that_takes_another_sop_class_only_leaves_a_dead_letter(settings: Settings) -> None:
    with Scp() as peer, opened(routed(settings, peer.port)) as store:
        [ds] = series_of(1)
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7.4"
        put(store, ds)
        [record] = Carrier(store).carry_all()
        assert record.state is ForwardState.DEAD
        assert "does not take 1.2.840.10008.5.1.4.1.1.7.4" in record.reason


def test_an_attempt_that_is_cut_off_goes_on_where_it_was(settings: Settings) -> None:
    def slow(number: int, event: Event) -> int:
        time.sleep(0.3)
        return 0

    with Scp(slow) as peer, opened(routed(settings, peer.port)) as store:
        put(store, *series_of(6))
        route(store)
        admit(store.engine, store.settings.routing)

        def stop(progress: Progress) -> None:
            if len(peer.received) >= 3:
                raise Cancelled("stopped")

        carrier = Carrier(store, report=stop)
        [record] = Forwards(store.engine).search()
        with pytest.raises(Cancelled):
            for _ in range(2):
                carrier.carry(record)
        before = states(store, record)["sent"]
        assert before < 6
        Carrier(store).carry(record)
        assert states(store, record) == {"sent": 6}
        assert len(peer.received) <= 7


def test_two_processes_never_carry_out_one_forward_at_a_time(settings: Settings) -> None:
    with Scp() as peer, opened(routed(settings, peer.port)) as store:
        put(store, *series_of(2))
        route(store)
        admit(store.engine, store.settings.routing)
        [record] = Forwards(store.engine).search()
        second: list[object] = []

        def meanwhile(progress: Progress) -> None:
            if not second:
                second.append(None)
                second[0] = Carrier(store).carry(record)

        Carrier(store, report=meanwhile).carry(record)
        assert second[0] is not None, "the second one was to wait"
        assert len(peer.received) == 2


def test_an_unknown_peer_is_waited_for(settings: Settings) -> None:
    with opened(with_routing(settings, rules=[RULE])) as store:
        put(store, *series_of(1))
        [record] = Carrier(store).carry_all()
        assert record.state is ForwardState.PAUSING
        assert "there is no peer PEER" in record.reason


@pytest.mark.peer
def test_storescp_that_refuses_every_association_is_waited_for(
    settings: Settings, tmp_path: Path, free_port: int
) -> None:
    command = [require_program("storescp"), "--refuse", "-od", str(tmp_path), str(free_port)]
    with running(command, free_port), opened(routed(settings, free_port)) as store:
        put(store, *series_of(1))
        [record] = Carrier(store).carry_all()
        assert record.state is ForwardState.PAUSING
        assert "rejects the association" in record.reason


@contextmanager
def running(command: list[str], *ports: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        for port in ports:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert process.poll() is None and time.monotonic() < deadline, "it did not start"
                    time.sleep(0.1)
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def a_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """A running Orthanc with its DICOMweb plugin: DICOM port and HTTP port."""
    program = require_program("Orthanc")
    dicom, http = a_free_port(), a_free_port()
    configuration = {
        "Name": "peer",
        "StorageDirectory": str(tmp_path / "orthanc"),
        "IndexDirectory": str(tmp_path / "orthanc"),
        "DicomPort": dicom,
        "DicomAet": "PEER",
        "HttpPort": http,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "Plugins": dicomweb_plugins(),
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (tmp_path / "orthanc").mkdir()
    (tmp_path / "orthanc.json").write_text(json.dumps(configuration))
    with running([program, str(tmp_path / "orthanc.json")], dicom, http):
        yield dicom, http


def orthanc_pixel_data(http: int) -> dict[str, bytes]:
    """Return the pixel data of all instances that Orthanc has, by SOP Instance UID."""
    found = {}
    for name in get_json(f"http://127.0.0.1:{http}/instances"):
        with urllib.request.urlopen(f"http://127.0.0.1:{http}/instances/{name}/file", timeout=30) as response:
            ds = dcmread(BytesIO(response.read()))
        found[str(ds.SOPInstanceUID)] = bytes(ds.PixelData)
    return found


def get_json(url: str) -> list[str]:
    with urllib.request.urlopen(url, timeout=30) as response:
        return list(json.loads(response.read()))


@pytest.mark.peer
def test_orthanc_gets_it_by_c_store_and_by_stow_with_the_same_pixel_data(
    settings: Settings, orthanc: tuple[int, int]
) -> None:
    dicom, http = orthanc
    rules = [
        {**RULE, "name": "dimse", "calling_ae_titles": ["A"]},
        {**RULE, "name": "web", "send": ["cloud"], "calling_ae_titles": ["B"]},
    ]
    destinations = {"cloud": {"url": f"http://127.0.0.1:{http}/dicom-web"}}
    with opened(routed(settings, dicom, rules=rules, destinations=destinations)) as store:
        by_dimse, by_web = series_of(3), series_of(3)
        put(store, *by_dimse, who="A")
        put(store, *by_web, who="B")
        records = Carrier(store).carry_all()
        assert [(each.action, each.state, each.sent) for each in records] == [
            ("store", ForwardState.DONE, 3),
            ("stow", ForwardState.DONE, 3),
        ], [each.describe() for each in records]
    assert orthanc_pixel_data(http) == {str(ds.SOPInstanceUID): bytes(ds.PixelData) for ds in by_dimse + by_web}
