"""C-GET: instances come back on the association that asks for them (PS3.4 C.4.3)."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import count
from typing import Final

from dicomsvc.config import Permission
from dicomsvc.dicom.uids import is_storage_class
from dicomsvc.dimse.audited import retrieval
from dicomsvc.dimse.channel import AcceptedContext, Message
from dicomsvc.dimse.commands import C_GET_RQ
from dicomsvc.dimse.contexts import MESSAGE_SYNTAXES
from dicomsvc.dimse.outgoing import send_instance
from dicomsvc.dimse.services import Service
from dicomsvc.dimse.session import Session
from dicomsvc.pacs.border import answering
from dicomsvc.pacs.copies import Copies
from dicomsvc.pacs.models import GET_CLASSES
from dicomsvc.pacs.retrieval import carry_out, select
from dicomsvc.store import InstanceRecord

_MESSAGE_IDS: Final = 0x10000


def _get(session: Session, message: Message) -> None:
    identifier = session.read_data_set(message)
    selected = select(session, identifier, message.context.abstract_syntax)
    with retrieval(session) as transfer:
        carry_out(session, message, selected.keys, transfer.each(_Requester(session).store))


class _Requester:
    """The peer as the SCP of Storage, in the presentation contexts for which it took that role (PS3.7 D.3.3.4)."""

    def __init__(self, session: Session) -> None:
        self._channel = session.channel
        self._copies = Copies(session.store, session.peer.deidentify if session.peer is not None else None)
        self._message_ids: Iterator[int] = count(1)
        self._contexts: dict[str, dict[str, AcceptedContext]] = defaultdict(dict)
        for context in session.channel.contexts.values():
            if context.requestor_is_scp:
                self._contexts[context.abstract_syntax][context.transfer_syntax] = context

    def store(self, record: InstanceRecord) -> int | None:
        contexts = self._contexts[record.sop_class_uid]
        message_id = next(self._message_ids) % _MESSAGE_IDS
        with self._copies.of(record, contexts) as file:
            send_instance(self._channel, contexts[file.transfer_syntax].context_id, file, message_id)
        return self._channel.response(message_id).command.status


GET: Final = Service(
    C_GET_RQ,
    GET_CLASSES.__contains__,
    MESSAGE_SYNTAXES,
    answering("C-GET", _get),
    peer_provides=is_storage_class,
    permission=Permission.RETRIEVE,
)
