"""Storage Commitment SCU: ask another archive whether it keeps what it was sent (PS3.4 J.3.2)."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Engine

from dicomsvc.config import CommitmentSettings
from dicomsvc.dicom.uids import is_valid_uid, new_uid
from dicomsvc.dimse.channel import Message
from dicomsvc.dimse.commands import (
    ACTION_TYPE_ID,
    N_ACTION_RQ,
    N_EVENT_REPORT_RQ,
    REQUESTED_SOP_CLASS_UID,
    REQUESTED_SOP_INSTANCE_UID,
    SUCCESS,
    encode_request,
)
from dicomsvc.dimse.commitment.asked import (
    AskedState,
    CommitmentResult,
    Due,
    claim_due,
    commitment_result,
    record_request,
    record_sending,
    record_state,
    references_of,
)
from dicomsvc.dimse.commitment.codec import encode_action
from dicomsvc.dimse.commitment.events import answer_event
from dicomsvc.dimse.commitment.model import (
    REQUEST_STORAGE_COMMITMENT,
    SOP_CLASS,
    WELL_KNOWN_INSTANCE,
    ActionInformation,
    Reference,
)
from dicomsvc.dimse.contexts import MESSAGE_SYNTAXES
from dicomsvc.dimse.failures import ConnectionEnded, ProtocolViolation
from dicomsvc.dimse.pdu import ProposedContext
from dicomsvc.dimse.peers import KnownPeers
from dicomsvc.dimse.requestor import Association, Peer
from dicomsvc.errors import BadRequest, ConfigurationError, PeerFailure

MOST_INSTANCES: Final = 40_000
"""Instances of one request; more could make the report longer than `codec.LARGEST_BYTES`."""
_LEASE_SECONDS: Final = 180.0
_RESPONSE_SECONDS: Final = 60.0
_MESSAGE_ID: Final = 1
# The SOP class, its instance, the action or this node is refused (PS3.7 annex C): asking again would not help.
_FINAL: Final = frozenset({0x0112, 0x0118, 0x0122, 0x0123, 0x0124, 0x0211})


class _Refused(PeerFailure):
    """The peer will not take such a request, however often it is asked."""


def request_commitment(
    engine: Engine,
    peer: Peer,
    instances: Sequence[tuple[str, str]],
    transaction_uid: str | None = None,
    *,
    wait_seconds: float = 5.0,
    settings: CommitmentSettings | None = None,
) -> CommitmentResult:
    """Ask a peer to commit to ``instances``, pairs of SOP Class UID and SOP Instance UID.

    The request is kept first. When the peer takes it, its report is waited for ``wait_seconds`` on the same
    association; one that comes later, on an association of the peer's, is found by `commitment_result`. What the peer
    does not take or does not answer is asked again by `ask_again`. A Transaction UID that was given before asks
    nothing twice: it returns what is known, and asks again only what the peer has not taken.

    Raises
    ------
    BadRequest
        When there is no instance, more than `MOST_INSTANCES`, or a UID that is none.
    PeerFailure
        When the peer could not be asked now, or refuses.
    """
    references = tuple(dict.fromkeys(Reference(*pair) for pair in instances))
    if not 0 < len(references) <= MOST_INSTANCES:
        raise BadRequest(f"storage commitment is asked for 1 to {MOST_INSTANCES} instances at a time")
    uid = transaction_uid or new_uid()
    if not all(map(is_valid_uid, (uid, *(part for reference in references for part in reference)))):
        raise BadRequest("storage commitment is asked for by UIDs")
    settings = settings or CommitmentSettings()
    if not record_request(engine, uid, peer.called_ae_title, references, lease_seconds=_LEASE_SECONDS):
        known = commitment_result(engine, uid)
        if known.state in (AskedState.ANSWERED, AskedState.ASKED):
            return known
        _ask(engine, peer, uid, new_uid(), known.attempts, settings, wait_seconds)
    else:
        _ask(engine, peer, uid, uid, 0, settings, wait_seconds)
    return commitment_result(engine, uid)


def ask_again(engine: Engine, peers: KnownPeers, settings: CommitmentSettings) -> int:
    """Ask again what is due: what peers did not take, and what they took and did not answer; return how many.

    Safe to run in several processes at once.
    """
    count = 0
    while (due := claim_due(engine, lease_seconds=_LEASE_SECONDS)) is not None:
        count += 1
        if (datetime.now(UTC) - due.requested_at).total_seconds() > settings.retry_hours * 3600:
            record_state(engine, due.transaction_uid, AskedState.GIVEN_UP, "no answer in time")
            continue
        try:
            _ask_due(engine, peers, due, settings)
        except (PeerFailure, ConfigurationError):
            # It stands in the row, with the time of the next attempt.
            continue
    return count


def _ask_due(engine: Engine, peers: KnownPeers, due: Due, settings: CommitmentSettings) -> None:
    try:
        known = peers.by_ae_title(due.ae_title)
        if known is None or known.host is None:
            raise PeerFailure(f"no peer with the AE title {due.ae_title} is known by its address")
        peer = peers.call(known)
    except (PeerFailure, ConfigurationError) as error:
        delay = settings.retry_delay_seconds(due.attempts)
        record_state(engine, due.transaction_uid, AskedState.ASKING, error.message, due_in_seconds=delay)
        raise
    _ask(engine, peer, due.transaction_uid, new_uid(), due.attempts, settings, 0)


def _ask(
    engine: Engine,
    peer: Peer,
    transaction_uid: str,
    sent_as: str,
    attempts: int,
    settings: CommitmentSettings,
    wait_seconds: float,
) -> None:
    """Send a request under the Transaction UID ``sent_as``: a new one each time, as peers may take none twice."""
    action = ActionInformation(sent_as, references_of(engine, transaction_uid))
    if not record_sending(engine, transaction_uid, sent_as, lease_seconds=_LEASE_SECONDS):
        return
    peer = replace(peer, response_timeout_seconds=min(peer.response_timeout_seconds, _RESPONSE_SECONDS))
    context = ProposedContext(1, SOP_CLASS, MESSAGE_SYNTAXES)
    try:
        with Association(peer, [context]) as association:
            _send(engine, association, peer, action)
            due = settings.answer_minutes * 60
            record_state(engine, transaction_uid, AskedState.ASKED, due_in_seconds=due)
            _await_event(engine, association, peer, wait_seconds)
    except _Refused as error:
        record_state(engine, transaction_uid, AskedState.REFUSED, error.message)
        raise
    except PeerFailure as error:
        delay = settings.retry_delay_seconds(attempts)
        record_state(engine, transaction_uid, AskedState.ASKING, error.message, due_in_seconds=delay)
        raise


def _send(engine: Engine, association: Association, peer: Peer, action: ActionInformation) -> None:
    context = next(iter(association.contexts.values()), None)
    if context is None:
        raise _Refused(f"{peer.called_ae_title} does not offer storage commitment")
    elements: dict[int, int | str] = {
        REQUESTED_SOP_CLASS_UID: SOP_CLASS,
        REQUESTED_SOP_INSTANCE_UID: WELL_KNOWN_INSTANCE,
        ACTION_TYPE_ID: REQUEST_STORAGE_COMMITMENT,
    }
    try:
        association.channel.send_command(context.context_id, encode_request(N_ACTION_RQ, _MESSAGE_ID, elements))
        association.channel.send_data_set(context.context_id, encode_action(action, context.transfer_syntax))
    except ConnectionEnded as error:
        raise PeerFailure(f"the peer ended the association: {error}") from error
    status = _response_status(engine, association, peer)
    if status != SUCCESS:
        kind = _Refused if status in _FINAL else PeerFailure
        raise kind(f"{peer.called_ae_title} answers the request for storage commitment with status {status:#06x}")


def _response_status(engine: Engine, association: Association, peer: Peer) -> int:
    # Some archives report before they answer.
    while True:
        message = _receive(association)
        if message is None:
            raise PeerFailure(f"{peer.called_ae_title} released the association before it answered")
        if message.command.command_field == N_EVENT_REPORT_RQ:
            answer_event(engine, peer.called_ae_title, association.channel, message)
        elif message.command.message_id_being_responded_to == _MESSAGE_ID:
            return message.command.status or SUCCESS
        else:
            raise PeerFailure(f"{peer.called_ae_title} sent something else than the response")


def _await_event(engine: Engine, association: Association, peer: Peer, wait_seconds: float) -> None:
    try:
        if association.channel.arrives(wait_seconds):
            message = association.channel.receive()
            if message is not None and message.command.command_field == N_EVENT_REPORT_RQ:
                answer_event(engine, peer.called_ae_title, association.channel, message)
    except (ConnectionEnded, ProtocolViolation):
        # It has taken the request, and may report on an association of its own.
        return


def _receive(association: Association) -> Message | None:
    try:
        return association.channel.receive()
    except (ConnectionEnded, ProtocolViolation) as error:
        raise PeerFailure(f"no response came: {error}") from error
