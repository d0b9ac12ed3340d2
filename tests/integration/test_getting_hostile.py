"""C-GET as SCU with an archive that refuses, breaks off, or sends what nobody asked for."""

import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest
from pydicom import Dataset

from dicomsvc.config import Settings
from dicomsvc.dimse import PeerFailure, commands, pdu
from dicomsvc.dimse.data_set import encode_data_set
from dicomsvc.dimse.getting import get
from dicomsvc.dimse.querying import Retrieved
from dicomsvc.errors import NotFound
from dicomsvc.ingest.dimse import store_instance
from dicomsvc.store import Store
from tests.instances import wsi_dataset
from tests.integration.get_provider import GET_CONTEXT, Association, Script, get_provider, identifier
from tests.unit.dimse.wire import EXPLICIT_LITTLE

STUDY, SERIES = "1.2.3.1", "1.2.3.1.1"


def slide(number: int, study: str = STUDY) -> Dataset:
    return wsi_dataset(
        study_instance_uid=study,
        series_instance_uid=f"{study}.1",
        sop_instance_uid=f"{study}.1.{number}",
        seed=number,
        frames=1,
    )


def failed_list(*uids: str) -> Dataset:
    ds = Dataset()
    ds.FailedSOPInstanceUIDList = list(uids)
    return ds


def retrieve(store: Store, script: Script, *uids: str) -> Retrieved:
    with get_provider(script) as peer:
        return get(peer, identifier(*(uids or (STUDY,))), store, store_instance)


def stored(store: Store, *numbers: int) -> list[int]:
    """Return which of the slides are in the store."""
    found = []
    for number in numbers:
        try:
            store.instances.find_sop_instance(f"{SERIES}.{number}")
            found.append(number)
        except NotFound:
            pass
    return found


@pytest.fixture(autouse=True)
def nothing_stays_in_the_spool(store: Store) -> Iterator[None]:
    yield
    assert not [path for path in store.layout.spool.rglob("*") if path.suffix == ".part"]


@pytest.mark.parametrize(
    ("accepting", "reason"),
    [
        ({"get": False}, "does not serve retrievals by C-GET"),
        ({"roles": {}}, "refuses this node as SCP of Storage"),
        ({"roles": {True: False}}, "refuses this node as SCP of Storage"),
    ],
    ids=["context", "roles not answered", "roles refused"],
)
def test_a_peer_that_refuses_the_context_or_the_roles_is_told_of_and_asked_nothing(
    store: Store, accepting: dict[str, object], reason: str
) -> None:
    def script(association: Association) -> None:
        association.accept(**accepting)  # type: ignore[arg-type]
        assert association.ends_with() == pdu.A_ABORT

    with pytest.raises(PeerFailure, match=reason):
        retrieve(store, script)


def test_a_peer_that_cannot_be_reached_is_told_of(store: Store, free_port: int) -> None:
    with get_provider(lambda association: None) as peer:
        with pytest.raises(PeerFailure, match="cannot be reached"):
            get(replace(peer, port=free_port), identifier(STUDY), store, store_instance)
        with pytest.raises(PeerFailure):
            get(peer, identifier(STUDY), store, store_instance)


def abort(association: Association) -> None:
    association.abort()


def close(association: Association) -> None:
    association.connection.close()


def release(association: Association) -> None:
    association.connection.sendall(pdu.encode_release_request())


@pytest.mark.parametrize("end", [abort, close, release])
@pytest.mark.parametrize("within", [False, True], ids=["between messages", "within a data set"])
def test_a_peer_that_breaks_off_leaves_what_was_acknowledged_and_nothing_else(
    store: Store, end: Script, within: bool
) -> None:
    def script(association: Association) -> None:
        association.accept()
        association.take_request()
        assert association.store(slide(1)) == commands.SUCCESS
        association.respond(commands.PENDING, remaining=2, completed=1, failed=0, warnings=0)
        if within:
            content = association.begin(slide(2))
            association.connection.sendall(content[: len(content) // 2 & ~1])
        end(association)

    with pytest.raises(PeerFailure, match=r"broke off.*; 1 instances were stored before"):
        retrieve(store, script)
    assert stored(store, 1, 2) == [1]


def test_a_silent_peer_is_waited_for_as_long_as_for_any_response(store: Store) -> None:
    def script(association: Association) -> None:
        association.accept()
        association.take_request()
        assert association.ends_with() == pdu.A_ABORT

    with get_provider(script) as peer, pytest.raises(PeerFailure, match="did not arrive in time"):
        get(replace(peer, response_timeout_seconds=0.5), identifier(STUDY), store, store_instance)


@pytest.mark.parametrize(
    "message",
    [
        commands.encode_request(commands.C_ECHO_RQ, 3, {}, has_data_set=False),
        commands.encode_response(commands.decode_command(commands.encode_request(commands.C_FIND_RQ, 1, {})), 0),
        commands.encode_response(commands.decode_command(commands.encode_request(commands.C_GET_RQ, 2, {})), 0),
        b"\xff" * 12,
    ],
    ids=["another request", "another response", "another operation", "no command set"],
)
def test_what_is_no_part_of_the_retrieval_ends_it(store: Store, message: bytes) -> None:
    def script(association: Association) -> None:
        association.accept()
        association.take_request()
        association.send_command(message)
        assert association.ends_with() == pdu.A_ABORT

    with pytest.raises(PeerFailure, match="broke off"):
        retrieve(store, script)


def test_instances_that_were_not_asked_for_are_refused_and_the_rest_is_stored(store: Store) -> None:
    def script(association: Association) -> None:
        association.accept()
        association.take_request()
        assert association.store(slide(1, "1.2.9")) == 0xC409
        assert association.store(slide(2), named=f"{SERIES}.7") == 0xA900
        assert association.store(slide(3), context_id=GET_CONTEXT) == 0x0122
        assert association.store(slide(4)) == commands.SUCCESS
        association.respond(0xB000, completed=1, failed=3, warnings=0)
        assert association.ends_with() == pdu.A_RELEASE_RQ

    got = retrieve(store, script)
    assert got == Retrieved(0xB000, "", completed=1, failed=3, warnings=0)
    assert not got.ok
    assert stored(store, 1, 2, 3, 4, 7) == [4]
    with pytest.raises(NotFound):
        store.instances.find_sop_instance("1.2.9.1.1")


def test_another_instance_than_the_one_named_is_refused_before_it_is_read(store: Store) -> None:
    def script(association: Association) -> None:
        association.accept()
        assert association.take_request().SOPInstanceUID == f"{SERIES}.1"
        assert association.store(slide(2)) == 0x0124
        assert association.store(slide(1)) == commands.SUCCESS
        association.respond(0xB000, completed=1, failed=1)
        association.ends_with()

    assert retrieve(store, script, STUDY, SERIES, f"{SERIES}.1").failed == 1
    assert stored(store, 1, 2) == [1]


def test_other_content_under_a_known_uid_goes_to_quarantine(store: Store) -> None:
    def script(association: Association) -> None:
        association.accept()
        association.take_request()
        first, other = slide(1), slide(2)
        other.SOPInstanceUID = first.SOPInstanceUID
        assert association.store(first) == commands.SUCCESS
        assert association.store(first) == commands.SUCCESS
        assert association.store(other) == 0x0111
        association.respond(0xB000, completed=2, failed=1, warnings=0)
        association.ends_with()

    assert retrieve(store, script).failed == 1
    assert len([path for path in store.layout.quarantine.rglob("*") if path.is_file()]) >= 1


def test_what_the_peer_says_it_has_sent_and_did_not_has_failed(store: Store) -> None:
    def script(association: Association) -> None:
        association.accept()
        association.take_request()
        assert association.store(slide(1)) == commands.SUCCESS
        association.respond(commands.SUCCESS, completed=5, failed=0, warnings=0)
        association.ends_with()

    got = retrieve(store, script)
    assert (got.completed, got.failed, got.ok) == (1, 4, False)


def test_sub_operations_that_the_peer_could_not_begin_have_failed(store: Store) -> None:
    def script(association: Association) -> None:
        association.accept()
        association.take_request()
        assert association.store(slide(1)) == commands.SUCCESS
        association.respond(0xB000, "2 in other\x1b[31m syntaxes", completed=1, failed=2, warnings=0)
        association.ends_with()

    got = retrieve(store, script)
    assert got == Retrieved(0xB000, "2 in other?[31m syntaxes", completed=1, failed=2, warnings=0)
    assert not got.ok


@pytest.mark.parametrize(
    "encoded",
    [
        encode_data_set(failed_list("1.2.3.1.1.2", "1.2.3.1.1.3"), EXPLICIT_LITTLE),
        encode_data_set(failed_list(*(f"1.2.3.{number}" for number in range(5000))), EXPLICIT_LITTLE),
        encode_data_set(failed_list("../../etc/passwd", "*", ""), EXPLICIT_LITTLE),
        b"\x08\x00\x58\x00US\x02\x00\x01\x00",
        b"\x08\x00\x58\x00SQ\x00\x00\x00\x00\x00\x00",
        b"\xff" * 100,
        bytes(1 << 20),
    ],
    ids=["two", "many", "no UIDs", "a number", "a sequence", "no data set", "too long"],
)
def test_a_list_of_what_failed_harms_nothing_whatever_it_holds(store: Store, encoded: bytes) -> None:
    def script(association: Association) -> None:
        association.accept()
        association.take_request()
        assert association.store(slide(1)) == commands.SUCCESS
        association.respond(0xB000, completed=1, failed=2, warnings=0, encoded=encoded)
        assert association.ends_with() == pdu.A_RELEASE_RQ

    assert retrieve(store, script) == Retrieved(0xB000, "", completed=1, failed=2, warnings=0)


def test_an_instance_with_faults_is_stored_with_a_warning_and_nothing_has_failed(store: Store) -> None:
    faulty = slide(1)
    faulty.SpecificCharacterSet = "NO SUCH SET"

    def script(association: Association) -> None:
        association.accept()
        association.take_request()
        status = association.store(faulty)
        assert status == 0xB007
        association.respond(0xB000, completed=0, failed=0, warnings=1)
        association.ends_with()

    got = retrieve(store, script)
    assert (got.completed, got.warnings, got.failed, got.ok) == (0, 1, 0, True)


def test_a_final_response_without_a_status_is_no_success(store: Store) -> None:
    request = commands.decode_command(commands.encode_request(commands.C_GET_RQ, 1, {}))
    status = b"\0\0\0\x09\x02\0\0\0\0\0"
    encoded = commands.encode_response(request, 0)
    assert encoded.count(status) == 1

    def script(association: Association) -> None:
        association.accept()
        association.take_request()
        association.send_command(encoded.replace(status, b""))
        association.ends_with()

    got = retrieve(store, script)
    assert (got.status, got.ok) == (0xC000, False)


@pytest.mark.parametrize("status", [0xA701, 0xA900, 0xC000, 0x0124, 0xFE00])
def test_a_failure_of_the_whole_is_one(store: Store, status: int) -> None:
    def script(association: Association) -> None:
        association.accept()
        association.take_request()
        association.respond(status)
        association.ends_with()

    got = retrieve(store, script)
    assert (got.status, got.completed, got.ok) == (status, 0, False)


def test_a_full_disk_refuses_each_sub_operation_and_the_peer_ends_in_order(settings: Settings, store: Store) -> None:
    full = settings.model_copy(update={"store": settings.store.model_copy(update={"disk_reserve_mb": 1 << 30})})

    def script(association: Association) -> None:
        association.accept()
        association.take_request()
        assert [association.store(slide(number)) for number in (1, 2)] == [0xA700, 0xA700]
        association.respond(0xA702, completed=0, failed=2, warnings=0)
        assert association.ends_with() == pdu.A_RELEASE_RQ

    with Store(full) as without_room:
        got = retrieve(without_room, script)
    assert got == Retrieved(0xA702, "", completed=0, failed=2, warnings=0)
    assert stored(store, 1, 2) == []


def test_nothing_of_a_patient_is_logged(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    secret = slide(1, "1.2.9")
    secret.PatientName, secret.PatientID, secret.AccessionNumber = "Secret^Name", "SECRET-ID", "SECRET-ACC"

    def script(association: Association) -> None:
        association.accept()
        association.take_request()
        association.store(secret)
        association.respond(0xA702, failed=1)
        association.ends_with()

    caplog.set_level(logging.DEBUG)
    retrieve(store, script)
    told = [logging.Formatter().format(record) for record in caplog.records]
    assert any("C-STORE refused" in line for line in told)
    assert not [line for line in told if "secret" in line.lower()]
