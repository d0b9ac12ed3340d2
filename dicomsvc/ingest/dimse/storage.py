"""C-STORE: a data set is spooled as it arrives, and acknowledged once it is durable (PS3.4 B, PS3.7 9.1.1).

Peers send on associations of theirs; or on one of ours, as sub-operations of a C-GET (PS3.4 C.4.3).
"""

import logging
from typing import Final

from dicomsvc.dicom.uids import is_valid_uid
from dicomsvc.dimse.audited import record_refusal
from dicomsvc.dimse.channel import Message
from dicomsvc.dimse.commands import SUCCESS
from dicomsvc.dimse.failures import ConnectionEnded, ProtocolViolation
from dicomsvc.dimse.session import Session
from dicomsvc.errors import DicomsvcError, InvalidInstance, NotAllowed, NotParseable, UnsupportedInstance
from dicomsvc.ingest.dimse.file_meta import part10_head
from dicomsvc.ingest.dimse.overlap import OverlappedWriter
from dicomsvc.logs import places
from dicomsvc.store import Source, SpoolFile, Stored

_log = logging.getLogger(__name__)

STORED_WITH_FAULTS: Final = 0xB007
"""Stored, though the data set does not match its SOP class in all (PS3.4 B.2.3)."""


def store_instance(session: Session, message: Message) -> None:
    """Answer a C-STORE.

    When something fails the rest of the data set is still read (and dropped), so that the sender gets a status and
    can go on with its next instance.
    """
    status, comment = _status_of(session, message)
    for _ in session.channel.fragments():
        pass
    session.respond(message, status, comment)


def _status_of(session: Session, message: Message) -> tuple[int, str]:
    try:
        stored = _receive_and_add(session, message)
    except (ConnectionEnded, ProtocolViolation):
        raise
    except DicomsvcError as error:
        _log.warning("C-STORE refused with %#06x: %s", error.dimse_status, error.message)
        session.counters.failed(error.dimse_status)
        record_refusal(session, message, error.dimse_status)
        return error.dimse_status, error.message
    except Exception as error:  # noqa: BLE001 - the border of the DIMSE handler: a peer must get a status whatever happens
        _log.error("C-STORE failed unexpectedly\n%s", places(error))
        session.counters.failed(DicomsvcError.dimse_status)
        record_refusal(session, message, DicomsvcError.dimse_status)
        return DicomsvcError.dimse_status, "internal error"
    session.counters.stored(with_warnings=bool(stored.warnings))
    if stored.warnings:
        return STORED_WITH_FAULTS, stored.warnings[0]
    return SUCCESS, ""


def _receive_and_add(session: Session, message: Message) -> Stored:
    _require_acceptable(message)
    _require_wanted(session, message)
    with session.store.spool() as spooled:
        _receive(session, message, spooled)
        source = Source(kind="dimse", who=session.calling_ae_title, address=session.peer_address)
        study = session.wanted.study_instance_uid if session.wanted is not None else None
        stored = session.store.add(spooled, source, study_instance_uid=study)
    _log.debug("stored %s", stored.sop_instance_uid)
    return stored


def _require_acceptable(message: Message) -> None:
    command = message.command
    if not (is_valid_uid(command.affected_sop_class_uid) and is_valid_uid(command.affected_sop_instance_uid)):
        raise InvalidInstance("the C-STORE request has no valid SOP Class UID and SOP Instance UID")
    if command.affected_sop_class_uid != message.context.abstract_syntax:
        raise UnsupportedInstance("the C-STORE request's SOP Class UID is not its presentation context's")
    if not command.has_data_set:
        raise NotParseable("the C-STORE request has no data set")


def _require_wanted(session: Session, message: Message) -> None:
    wanted = session.wanted
    if wanted is None:
        return
    if not message.context.requestor_is_scp:
        raise UnsupportedInstance("the presentation context is none in which this node is the SCP of Storage")
    if not wanted.names(message.command.affected_sop_instance_uid):
        raise NotAllowed(f"instance {message.command.affected_sop_instance_uid} was not asked for")


def _receive(session: Session, message: Message, spooled: SpoolFile) -> None:
    # The request's UIDs stand in the File Meta Information; the store compares them with the data set's.
    command, context = message.command, message.context
    spooled.write(
        part10_head(
            sop_class_uid=command.affected_sop_class_uid,
            sop_instance_uid=command.affected_sop_instance_uid,
            transfer_syntax_uid=context.transfer_syntax,
            source_ae_title=session.calling_ae_title,
        )
    )
    with OverlappedWriter(spooled) as writer:
        for fragment in session.channel.fragments():
            writer.write(fragment)
        writer.finish()
