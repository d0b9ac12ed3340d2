"""Retrieval by C-GET as SCU: instances come on the association that asks for them (PS3.4 C.4.3, PS3.7 9.1.3).

A peer need not know this node as a move destination, nor reach it. What comes is taken by the handler of C-STORE
requests, as if the peer had sent it.
"""

from dataclasses import replace
from typing import Final

from pydicom import Dataset

from dicomsvc.dimse.channel import Message
from dicomsvc.dimse.commands import AFFECTED_SOP_CLASS_UID, C_GET_RQ, C_STORE_RQ, PENDING, RESPONSE, encode_request
from dicomsvc.dimse.contexts import MESSAGE_SYNTAXES
from dicomsvc.dimse.counters import Counters
from dicomsvc.dimse.failures import ConnectionEnded, ProtocolViolation
from dicomsvc.dimse.information_models import STUDY_ROOT_GET
from dicomsvc.dimse.pdu import UNEXPECTED_PDU, ProposedContext, RoleSelection
from dicomsvc.dimse.proposals import sop_classes_of, storage_contexts
from dicomsvc.dimse.querying import Progress, Retrieved, context_of, told_progress
from dicomsvc.dimse.requestor import Association, Peer
from dicomsvc.dimse.services import Handler
from dicomsvc.dimse.session import Session, Wanted
from dicomsvc.errors import PeerFailure
from dicomsvc.store import Store

_MESSAGE_ID: Final = 1


def get(
    peer: Peer,
    keys: Dataset,
    store: Store,
    store_instance: Handler,
    *,
    progress: Progress = lambda done, total: None,
) -> Retrieved:
    """Have a peer send what ``keys`` names over an association of this node's own, and store it; wait for the end.

    The counts of the result are of instances that came: what the peer says it has sent, and did not, has failed.

    Parameters
    ----------
    keys
        Query/Retrieve Level (STUDY, SERIES or IMAGE) and the unique keys down to it.
    store_instance
        Answers the peer's C-STORE requests.

    Raises
    ------
    PeerFailure
        When the peer cannot be reached, does not serve C-GET, does not let this node be the SCP of Storage, or breaks
        off; instances that were acknowledged before stay.
    """
    sop_classes = sop_classes_of(peer, keys)
    proposed = (ProposedContext(1, STUDY_ROOT_GET, MESSAGE_SYNTAXES), *storage_contexts(sop_classes))
    roles = [RoleSelection(sop_class, scu=False, scp=True) for sop_class in sop_classes]
    with Association(peer, proposed, roles=roles) as association:
        context = context_of(association, STUDY_ROOT_GET, peer, "retrievals by C-GET")
        if not any(each.requestor_is_scp for each in association.contexts.values()):
            raise PeerFailure(f"{peer.host}:{peer.port} sends nothing by C-GET: it refuses this node as SCP of Storage")
        session = Session(
            association.channel,
            store,
            Counters(),
            peer.called_ae_title,
            association.address,
            wanted=_wanted(keys),
        )
        association.send(context, encode_request(C_GET_RQ, _MESSAGE_ID, {AFFECTED_SOP_CLASS_UID: STUDY_ROOT_GET}), keys)
        return _Retrieval(session, store_instance, progress).carry_out()


def _wanted(keys: Dataset) -> Wanted:
    instances = (keys.SOPInstanceUID,) if keys.QueryRetrieveLevel == "IMAGE" else ()
    return Wanted(keys.StudyInstanceUID, frozenset(instances))


class _Retrieval:
    """The peer's sub-operations and responses, until the final one."""

    def __init__(self, session: Session, store_instance: Handler, progress: Progress) -> None:
        self._session = session
        self._store_instance = store_instance
        self._progress = progress
        self._total = 0

    def carry_out(self) -> Retrieved:
        try:
            while True:
                message = self._next()
                field = message.command.command_field
                if field == C_STORE_RQ:
                    self._store_instance(self._session, message)
                elif field != C_GET_RQ | RESPONSE or message.command.message_id_being_responded_to != _MESSAGE_ID:
                    raise ProtocolViolation("neither a sub-operation nor a response", UNEXPECTED_PDU)
                elif message.command.status == PENDING:
                    _, self._total = told_progress(message)
                else:
                    return self._result(Retrieved.told(message))
                self._tell()
        except (ConnectionEnded, ProtocolViolation) as error:
            stored = self._session.counters.snapshot().stored
            raise PeerFailure(f"the retrieval broke off: {error}; {stored} instances were stored before") from error

    def _next(self) -> Message:
        message = self._session.channel.receive()
        if message is None:
            raise ConnectionEnded("the peer released the association")
        return message

    def _tell(self) -> None:
        counts = self._session.counters.snapshot()
        done = counts.stored + counts.failed.total()
        self._progress(done, max(done, self._total))

    def _result(self, told: Retrieved) -> Retrieved:
        counts = self._session.counters.snapshot()
        never_came = max(0, told.completed - counts.stored)
        return replace(
            told,
            completed=counts.stored - counts.stored_with_warnings,
            failed=max(told.failed, counts.failed.total()) + never_came,
            warnings=counts.stored_with_warnings,
        )
