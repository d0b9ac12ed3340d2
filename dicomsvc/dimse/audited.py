"""Events of the DICOM service for the audit trail, from the sessions in which they happen (PS3.15 A.5.3)."""

from pydicom import Dataset
from sqlalchemy import Engine

from dicomsvc.audit import InstancesTransferred, Outcome, Query, SecurityAlert, Share, application_entity, record
from dicomsvc.audit.parties import Party
from dicomsvc.audit.transfers import Transfer
from dicomsvc.dicom.uids import is_valid_uid
from dicomsvc.dimse.channel import Message
from dicomsvc.dimse.data_set import encode_data_set
from dicomsvc.dimse.peers import KnownPeer
from dicomsvc.dimse.session import Session

_SUBJECT = "urn:dicomsvc:dimse"


def caller(session: Session) -> Party:
    """Return who called."""
    return application_entity(session.calling_ae_title, session.peer_address)


def record_query(session: Session, message: Message, identifier: Dataset) -> None:
    """Record a C-FIND with its Identifier."""
    syntax = message.context.transfer_syntax
    query = encode_data_set(identifier, syntax)
    event = Query(user=caller(session), subject=message.context.abstract_syntax, query=query, transfer_syntax=syntax)
    record(session.store.engine, event)


def record_refusal(session: Session, message: Message, status: int) -> None:
    """Record an instance that was sent and not stored."""
    command = message.command
    sop_class_uid, sop_instance_uid = command.affected_sop_class_uid, command.affected_sop_instance_uid
    valid = is_valid_uid(sop_class_uid) and is_valid_uid(sop_instance_uid)
    share = Share("", None, {sop_class_uid: 1}, {sop_class_uid: (sop_instance_uid,)}) if valid else Share("")
    event = InstancesTransferred(
        peer=caller(session),
        inbound=True,
        shares=(share,),
        outcome=Outcome.MINOR_FAILURE,
        description=f"C-STORE refused with status {status:#06x}",
    )
    record(session.store.engine, event)


def record_forbidden(session: Session, message: Message) -> None:
    """Record a request of a peer for what it may not do."""
    event = SecurityAlert(
        kind="UseOfRestrictedFunction",
        subject=_SUBJECT,
        performer=caller(session),
        description=f"command {message.command.command_field:#06x} is not allowed to this peer",
        outcome=Outcome.MINOR_FAILURE,
    )
    record(session.store.engine, event)


def record_rejection(engine: Engine, ae_title: str, address: str, why: str) -> None:
    """Record an association that was rejected, or (without a title) a TLS handshake that failed."""
    event = SecurityAlert(
        kind="NodeAuthentication",
        subject=_SUBJECT,
        performer=application_entity(ae_title, address) if ae_title else Party(address, address),
        description=why,
        outcome=Outcome.MINOR_FAILURE,
    )
    record(engine, event)


def retrieval(session: Session) -> Transfer:
    """Return the transfer of a C-GET: to the caller, who asked for it."""
    anonymized = True if session.peer is not None and session.peer.deidentify is not None else None
    return Transfer(session.store.engine, caller(session), pulled=True, anonymized=anonymized)


def moved_to(session: Session, destination: KnownPeer) -> Transfer:
    """Return the transfer of a C-MOVE: to the destination, for the caller."""
    peer = application_entity(destination.ae_title, destination.host or "")
    anonymized = True if destination.deidentify is not None else None
    return Transfer(session.store.engine, peer, requestor=caller(session), anonymized=anonymized)
