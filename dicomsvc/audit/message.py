"""An audit message and its XML (PS3.15 A.5.1.1): the parts of the schema, by the schema's names."""

import base64
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

from dicomsvc.audit.codes import Code

# What XML 1.0 cannot hold (2.2): most control characters, lone surrogates.
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Action(StrEnum):
    """EventActionCode."""

    CREATE = "C"
    READ = "R"
    UPDATE = "U"
    DELETE = "D"
    EXECUTE = "E"


class Outcome(IntEnum):
    """EventOutcomeIndicator."""

    SUCCESS = 0
    MINOR_FAILURE = 4
    SERIOUS_FAILURE = 8
    MAJOR_FAILURE = 12


class ObjectType(IntEnum):
    """ParticipantObjectTypeCode."""

    PERSON = 1
    SYSTEM = 2


class ObjectRole(IntEnum):
    """ParticipantObjectTypeCodeRole (PS3.15 A.5.2.6)."""

    PATIENT = 1
    REPORT = 3
    SECURITY_RESOURCE = 13
    QUERY = 24


@dataclass(frozen=True, slots=True)
class ActiveParticipant:
    """Who took part. ``address``: an IP address or a host's name."""

    user_id: str
    is_requestor: bool = False
    role: Code | None = None
    alternative_user_id: str = ""
    address: str = ""
    medium: Code | None = None


@dataclass(frozen=True, slots=True)
class ParticipantObject:
    """What it happened to. ``classes``: numbers of instances by SOP Class UID; ``instances``: some of their UIDs."""

    object_id: str
    id_type: Code
    type_code: ObjectType
    role: ObjectRole
    name: str = ""
    query: bytes | None = None
    details: tuple[tuple[str, bytes], ...] = ()
    accession_number: str = ""
    classes: Mapping[str, int] = field(default_factory=dict)
    instances: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    anonymized: bool | None = None


@dataclass(frozen=True, slots=True)
class AuditSource:
    """The system that reports: AuditSourceIdentification."""

    source_id: str
    site: str | None = None


@dataclass(frozen=True, slots=True)
class AuditMessage:
    event: Code
    action: Action
    at: datetime
    participants: tuple[ActiveParticipant, ...]
    objects: tuple[ParticipantObject, ...] = ()
    outcome: Outcome = Outcome.SUCCESS
    type_code: Code | None = None
    description: str = ""


def write_xml(message: AuditMessage, source: AuditSource) -> str:
    """Return the message as XML without a declaration, on one line."""
    root = Element("AuditMessage")
    event = SubElement(
        root,
        "EventIdentification",
        EventActionCode=message.action.value,
        EventDateTime=message.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        EventOutcomeIndicator=str(int(message.outcome)),
    )
    _code(event, "EventID", message.event)
    if message.type_code is not None:
        _code(event, "EventTypeCode", message.type_code)
    if message.description:
        SubElement(event, "EventOutcomeDescription").text = clean(message.description)
    for participant in message.participants:
        _participant(root, participant)
    identification = SubElement(root, "AuditSourceIdentification", AuditSourceID=clean(source.source_id))
    if source.site:
        identification.set("AuditEnterpriseSiteID", clean(source.site))
    # Application server process (PS3.15 A.5.1.2.1).
    SubElement(identification, "AuditSourceTypeCode", {"csd-code": "4"})
    for thing in message.objects:
        _object(root, thing)
    return tostring(root, encoding="unicode")


def clean(text: str) -> str:
    """Return a text from anywhere without what XML cannot hold."""
    return _NOT_XML.sub("\ufffd", text)


def _code(parent: Element, name: str, code: Code) -> None:
    SubElement(
        parent, name, {"csd-code": code.value, "codeSystemName": code.scheme, "originalText": clean(code.meaning)}
    )


def _participant(root: Element, participant: ActiveParticipant) -> None:
    element = SubElement(
        root,
        "ActiveParticipant",
        UserID=clean(participant.user_id),
        UserIsRequestor="true" if participant.is_requestor else "false",
    )
    if participant.alternative_user_id:
        element.set("AlternativeUserID", clean(participant.alternative_user_id))
    if participant.address:
        element.set("NetworkAccessPointID", clean(participant.address))
        element.set("NetworkAccessPointTypeCode", "2" if _is_ip_address(participant.address) else "1")
    if participant.role is not None:
        _code(element, "RoleIDCode", participant.role)
    if participant.medium is not None:
        _code(SubElement(element, "MediaIdentifier"), "MediaType", participant.medium)


def _object(root: Element, thing: ParticipantObject) -> None:
    element = SubElement(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=clean(thing.object_id),
        ParticipantObjectTypeCode=str(int(thing.type_code)),
        ParticipantObjectTypeCodeRole=str(int(thing.role)),
    )
    _code(element, "ParticipantObjectIDTypeCode", thing.id_type)
    # The schema wants a name or a query; the patient's name is none of the trail's business.
    if thing.query is not None:
        SubElement(element, "ParticipantObjectQuery").text = _base64(thing.query)
    else:
        SubElement(element, "ParticipantObjectName").text = clean(thing.name)
    for kind, value in thing.details:
        SubElement(element, "ParticipantObjectDetail", type=clean(kind), value=_base64(value))
    # With any of these there are SOP classes (PS3.15 A.5.2).
    if thing.classes:
        _describe(SubElement(element, "ParticipantObjectDescription"), thing)


def _describe(description: Element, thing: ParticipantObject) -> None:
    if thing.accession_number:
        SubElement(description, "Accession", Number=clean(thing.accession_number))
    for uid, count in sorted(thing.classes.items()):
        element = SubElement(description, "SOPClass", NumberOfInstances=str(count))
        if uid:
            element.set("UID", clean(uid))
        for instance in thing.instances.get(uid, ()):
            SubElement(element, "Instance", UID=clean(instance))
    if thing.anonymized is not None:
        SubElement(description, "Anonymized").text = "true" if thing.anonymized else "false"


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _is_ip_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
