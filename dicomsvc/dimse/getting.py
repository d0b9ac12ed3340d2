"""Retrieval by C-GET as SCU: instances come on the association that asks for them (PS3.4 C.4.3, PS3.7 9.1.3).

A peer need not know this node as a move destination, nor reach it. What comes is taken by the handler of C-STORE
requests, as if the peer had sent it.

Some peers choose the presentation context of an instance by its SOP class alone, and then cannot send what is stored in
another transfer syntax. What a peer says it could not send is therefore asked for once more, in one syntax after the
other.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from pydicom import Dataset

from dicomsvc.dimse.channel import Message
from dicomsvc.dimse.commands import (
    AFFECTED_SOP_CLASS_UID,
    C_GET_RQ,
    C_STORE_RQ,
    PENDING,
    RESPONSE,
    SUCCESS,
    encode_request,
)
from dicomsvc.dimse.contexts import MESSAGE_SYNTAXES, STORED_SYNTAXES
from dicomsvc.dimse.counters import Counters
from dicomsvc.dimse.data_set import LARGEST_DATA_SET_BYTES, decode_data_set
from dicomsvc.dimse.failures import ConnectionEnded, ProtocolViolation
from dicomsvc.dimse.holdings import series_of, sop_classes_of, uids_in
from dicomsvc.dimse.information_models import STUDY_ROOT_GET
from dicomsvc.dimse.pdu import UNEXPECTED_PDU, ProposedContext, RoleSelection
from dicomsvc.dimse.proposals import contexts_in, storage_contexts
from dicomsvc.dimse.querying import FAILURES_OR_WARNINGS, Progress, Retrieved, context_of, told_progress
from dicomsvc.dimse.requestor import Association, Peer
from dicomsvc.dimse.services import Handler
from dicomsvc.dimse.session import Session, Wanted, read_encoded
from dicomsvc.errors import DicomsvcError, PeerFailure
from dicomsvc.store import Store

_log = logging.getLogger(__name__)

_MESSAGE_ID: Final = 1
_MOST_MISSING: Final = 1000


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
    return _Retrieval(peer, keys, store, store_instance, progress).carry_out()


class _Retrieval:
    """What has come so far, over one association and perhaps more."""

    def __init__(self, peer: Peer, keys: Dataset, store: Store, store_instance: Handler, progress: Progress) -> None:
        self._peer = peer
        self._keys = keys
        self._store = store
        self._store_instance = store_instance
        self._progress = progress
        self._counters = Counters()
        self._total = 0
        self._refused: set[str] = set()
        self._missing: dict[str, None] = {}

    def carry_out(self) -> Retrieved:
        sop_classes = sop_classes_of(self._peer, self._keys)
        proposed = storage_contexts(sop_classes)
        with self._associated(sop_classes, proposed) as association:
            told, missing = self._ask(association, self._keys)
            accepted = {context.context_id for context in association.contexts.values()}
        result = self._counted(told)
        self._missing = dict.fromkeys(missing)
        if missing:
            usable = {syntax for each in proposed if each.context_id in accepted for syntax in each.transfer_syntaxes}
            # Compressed ones first: a peer that can decompress is to do that only when nothing else brings it across.
            self._ask_again(sop_classes, [syntax for syntax in STORED_SYNTAXES if syntax in usable])
        return self._with_what_came_later(result, len(missing) - len(self._missing))

    def _associated(self, sop_classes: Sequence[str], contexts: Sequence[ProposedContext]) -> Association:
        roles = [RoleSelection(sop_class, scu=False, scp=True) for sop_class in sop_classes]
        return Association(self._peer, (ProposedContext(1, STUDY_ROOT_GET, MESSAGE_SYNTAXES), *contexts), roles=roles)

    def _ask(self, association: Association, keys: Dataset) -> tuple[Retrieved, Sequence[str]]:
        """Carry out one C-GET; return what its final response says, and which instances could not be sent."""
        context = context_of(association, STUDY_ROOT_GET, self._peer, "retrievals by C-GET")
        if not _is_scp(association):
            where = f"{self._peer.host}:{self._peer.port}"
            raise PeerFailure(f"{where} sends nothing by C-GET: it refuses this node as SCP of Storage")
        session = Session(
            association.channel,
            self._store,
            self._counters,
            self._peer.called_ae_title,
            association.address,
            wanted=_wanted(keys),
        )
        association.send(context, encode_request(C_GET_RQ, _MESSAGE_ID, {AFFECTED_SOP_CLASS_UID: STUDY_ROOT_GET}), keys)
        try:
            return self._take(session)
        except (ConnectionEnded, ProtocolViolation) as error:
            stored = self._counters.snapshot().stored
            raise PeerFailure(f"the retrieval broke off: {error}; {stored} instances were stored before") from error

    def _take(self, session: Session) -> tuple[Retrieved, Sequence[str]]:
        """Take the peer's sub-operations and responses, until the final one."""
        while True:
            message = session.channel.receive()
            if message is None:
                raise ConnectionEnded("the peer released the association")
            field = message.command.command_field
            if field == C_STORE_RQ:
                self._store_one(session, message)
            elif field != C_GET_RQ | RESPONSE or message.command.message_id_being_responded_to != _MESSAGE_ID:
                raise ProtocolViolation("neither a sub-operation nor a response", UNEXPECTED_PDU)
            elif message.command.status == PENDING:
                self._total = max(self._total, told_progress(message)[1])
            else:
                return Retrieved.told(message), self._listed(session, message)
            self._tell()

    def _store_one(self, session: Session, message: Message) -> None:
        refused = self._counters.snapshot().failed.total()
        self._store_instance(session, message)
        uid = message.command.affected_sop_instance_uid
        if self._counters.snapshot().failed.total() == refused:
            self._missing.pop(uid, None)
        elif len(self._refused) < _MOST_MISSING:
            self._refused.add(uid)

    def _listed(self, session: Session, message: Message) -> Sequence[str]:
        """Return the instances that the peer lists as failed, without those that this node refused."""
        if not message.command.has_data_set:
            return ()
        try:
            encoded = read_encoded(session.channel, LARGEST_DATA_SET_BYTES)
            identifier = decode_data_set(encoded, message.context.transfer_syntax)
        except DicomsvcError as error:
            _log.info("the list of what %s could not send is none: %s", self._peer.called_ae_title, error)
            return ()
        listed = dict.fromkeys(uids_in(identifier, "FailedSOPInstanceUIDList"))
        return [uid for uid in listed if uid not in self._refused][:_MOST_MISSING]

    def _ask_again(self, sop_classes: Sequence[str], syntaxes: Sequence[str]) -> None:
        """Ask for what is missing, in one transfer syntax after the other."""
        places = series_of(self._peer, self._keys, tuple(self._missing))
        for syntax in syntaxes:
            wanted = [(series, [uid for uid in places[series] if uid in self._missing]) for series in places]
            wanted = [(series, uids) for series, uids in wanted if uids]
            if not wanted:
                return
            _log.info("%d instances are asked for once more, in %s", len(self._missing), syntax)
            try:
                with self._associated(sop_classes, contexts_in(sop_classes, syntax)) as association:
                    for series, uids in wanted if _is_scp(association) else ():
                        self._ask(association, _instances(self._keys, series, uids))
            except PeerFailure as error:
                _log.info("%s sends no more: %s", self._peer.called_ae_title, error)
                return

    def _tell(self) -> None:
        counts = self._counters.snapshot()
        done = counts.stored + counts.failed.total()
        self._progress(done, max(done, self._total))

    def _counted(self, told: Retrieved) -> Retrieved:
        counts = self._counters.snapshot()
        never_came = max(0, told.completed - counts.stored)
        return replace(told, failed=max(told.failed, counts.failed.total()) + never_came)

    def _with_what_came_later(self, first: Retrieved, later: int) -> Retrieved:
        counts = self._counters.snapshot()
        result = replace(
            first,
            completed=counts.stored - counts.stored_with_warnings,
            failed=first.failed - later,
            warnings=counts.stored_with_warnings,
        )
        if later and not result.failed:
            return replace(result, status=FAILURES_OR_WARNINGS if result.warnings else SUCCESS, comment="")
        return result


def _is_scp(association: Association) -> bool:
    """Whether the peer lets this node be the SCP of any Storage SOP class."""
    return any(context.requestor_is_scp for context in association.contexts.values())


def _wanted(keys: Dataset) -> Wanted:
    instances = keys.SOPInstanceUID if keys.QueryRetrieveLevel == "IMAGE" else ()
    return Wanted(keys.StudyInstanceUID, frozenset((instances,) if isinstance(instances, str) else instances))


def _instances(keys: Dataset, series_instance_uid: str, sop_instance_uids: Sequence[str]) -> Dataset:
    """Return the Identifier of these instances of the study in ``keys``."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "IMAGE"
    identifier.StudyInstanceUID, identifier.SeriesInstanceUID = keys.StudyInstanceUID, series_instance_uid
    identifier.SOPInstanceUID = list(sop_instance_uids)
    return identifier
