"""Query and retrieve as SCU: what another archive has, and having it sent (PS3.4 C.4.1, C.4.2)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

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
    REMAINING_SUBOPERATIONS,
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
FAILURES_OR_WARNINGS: Final = 0xB000
_UNABLE_TO_PROCESS: Final = 0xC000
_DONE: Final = (COMPLETED_SUBOPERATIONS, FAILED_SUBOPERATIONS, WARNING_SUBOPERATIONS)

Progress = Callable[[int, int], None]
"""Called with the number of sub-operations that are done, and of all."""


@dataclass(frozen=True, slots=True)
class Retrieved:
    """How a retrieval ended: its final status and the counts of its sub-operations."""

    status: int
    comment: str
    completed: int
    failed: int
    warnings: int

    @property
    def ok(self) -> bool:
        """Whether every instance was stored; some perhaps with a warning (PS3.4 C.4.2.1.5)."""
        if self.failed:
            return False
        return self.status == SUCCESS or (self.status == FAILURES_OR_WARNINGS and self.warnings > 0)

    @classmethod
    def told(cls, message: Message) -> Self:
        """Return what a final response says."""
        number, status = message.command.number, message.command.status
        return cls(
            _UNABLE_TO_PROCESS if status is None else status,
            _comment(message),
            number(COMPLETED_SUBOPERATIONS) or 0,
            number(FAILED_SUBOPERATIONS) or 0,
            number(WARNING_SUBOPERATIONS) or 0,
        )


class Queries:
    """Queries of one peer over one association, as a context manager; ``model`` is the information model's C-FIND.

    Raises
    ------
    PeerFailure
        When the peer cannot be reached or does not serve queries.
    """

    def __init__(self, peer: Peer, model: str) -> None:
        self._peer = peer
        self._model = model
        self._association = Association(peer, [ProposedContext(1, model, MESSAGE_SYNTAXES)])

    def find(self, keys: Dataset) -> Iterator[Dataset]:
        """Yield what the peer finds.

        Raises
        ------
        PeerFailure
            When it breaks off, or ends with a failure.
        NotParseable, TooLarge
            When a response is none.
        """
        association = self._association
        context = context_of(association, self._model, self._peer, "queries")
        request = encode_request(C_FIND_RQ, _MESSAGE_ID, {AFFECTED_SOP_CLASS_UID: self._model})
        association.send(context, request, keys)
        while True:
            message = association.response(_MESSAGE_ID)
            status = message.command.status
            if status not in (PENDING, _PENDING_WITH_UNSUPPORTED_KEYS):
                break
            yield _identifier(association, message)
        if status != SUCCESS:
            title = self._peer.called_ae_title
            raise PeerFailure(f"{title} ends the query with {status or 0:#06x} {_comment(message)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._association.__exit__(kind, error, trace)


def find(peer: Peer, keys: Dataset) -> Iterator[Dataset]:
    """Yield what a peer finds; ``keys`` has the level, and the attributes that are matched and asked for.

    At the level PATIENT the Patient Root model is used, else Study Root.

    Raises
    ------
    PeerFailure
        When the peer cannot be reached, does not serve queries, breaks off, or ends with a failure.
    """
    model = PATIENT_ROOT_FIND if keys.QueryRetrieveLevel == "PATIENT" else STUDY_ROOT_FIND
    with Queries(peer, model) as queries:
        yield from queries.find(keys)


def move(
    peer: Peer, keys: Dataset, destination_ae_title: str, *, progress: Progress = lambda done, total: None
) -> Retrieved:
    """Have a peer send what ``keys`` names to an application entity that it knows; wait for the end.

    Raises
    ------
    PeerFailure
        When the peer cannot be reached, does not serve retrievals, or breaks off.
    """
    with Association(peer, [ProposedContext(1, STUDY_ROOT_MOVE, MESSAGE_SYNTAXES)]) as association:
        context = context_of(association, STUDY_ROOT_MOVE, peer, "retrievals by C-MOVE")
        elements: dict[int, int | str] = {
            AFFECTED_SOP_CLASS_UID: STUDY_ROOT_MOVE,
            MOVE_DESTINATION: destination_ae_title,
        }
        association.send(context, encode_request(C_MOVE_RQ, _MESSAGE_ID, elements), keys)
        while True:
            message = association.response(_MESSAGE_ID)
            if message.command.status != PENDING:
                return Retrieved.told(message)
            progress(*told_progress(message))


def context_of(association: Association, sop_class_uid: str, peer: Peer, served: str) -> AcceptedContext:
    """Return a presentation context of a SOP class.

    Raises
    ------
    PeerFailure
        When the peer accepted none: what it does not serve is ``served``.
    """
    contexts = (context for (abstract, _), context in association.contexts.items() if abstract == sop_class_uid)
    context = next(contexts, None)
    if context is None:
        raise PeerFailure(f"{peer.host}:{peer.port} does not serve {served}")
    return context


def told_progress(message: Message) -> tuple[int, int]:
    """Return how many sub-operations are done and how many there are, as a pending response tells."""
    number = message.command.number
    done = sum(number(element) or 0 for element in _DONE)
    return done, done + (number(REMAINING_SUBOPERATIONS) or 0)


def _identifier(association: Association, message: Message) -> Dataset:
    try:
        encoded = read_encoded(association.channel, LARGEST_DATA_SET_BYTES)
    except (ConnectionEnded, ProtocolViolation) as error:
        raise PeerFailure(f"the peer broke off within a response: {error}") from error
    return decode_data_set(encoded, message.context.transfer_syntax)


def _comment(message: Message) -> str:
    # A peer's words: harmless in a log or terminal.
    return "".join(character if character.isprintable() else "?" for character in message.command.error_comment)
