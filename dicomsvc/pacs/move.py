"""C-MOVE: instances go to a peer that this node knows (PS3.4 C.4.2)."""

import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from dicomsvc.config import Permission
from dicomsvc.dimse.audited import moved_to
from dicomsvc.dimse.channel import Message
from dicomsvc.dimse.commands import C_MOVE_RQ, MOVE_DESTINATION
from dicomsvc.dimse.contexts import MESSAGE_SYNTAXES, sending_contexts
from dicomsvc.dimse.failures import ConnectionEnded, MessageBroken
from dicomsvc.dimse.outgoing import Originator, Outgoing, send_instance
from dicomsvc.dimse.peers import KnownPeer, KnownPeers
from dicomsvc.dimse.requestor import Association, Peer
from dicomsvc.dimse.services import Service
from dicomsvc.dimse.session import Session
from dicomsvc.errors import DamagedFile, DicomsvcError, PeerFailure
from dicomsvc.pacs.border import answering
from dicomsvc.pacs.copies import Copies
from dicomsvc.pacs.models import MOVE_CLASSES
from dicomsvc.pacs.retrieval import carry_out, select
from dicomsvc.store import InstanceRecord

_log = logging.getLogger(__name__)

_MESSAGE_IDS: Final = 0xFFFF
_FRUITLESS: Final = 2
"""Associations in a row that brought no instance across, before the destination is given up."""


class DestinationUnknown(DicomsvcError):
    """The Move Destination is no peer of this node, or none that instances may be sent to."""

    dimse_status = 0xA801
    http_status = 404


def _move(session: Session, message: Message) -> None:
    identifier = session.read_data_set(message)
    peers = KnownPeers(session.store.engine, session.store.settings)
    known = _destination(peers, message.command.text(MOVE_DESTINATION))
    selected = select(session, identifier, message.context.abstract_syntax)
    originator = Originator(session.calling_ae_title, message.command.message_id)
    copies = Copies(session.store, known.deidentify)
    with (
        moved_to(session, known) as transfer,
        _Destination(peers.call(known), selected.contexts, originator, copies) as destination,
    ):
        carry_out(session, message, selected.keys, transfer.each(destination.store))


def _destination(peers: KnownPeers, ae_title: str) -> KnownPeer:
    known = peers.by_ae_title(ae_title)
    if known is None or known.host is None or not known.allows(Permission.MOVE_DESTINATION):
        raise DestinationUnknown("the move destination is no configured peer that may be one")
    return known


class _Destination:
    """The peer that instances are sent to: an association with it, made when the first one goes out.

    When it breaks, its instance has failed and the next one starts another.
    """

    def __init__(self, peer: Peer, contexts: Sequence[tuple[str, str]], originator: Originator, copies: Copies) -> None:
        self._peer = peer
        self._contexts = contexts
        self._originator = originator
        self._copies = copies
        self._association: Association | None = None
        self._sent = 0
        self._fruitless = 0

    def store(self, record: InstanceRecord) -> int | None:
        association = self._associated()
        with self._copies.of(record, association.syntaxes(record.sop_class_uid)) as file:
            return self._send(association, file)

    def _send(self, association: Association, file: Outgoing) -> int | None:
        context = association.contexts[file.context]
        message_id = self._sent % _MESSAGE_IDS + 1
        self._sent += 1
        try:
            send_instance(association.channel, context.context_id, file, message_id, originator=self._originator)
            status = association.response(message_id).command.status
        except MessageBroken as error:
            self._abort()
            raise (DamagedFile if error.damaged else PeerFailure)(str(error)) from error
        except (ConnectionEnded, PeerFailure) as error:
            self._abort()
            raise PeerFailure(f"the association with the destination broke: {error}") from error
        self._fruitless = 0
        return status

    def _associated(self) -> Association:
        if self._association is None:
            if self._fruitless >= _FRUITLESS:
                raise PeerFailure("the destination was given up")
            self._fruitless += 1
            self._association = Association(self._peer, sending_contexts(self._contexts))
        return self._association

    def _abort(self) -> None:
        if self._association is not None:
            self._association.abort()
            self._association = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._association is not None:
            self._association.__exit__(kind, error, trace)


MOVE: Final = Service(
    C_MOVE_RQ,
    MOVE_CLASSES.__contains__,
    MESSAGE_SYNTAXES,
    answering("C-MOVE", _move),
    permission=Permission.RETRIEVE,
)
