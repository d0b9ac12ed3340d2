"""The events of a storage node that an audit trail tells of (PS3.15 A.5.3), each a small value.

An event says what happened; `message` makes the message of it. Events that are alike but for their ``shares`` or
``times`` can be told as one, which `merged` does: a sender's thousand instances are one message per study.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import ClassVar, Final, Self

from dicomsvc.audit import codes
from dicomsvc.audit.codes import Code
from dicomsvc.audit.message import (
    Action,
    ActiveParticipant,
    AuditMessage,
    ObjectRole,
    ObjectType,
    Outcome,
    ParticipantObject,
)
from dicomsvc.audit.parties import Party, Share, patient

_LARGEST_QUERY_BYTES: Final = 16384


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(ABC):
    """What all events have. ``description`` is ours or a status; it holds nothing of a patient."""

    outcome: Outcome = Outcome.SUCCESS
    description: str = ""

    code: ClassVar[Code]

    @abstractmethod
    def message(self, at: datetime, node: Party) -> AuditMessage:
        """Return the message; ``node`` is this system."""

    def parties(self) -> tuple[Party, ...]:
        """Return whom the event names, this system apart; the first did it."""
        return ()

    def split(self) -> "Iterable[Event]":
        """Return an event for each study: a message tells of one patient (PS3.15 A.5.3.3, A.5.3.7, A.5.3.8)."""
        return (self,)

    def merged(self, other: Self) -> Self:
        """Return two events that differ in nothing but how often they happened as one."""
        return self

    def kernel(self) -> Hashable:
        """Return what must be equal for two events to be told as one."""
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class OnStudies(Event):
    """What events on instances have."""

    shares: tuple[Share, ...] = ()

    def shortened(self) -> Self:
        """Return the event without the instances' UIDs."""
        return replace(self, shares=tuple(replace(share, instances={}) for share in self.shares))

    def split(self) -> "Iterable[Event]":
        return (self,) if len(self.shares) < 2 else tuple(replace(self, shares=(share,)) for share in self.shares)

    def merged(self, other: Self) -> Self:
        joined = {share.study_instance_uid: share for share in self.shares}
        for share in other.shares:
            known = joined.get(share.study_instance_uid)
            joined[share.study_instance_uid] = share if known is None else known.joined(share)
        return replace(self, shares=tuple(joined.values()))

    def kernel(self) -> Hashable:
        return replace(self, shares=()), self.shares[0].study_instance_uid if self.shares else ""

    def _objects(self, *, anonymized: bool | None = None) -> tuple[ParticipantObject, ...]:
        return tuple(thing for share in self.shares for thing in share.objects(anonymized=anonymized)) or (
            patient(None),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginTransferring(OnStudies):
    """Instances begin to go to ``peer`` (PS3.15 A.5.3.3); ``requestor``: a third party that asked for it."""

    peer: Party
    requestor: Party | None = None
    code: ClassVar[Code] = codes.BEGIN_TRANSFERRING

    def message(self, at: datetime, node: Party) -> AuditMessage:
        taking_part = _transfer(node, self.peer, self.requestor, peer_asked=False)
        return AuditMessage(
            self.code, Action.EXECUTE, at, taking_part, self._objects(), self.outcome, None, self.description
        )

    def parties(self) -> tuple[Party, ...]:
        return (self.requestor, self.peer) if self.requestor else (self.peer,)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstancesTransferred(OnStudies):
    """Instances came from ``peer`` or went to it (PS3.15 A.5.3.7).

    Parameters
    ----------
    action
        Of what came in: created, or read, when all of it was here before. Read, of what went out.
    pulled
        The peer asked for what went to it (C-GET, WADO-RS).
    requestor
        A third party that asked (C-MOVE).
    anonymized
        What went was de-identified.
    """

    peer: Party
    inbound: bool
    action: Action = Action.READ
    pulled: bool = False
    requestor: Party | None = None
    anonymized: bool | None = None
    code: ClassVar[Code] = codes.INSTANCES_TRANSFERRED

    def message(self, at: datetime, node: Party) -> AuditMessage:
        taking_part = _transfer(node, self.peer, self.requestor, peer_asked=self.pulled)
        if self.inbound:
            taking_part = (
                self.peer.taking_part(codes.SOURCE, is_requestor=True),
                node.taking_part(codes.DESTINATION),
            )
        return AuditMessage(
            self.code,
            self.action,
            at,
            taking_part,
            self._objects(anonymized=self.anonymized),
            self.outcome,
            None,
            self.description,
        )

    def parties(self) -> tuple[Party, ...]:
        return (self.requestor, self.peer) if self.requestor else (self.peer,)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstancesAccessed(OnStudies):
    """Instances were looked at, made, changed or deleted here (PS3.15 A.5.3.6)."""

    user: Party
    action: Action = Action.READ
    code: ClassVar[Code] = codes.INSTANCES_ACCESSED

    def message(self, at: datetime, node: Party) -> AuditMessage:
        taking_part = (self.user.taking_part(is_requestor=True), node.taking_part())
        return AuditMessage(
            self.code, self.action, at, taking_part, self._objects(), self.outcome, None, self.description
        )

    def parties(self) -> tuple[Party, ...]:
        return (self.user,)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyDeleted(OnStudies):
    """A study was deleted with all its instances (PS3.15 A.5.3.8)."""

    user: Party
    code: ClassVar[Code] = codes.STUDY_DELETED

    def message(self, at: datetime, node: Party) -> AuditMessage:
        taking_part = (self.user.taking_part(is_requestor=True), node.taking_part())
        return AuditMessage(
            self.code, Action.DELETE, at, taking_part, self._objects(), self.outcome, None, self.description
        )

    def parties(self) -> tuple[Party, ...]:
        return (self.user,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Export(OnStudies):
    """Instances left the system other than to a peer (PS3.15 A.5.3.4); ``medium``: a URI of where they went."""

    user: Party
    medium: str
    anonymized: bool | None = None
    code: ClassVar[Code] = codes.EXPORT

    def message(self, at: datetime, node: Party) -> AuditMessage:
        taking_part = (
            self.user.taking_part(codes.SOURCE, is_requestor=True),
            node.taking_part(codes.SOURCE),
            Party(self.medium).taking_part(codes.DESTINATION_MEDIA, medium=codes.URI_MEDIUM),
        )
        objects = self._objects(anonymized=self.anonymized)
        return AuditMessage(self.code, Action.READ, at, taking_part, objects, self.outcome, None, self.description)

    def parties(self) -> tuple[Party, ...]:
        return (self.user,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Import(OnStudies):
    """Instances came in other than from a peer (PS3.15 A.5.3.5); ``medium``: a URI of where from."""

    user: Party
    medium: str
    code: ClassVar[Code] = codes.IMPORT

    def message(self, at: datetime, node: Party) -> AuditMessage:
        taking_part = (
            self.user.taking_part(codes.DESTINATION, is_requestor=True),
            node.taking_part(codes.DESTINATION),
            Party(self.medium).taking_part(codes.SOURCE_MEDIA, medium=codes.URI_MEDIUM),
        )
        return AuditMessage(
            self.code, Action.CREATE, at, taking_part, self._objects(), self.outcome, None, self.description
        )

    def parties(self) -> tuple[Party, ...]:
        return (self.user,)


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientRecord(OnStudies):
    """A pathology report was read, changed or signed (PS3.15 A.5.3.14); ``report`` is our number of it."""

    user: Party
    action: Action
    report: str = ""
    patient_id: str | None = None
    code: ClassVar[Code] = codes.PATIENT_RECORD

    def message(self, at: datetime, node: Party) -> AuditMessage:
        report = ParticipantObject(self.report, codes.REPORT_NUMBER, ObjectType.SYSTEM, ObjectRole.REPORT)
        objects = self._objects() if self.shares else (patient(self.patient_id),)
        taking_part = (self.user.taking_part(is_requestor=True), node.taking_part())
        return AuditMessage(
            self.code,
            self.action,
            at,
            taking_part,
            (*objects, report) if self.report else objects,
            self.outcome,
            None,
            self.description,
        )

    def parties(self) -> tuple[Party, ...]:
        return (self.user,)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRecord(Event):
    """An order was entered into the worklist, changed or deleted (PS3.15 A.5.3.13)."""

    user: Party
    action: Action
    patient_id: str | None = None
    code: ClassVar[Code] = codes.ORDER_RECORD

    def message(self, at: datetime, node: Party) -> AuditMessage:
        taking_part = (self.user.taking_part(is_requestor=True), node.taking_part())
        objects = (patient(self.patient_id),)
        return AuditMessage(self.code, self.action, at, taking_part, objects, self.outcome, None, self.description)

    def parties(self) -> tuple[Party, ...]:
        return (self.user,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query(Event):
    """A query was asked of this system (PS3.15 A.5.3.10).

    ``subject`` is the SOP class with ``transfer_syntax``, the one in which ``query`` is the Identifier; or a resource's
    path, of which ``query`` is the query string.
    """

    user: Party
    subject: str
    query: bytes
    transfer_syntax: str = ""
    code: ClassVar[Code] = codes.QUERY

    def message(self, at: datetime, node: Party) -> AuditMessage:
        details: tuple[tuple[str, bytes], ...] = (
            (("TransferSyntax", self.transfer_syntax.encode()),)
            if self.transfer_syntax
            else (("QueryEncoding", b"UTF-8"),)
        )
        asked = ParticipantObject(
            self.subject,
            codes.SOP_CLASS_UID if self.transfer_syntax else codes.SEARCH_CRITERIA,
            ObjectType.SYSTEM,
            ObjectRole.REPORT if self.transfer_syntax else ObjectRole.QUERY,
            query=self.query[:_LARGEST_QUERY_BYTES],
            details=details,
        )
        taking_part = (
            self.user.taking_part(codes.SOURCE, is_requestor=True),
            node.taking_part(codes.DESTINATION),
        )
        return AuditMessage(self.code, Action.EXECUTE, at, taking_part, (asked,), self.outcome, None, self.description)

    def parties(self) -> tuple[Party, ...]:
        return (self.user,)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counted(Event):
    times: int = 1

    def merged(self, other: Self) -> Self:
        return replace(self, times=self.times + other.times)

    def kernel(self) -> Hashable:
        return replace(self, times=0)

    def _told(self) -> str:
        return self.description if self.times < 2 else f"{self.description} ({self.times} times)".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityAlert(_Counted):
    """Something that touches security (PS3.15 A.5.3.11).

    ``kind`` is the keyword of a code of CID 403; ``subject`` a URI of what it is about. Success makes it a notice,
    minor and serious failures say that the system defended itself, a major one that it may not have.
    """

    kind: str
    subject: str
    performer: Party | None = None
    code: ClassVar[Code] = codes.SECURITY_ALERT

    def message(self, at: datetime, node: Party) -> AuditMessage:
        told = self._told()
        about = ParticipantObject(
            self.subject,
            codes.URI,
            ObjectType.SYSTEM,
            ObjectRole.SECURITY_RESOURCE,
            details=(("Alert Description", told.encode()),),
        )
        performing = () if self.performer is None else (self.performer.taking_part(),)
        taking_part = (node.taking_part(is_requestor=True), *performing)
        kind = codes.dcm(self.kind)
        return AuditMessage(self.code, Action.EXECUTE, at, taking_part, (about,), self.outcome, kind, told)

    def parties(self) -> tuple[Party, ...]:
        return () if self.performer is None else (self.performer,)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserAuthentication(_Counted):
    """Somebody logged in, or tried to (PS3.15 A.5.3.12)."""

    user: Party
    login: bool = True
    code: ClassVar[Code] = codes.USER_AUTHENTICATION

    def message(self, at: datetime, node: Party) -> AuditMessage:
        kind = codes.LOGIN if self.login else codes.LOGOUT
        taking_part = (self.user.taking_part(is_requestor=True), node.taking_part())
        return AuditMessage(self.code, Action.EXECUTE, at, taking_part, (), self.outcome, kind, self._told())

    def parties(self) -> tuple[Party, ...]:
        return (self.user,)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLogUsed(Event):
    """Somebody read the audit trail (PS3.15 A.5.3.2)."""

    user: Party
    trail: str
    code: ClassVar[Code] = codes.AUDIT_LOG_USED

    def message(self, at: datetime, node: Party) -> AuditMessage:
        log = ParticipantObject(
            self.trail, codes.URI, ObjectType.SYSTEM, ObjectRole.SECURITY_RESOURCE, name="Security Audit Log"
        )
        taking_part = (self.user.taking_part(is_requestor=True), node.taking_part())
        return AuditMessage(self.code, Action.READ, at, taking_part, (log,), self.outcome, None, self.description)

    def parties(self) -> tuple[Party, ...]:
        return (self.user,)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationActivity(Event):
    """A process of this system started or stopped (PS3.15 A.5.3.1); ``user_id`` of it names role, host and process."""

    process: Party
    started: bool
    code: ClassVar[Code] = codes.APPLICATION_ACTIVITY

    def message(self, at: datetime, node: Party) -> AuditMessage:
        kind = codes.APPLICATION_START if self.started else codes.APPLICATION_STOP
        taking_part = (self.process.taking_part(codes.APPLICATION),)
        return AuditMessage(self.code, Action.EXECUTE, at, taking_part, (), self.outcome, kind, self.description)

    def parties(self) -> tuple[Party, ...]:
        return (self.process,)


def _transfer(node: Party, peer: Party, requestor: Party | None, *, peer_asked: bool) -> tuple[ActiveParticipant, ...]:
    """Return who takes part in sending from this system; one of them asked for it (PS3.15 A.5.2)."""
    third = () if requestor is None else (requestor.taking_part(is_requestor=True),)
    return (
        node.taking_part(codes.SOURCE, is_requestor=requestor is None and not peer_asked),
        peer.taking_part(codes.DESTINATION, is_requestor=requestor is None and peer_asked),
        *third,
    )


EVENTS: Final[Mapping[str, type[Event]]] = {
    "application-activity": ApplicationActivity,
    "audit-log-used": AuditLogUsed,
    "begin-transferring": BeginTransferring,
    "instances-accessed": InstancesAccessed,
    "instances-transferred": InstancesTransferred,
    "study-deleted": StudyDeleted,
    "export": Export,
    "import": Import,
    "query": Query,
    "security-alert": SecurityAlert,
    "user-authentication": UserAuthentication,
    "order-record": OrderRecord,
    "patient-record": PatientRecord,
}
"""Kinds of events by the name that the journal and the trail have for them."""
NAMES: Final[Mapping[type[Event], str]] = {kind: name for name, kind in EVENTS.items()}
