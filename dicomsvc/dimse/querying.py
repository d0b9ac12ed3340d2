"""Query and retrieve as SCU: what another archive has, and having it sent (PS3.4 C.4.1, C.4.2)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pydicom import Dataset

from dicomsvc.dimse.channel import AcceptedContext, Message
from dicomsvc.dimse.commands import (
    AFFECTED_SOP_CLASS_UID,
    C_FIND_RQ,
    C_MOVE_RQ,
    COMPLETED_SUBOPERATIONS,
    FAILED_SUBOPERATIONS,
    MOVE_DESTINATION,
    PENDING,
    SUCCESS,
    WARNING_SUBOPERATIONS,
    encode_request,
)
from dicomsvc.dimse.contexts import MESSAGE_SYNTAXES
from dicomsvc.dimse.data_set import LARGEST_DATA_SET_BYTES, decode_data_set
from dicomsvc.dimse.failures import ConnectionEnded, ProtocolViolation
from dicomsvc.dimse.information_models import PATIENT_ROOT_FIND, STUDY_ROOT_FIND, STUDY_ROOT_MOVE
from dicomsvc.dimse.pdu import ProposedContext
from dicomsvc.dimse.requestor import Association, Peer
from dicomsvc.dimse.session import read_encoded
from dicomsvc.errors import PeerFailure

_MESSAGE_ID: Final = 1
_PENDING_WITH_UNSUPPORTED_KEYS: Final = 0xFF01


@dataclass(frozen=True, slots=True)
class Moved:
    """How a C-MOVE ended: its final status and the counts of its sub-operations."""

    status: int
    comment: str
    completed: int
    failed: int
    warnings: int

    @property
    def ok(self) -> bool:
        """Whether every instance was stored."""
        return self.status == SUCCESS and not self.failed


def find(peer: Peer, keys: Dataset) -> Iterator[Dataset]:
    """Yield what a peer finds; ``keys`` has the level, and the attributes that are matched and asked for.

    At the level PATIENT the Patient Root model is used, else Study Root.

    Raises
    ------
    PeerFailure
        When the peer cannot be reached, does not serve queries, breaks off, or ends with a failure.
    """
    model = PATIENT_ROOT_FIND if keys.QueryRetrieveLevel == "PATIENT" else STUDY_ROOT_FIND
    with Association(peer, [ProposedContext(1, model, MESSAGE_SYNTAXES)]) as association:
        context = _context(association, peer, "queries")
        request = encode_request(C_FIND_RQ, _MESSAGE_ID, {AFFECTED_SOP_CLASS_UID: model})
        association.send(context, request, keys)
        while True:
            message = association.response(_MESSAGE_ID)
            status = message.command.status
            if status not in (PENDING, _PENDING_WITH_UNSUPPORTED_KEYS):
                break
            yield _identifier(association, message)
        if status != SUCCESS:
            raise PeerFailure(f"{peer.called_ae_title} ends the query with {status or 0:#06x} {_comment(message)}")


def move(peer: Peer, keys: Dataset, destination_ae_title: str) -> Moved:
    """Have a peer send what ``keys`` names to an application entity that it knows; wait for the end.

    Raises
    ------
    PeerFailure
        When the peer cannot be reached, does not serve retrievals, or breaks off.
    """
    with Association(peer, [ProposedContext(1, STUDY_ROOT_MOVE, MESSAGE_SYNTAXES)]) as association:
        context = _context(association, peer, "retrievals")
        elements: dict[int, int | str] = {
            AFFECTED_SOP_CLASS_UID: STUDY_ROOT_MOVE,
            MOVE_DESTINATION: destination_ae_title,
        }
        association.send(context, encode_request(C_MOVE_RQ, _MESSAGE_ID, elements), keys)
        while True:
            message = association.response(_MESSAGE_ID)
            if message.command.status != PENDING:
                return _moved(message)


def _context(association: Association, peer: Peer, served: str) -> AcceptedContext:
    context = next(iter(association.contexts.values()), None)
    if context is None:
        raise PeerFailure(f"{peer.host}:{peer.port} does not serve {served}")
    return context


def _identifier(association: Association, message: Message) -> Dataset:
    try:
        encoded = read_encoded(association.channel, LARGEST_DATA_SET_BYTES)
    except (ConnectionEnded, ProtocolViolation) as error:
        raise PeerFailure(f"the peer broke off within a response: {error}") from error
    return decode_data_set(encoded, message.context.transfer_syntax)


def _moved(message: Message) -> Moved:
    command = message.command
    return Moved(
        command.status or 0,
        _comment(message),
        command.number(COMPLETED_SUBOPERATIONS) or 0,
        command.number(FAILED_SUBOPERATIONS) or 0,
        command.number(WARNING_SUBOPERATIONS) or 0,
    )


def _comment(message: Message) -> str:
    # A peer's words: harmless in a log or terminal.
    return "".join(character if character.isprintable() else "?" for character in message.command.error_comment)
