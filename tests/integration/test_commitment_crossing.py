"""Requestors of storage commitment whose messages cross the report, made by hand."""

from collections.abc import Iterator

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid

from dicomsvc.config import CommitmentSettings, Settings
from dicomsvc.dimse import commands, pdu
from dicomsvc.dimse.channel import pdu_and_pdv_header
from dicomsvc.dimse.commitment.codec import encode_action
from dicomsvc.dimse.commitment.model import ActionInformation, Reference
from dicomsvc.dimse.data_set import decode_data_set
from dicomsvc.pacs.commitment import Commitments, State
from dicomsvc.store import Store
from tests.instances import wsi_dataset
from tests.integration.archive import keep
from tests.integration.commitment_peer import Node, until
from tests.unit.dimse.wire import (
    COMMAND,
    EXPLICIT_LITTLE,
    LAST,
    VERIFICATION,
    Wire,
    associate_request,
    data_set,
    echo_request,
    wire,
)

SOP_CLASS = "1.2.840.10008.1.20.1"
INSTANCE = "1.2.840.10008.1.20.1.1"
CONTEXTS = (
    pdu.ProposedContext(1, VERIFICATION, (EXPLICIT_LITTLE,)),
    pdu.ProposedContext(3, SOP_CLASS, (EXPLICIT_LITTLE,)),
)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    quick = CommitmentSettings(quiet_seconds=1, retry_seconds=0.2)
    with Store(settings.model_copy(update={"commitment": quick})) as opened:
        yield opened


def action_request(*, sop_class_uid: str = SOP_CLASS, sop_instance_uid: str = INSTANCE) -> bytes:
    elements: dict[int, int | str] = {
        commands.REQUESTED_SOP_CLASS_UID: sop_class_uid,
        commands.REQUESTED_SOP_INSTANCE_UID: sop_instance_uid,
        commands.ACTION_TYPE_ID: 1,
    }
    command = commands.encode_request(commands.N_ACTION_RQ, 5, elements)
    return pdu_and_pdv_header(3, len(command), COMMAND | LAST) + command


def event_response(request: commands.Command, status: int = 0) -> bytes:
    command = commands.encode_response(request, status)
    return pdu_and_pdv_header(3, len(command), COMMAND | LAST) + command


def associate(peer: Wire) -> None:
    peer.send(associate_request(contexts=CONTEXTS))
    assert peer.read_pdu()[0] == pdu.A_ASSOCIATE_AC


@pytest.fixture
def reference(store: Store) -> Reference:
    """A stored instance."""
    [kept] = keep(store, wsi_dataset())
    return Reference(kept.sop_class_uid, kept.sop_instance_uid)


def ask(peer: Wire, reference: Reference) -> str:
    """Send a request, be told success, and return its Transaction UID."""
    uid = str(generate_uid())
    action = ActionInformation(uid, (reference,))
    peer.send(action_request() + data_set(encode_action(action, EXPLICIT_LITTLE)))
    response = peer.response()
    assert (response.command_field, response.status) == (commands.N_ACTION_RQ | commands.RESPONSE, 0)
    return uid


def report(peer: Wire) -> tuple[commands.Command, Dataset]:
    """Receive a report."""
    command = peer.response()
    assert command.command_field == commands.N_EVENT_REPORT_RQ
    kind, body = peer.read_pdu()
    assert kind == pdu.P_DATA_TF
    return command, decode_data_set(body[6:], EXPLICIT_LITTLE)


def state_of(store: Store, uid: str) -> State:
    [commitment] = Commitments(store.engine).of_transaction(uid)
    return commitment.state


def test_a_request_that_crosses_the_report_is_served_and_the_report_still_counts(
    store: Store, reference: Reference
) -> None:
    with Node(store, upkeep=False) as port, wire(port) as peer:
        associate(peer)
        uid = ask(peer, reference)
        command, ds = report(peer)
        assert ds.TransactionUID == uid
        peer.send(echo_request())
        assert peer.response().command_field == commands.C_ECHO_RQ | commands.RESPONSE
        assert state_of(store, uid) is State.CHECKED
        peer.send(event_response(command))
        until(lambda: state_of(store, uid) is State.REPORTED)


def test_a_release_that_crosses_the_report_is_answered_and_the_report_stays_due(
    store: Store, reference: Reference
) -> None:
    with Node(store, upkeep=False) as port, wire(port) as peer:
        associate(peer)
        uid = ask(peer, reference)
        report(peer)
        peer.send(pdu.encode_release_request())
        assert peer.read_pdu()[0] == pdu.A_RELEASE_RP
    assert state_of(store, uid) is State.CHECKED


def test_a_requestor_that_goes_on_at_once_is_not_interrupted(store: Store, reference: Reference) -> None:
    with Node(store, upkeep=False) as port, wire(port) as peer:
        associate(peer)
        uids = [ask(peer, reference) for _ in range(3)]
        told = []
        for _ in uids:
            command, ds = report(peer)
            told.append(ds.TransactionUID)
            peer.send(event_response(command))
        until(lambda: all(state_of(store, uid) is State.REPORTED for uid in uids))
    assert told == uids


def test_a_report_that_is_answered_with_a_failure_stays_due(store: Store, reference: Reference) -> None:
    with Node(store, upkeep=False) as port, wire(port) as peer:
        associate(peer)
        uid = ask(peer, reference)
        command, _ = report(peer)
        peer.send(event_response(command, 0x0110))

        def tried() -> bool:
            [commitment] = Commitments(store.engine).of_transaction(uid)
            return "0x0110" in (commitment.last_error or "")

        until(tried)
    assert state_of(store, uid) is State.CHECKED


def test_a_response_to_nothing_is_ignored(store: Store) -> None:
    with Node(store, upkeep=False) as port, wire(port) as peer:
        associate(peer)
        command = commands.encode_request(commands.N_EVENT_REPORT_RQ, 77, {commands.AFFECTED_SOP_CLASS_UID: SOP_CLASS})
        peer.send(event_response(commands.decode_command(command)))
        peer.send(echo_request())
        assert peer.response().status == 0


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (action_request(sop_class_uid=VERIFICATION) + data_set(b"\0" * 8), 0x0118),
        (action_request(sop_instance_uid="1.2.3") + data_set(b"\0" * 8), 0x0112),
        (action_request() + data_set(b"\xff" * 4000), 0x0115),
        (action_request() + data_set(b"\x08\x00\x95\x11UI\xff\xff"), 0x0115),
        (action_request() + data_set(bytes(9 << 20)), 0x0213),
        (
            action_request()
            + data_set(b"\x08\x00\x99\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\0\0\0\0" * 1_000_000),
            0x0213,
        ),
    ],
)
def test_requests_that_are_none_are_refused_and_the_association_goes_on(
    store: Store, request_bytes: bytes, status: int
) -> None:
    with Node(store, upkeep=False) as port, wire(port) as peer:
        associate(peer)
        peer.send(request_bytes)
        assert peer.response().status == status
        peer.send(echo_request())
        assert peer.response().status == 0
    assert not Commitments(store.engine).latest()
