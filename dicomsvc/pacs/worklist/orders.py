"""Orders out of HL7 v2 messages: OML^O21, OML^O33 and ORM^O01 (HL7 v2.5.1 4.4) as entries of the worklist.

An order is ORC with OBR, TQ1 and IPC behind it, and the specimens (SPM) and containers (SAC) that follow it, or in
OML^O33 go before it. Each container is an entry of its own; an order without one is one entry. Where a field is missing
nothing is guessed: there is no barcode, no station, no code.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from pydantic import ValidationError

from dicomsvc.dicom.uids import is_valid_uid
from dicomsvc.hl7.acknowledge import Condition, Objection
from dicomsvc.hl7.message import Message, Segment, moment
from dicomsvc.hl7.people import patient_identifier, person_name, provider_name
from dicomsvc.pacs.worklist.entry import EntryContent, Status, problems

_MOST_ORDERS: Final = 500
_MOST_SPECIMENS: Final = 64
_MOST_ENTRIES: Final = 1000


class Action(StrEnum):
    """What an order asks."""

    NEW = "new"
    CHANGE = "change"
    CANCEL = "cancel"
    STATUS = "status"


# HL7 table 0119: what is asked, and what the answer's ORC-1 says when it is done.
_CONTROLS: Final = {
    "NW": (Action.NEW, "OK"), "RO": (Action.NEW, "OK"), "PA": (Action.NEW, "OK"), "CH": (Action.NEW, "OK"),
    "XO": (Action.CHANGE, "XR"), "XX": (Action.CHANGE, "OK"), "SC": (Action.STATUS, "OK"),
    "CA": (Action.CANCEL, "CR"), "DC": (Action.CANCEL, "DR"), "RP": (Action.CANCEL, "RQ"),
    "OC": (Action.CANCEL, "OK"), "OD": (Action.CANCEL, "OK"),
}  # fmt: skip
# HL7 table 0038.
_STATUSES: Final = {
    "SC": Status.SCHEDULED, "IP": Status.STARTED, "CM": Status.COMPLETED, "CA": Status.CANCELLED,
    "DC": Status.CANCELLED,
}  # fmt: skip
# HL7 table 0485 and the priority of TQ, as PS3.3 C.4.11 has it.
_PRIORITIES: Final = {
    "S": "STAT", "A": "HIGH", "P": "HIGH", "C": "HIGH", "R": "ROUTINE", "T": "MEDIUM",
}  # fmt: skip
_SEXES: Final = {"M": "M", "F": "F", "O": "O", "A": "O", "N": "O"}
_MODALITIES: Final = ("SM", "GM", "XC")
# PS3.16 TID 8003: an observation of a specimen that names its stain.
_STAINING: Final = ("127790008", "424361007")
_LINE_LENGTH: Final = 64
_NAME_LENGTH: Final = 16


@dataclass(frozen=True, slots=True)
class Order:
    """``entries`` are what a new or changed order says; ``containers`` those that it names, whatever it asks."""

    action: Action
    response: str
    status: Status | None
    patient_id: str
    placer_order_number: str
    accession_number: str
    containers: tuple[str, ...]
    entries: tuple[EntryContent, ...]


@dataclass(slots=True)
class _Specimen:
    spm: Segment | None
    containers: list[Segment] = field(default_factory=list)
    observed: list[Segment] = field(default_factory=list)


@dataclass(slots=True)
class _Group:
    """The segments of one order."""

    orc: Segment
    number: int
    others: dict[str, Segment] = field(default_factory=dict)
    specimens: list[_Specimen] = field(default_factory=list)

    def component(self, name: str, number: int, component: int = 1) -> str:
        segment = self.orc if name == "ORC" else self.others.get(name)
        return "" if segment is None else segment.component(number, component)


def read_orders(message: Message) -> list[Order]:
    """Return the orders of a message, in their sequence.

    Raises
    ------
    Objection
        When there is none, the patient or an order cannot be named, or a value is none that DICOM can hold.
    """
    pid = message.first("PID")
    patient_id, issuer = patient_identifier(pid)
    if pid is None or not patient_id:
        raise Objection(Condition.REQUIRED_FIELD, "PID-3 (patient identifier) is empty", ("PID", 1, 3))
    groups = _groups(message)
    if not groups:
        raise Objection(Condition.SEGMENT_SEQUENCE, "the message has no segment ORC")
    patient = {
        "id": patient_id,
        "issuer": issuer,
        "name": person_name(pid, 5),
        "birth_date": _birth_date(pid),
        "sex": _SEXES.get(pid.component(8), ""),
    }
    orders: list[Order] = []
    for group in groups:
        orders.append(_order(message, group, patient))
        if sum(len(order.entries) for order in orders) > _MOST_ENTRIES:
            raise Objection(Condition.APPLICATION, f"the message holds more than {_MOST_ENTRIES} slides")
    return orders


def _groups(message: Message) -> list[_Group]:
    by_specimen = message.header.component(9, 2) == "O33"
    groups: list[_Group] = []
    current: list[_Specimen] = []
    observed: list[Segment] | None = None
    for segment in message.segments:
        name = segment.name
        if name == "ORC":
            groups.append(_Group(segment, len(groups) + 1, specimens=current if by_specimen else []))
            observed = None
        elif name in ("SPM", "SAC"):
            at = current if by_specimen else groups[-1].specimens if groups else None
            if at is None:
                continue
            if by_specimen and name == "SPM":
                current = at = []
            observed = _add_specimen(at, segment)
        elif name == "OBX" and observed is not None:
            observed.append(segment)
        elif groups and name in ("OBR", "TQ1", "IPC"):
            groups[-1].others.setdefault(name, segment)
            observed = None
        if len(groups) > _MOST_ORDERS:
            raise Objection(Condition.APPLICATION, f"the message holds more than {_MOST_ORDERS} orders")
    return groups


def _add_specimen(specimens: list[_Specimen], segment: Segment) -> list[Segment]:
    """Take SPM or SAC; return where observations that follow belong."""
    if segment.name == "SPM" or not specimens:
        specimens.append(_Specimen(segment if segment.name == "SPM" else None))
    if segment.name == "SAC":
        specimens[-1].containers.append(segment)
    if len(specimens) > _MOST_SPECIMENS or len(specimens[-1].containers) > _MOST_SPECIMENS:
        raise Objection(Condition.APPLICATION, f"an order has more than {_MOST_SPECIMENS} specimens or containers")
    return specimens[-1].observed


def _order(message: Message, group: _Group, patient: dict[str, Any]) -> Order:
    control = group.component("ORC", 1)
    if not control:
        raise Objection(Condition.REQUIRED_FIELD, "ORC-1 (order control) is empty", ("ORC", group.number, 1))
    if control not in _CONTROLS:
        reason = f"ORC-1 (order control) is none of {', '.join(_CONTROLS)}"
        raise Objection(Condition.DATA_TYPE, reason, ("ORC", group.number, 1))
    action, response = _CONTROLS[control]
    placer = group.component("ORC", 2) or group.component("OBR", 2)
    accession = _accession(message, group)
    if not placer and not accession:
        reason = "ORC-2 and ORC-3 (placer and filler order number) are empty"
        raise Objection(Condition.REQUIRED_FIELD, reason, ("ORC", group.number, 2))
    by_container = _by_container(group)
    if not all(len(said) <= _LINE_LENGTH and said.isprintable() for said in (placer, accession, *by_container)):
        reason = (
            f"an order number or container identifier has more than {_LINE_LENGTH} characters, or control characters"
        )
        raise Objection(Condition.DATA_TYPE, reason, ("ORC", group.number, 2))
    status = _STATUSES.get(group.component("ORC", 5))
    if action is Action.STATUS and status is None:
        reason = f"ORC-5 (order status) is none of {', '.join(_STATUSES)}"
        raise Objection(Condition.DATA_TYPE, reason, ("ORC", group.number, 5))
    entries: tuple[EntryContent, ...] = ()
    if action in (Action.NEW, Action.CHANGE):
        entries = tuple(_entries(message, group, patient, placer, accession, by_container))
    named = tuple(container for container in by_container if container)
    return Order(action, response, status, patient["id"], placer, accession, named, entries)


def _by_container(group: _Group) -> dict[str, list[tuple[_Specimen, Segment | None]]]:
    """Return the specimens by the container in which they are; under "" those of which no container is named."""
    found: dict[str, list[tuple[_Specimen, Segment | None]]] = {}
    for specimen in group.specimens:
        named = [sac for sac in specimen.containers if sac.component(3)]
        for sac in named:
            found.setdefault(sac.component(3), []).append((specimen, sac))
        if not named:
            found.setdefault("", []).append((specimen, None))
    if len(found) > 1:
        # A specimen whose slide is not named has nothing to be scanned.
        found.pop("", None)
    return found or {"": []}


def _entries(
    message: Message,
    group: _Group,
    patient: dict[str, Any],
    placer: str,
    accession: str,
    by_container: dict[str, list[tuple[_Specimen, Segment | None]]],
) -> Iterator[EntryContent]:
    common = {
        "patient": patient,
        "accession_number": accession,
        "placer_order_number": placer,
        "filler_order_number": group.component("ORC", 3) or group.component("OBR", 3),
        "study_instance_uid": _study(message, group),
        "admission_id": _of(message.first("PV1"), 19),
        "procedure": _procedure(message, group),
        "step": _step(message, group),
    }
    for container, specimens in by_container.items():
        sac = next((segment for _, segment in specimens if segment is not None), None)
        issuer = "" if sac is None else sac.component(3, 2)
        said = {
            **common,
            "container": {"identifier": container, "issuer": issuer},
            "specimens": [_specimen(specimen) for specimen, _ in specimens if specimen.spm is not None],
        }
        try:
            yield EntryContent.model_validate(said)
        except ValidationError as error:
            found = error.errors(include_input=False, include_url=False, include_context=False)
            raise Objection(Condition.DATA_TYPE, next(problems(list(found))), ("ORC", group.number, 1)) from None


def _accession(message: Message, group: _Group) -> str:
    """Return IPC-1, SPM-30, SAC-2, in ORM^O01 OBR-18, else the filler order number."""
    said = [group.component("IPC", 1)]
    for specimen in group.specimens:
        said += [_of(specimen.spm, 30), *(sac.component(2) for sac in specimen.containers)]
    if _is_orm(message):
        said.append(group.component("OBR", 18))
    said += [group.component("ORC", 3), group.component("OBR", 3)]
    return next(filter(None, said), "")


def _study(message: Message, group: _Group) -> str | None:
    zds = message.first("ZDS")
    uids = (group.component("IPC", 3), _of(zds, 1) if zds is not None else "")
    return next((uid for uid in uids if is_valid_uid(uid, strict=True)), None)


def _procedure(message: Message, group: _Group) -> dict[str, Any]:
    ordered = _codes(group.others.get("OBR"), 44) or _codes(group.others.get("OBR"), 4)
    texts = [group.component("OBR", number, part) for number, part in ((44, 2), (4, 2), (4, 5), (4, 1))]
    orm = _is_orm(message)
    priority = (group.component("TQ1", 9), group.component("OBR", 27, 6), group.component("OBR", 5))
    return {
        "id": group.component("IPC", 2) or (group.component("OBR", 19) if orm else ""),
        "description": _short(next(filter(None, texts), "")),
        "codes": ordered[:1],
        "priority": next((_PRIORITIES[said] for said in priority if said in _PRIORITIES), ""),
        "reason": _short(group.component("OBR", 31, 2) or group.component("OBR", 31)),
        "requesting_physician": provider_name(group.orc, 12) or provider_name(group.others.get("OBR"), 16),
        "referring_physician": provider_name(message.first("PV1"), 8),
    }


def _step(message: Message, group: _Group) -> dict[str, Any]:
    orm = _is_orm(message)
    modality = group.component("IPC", 5) or (group.component("OBR", 24) if orm else "")
    station = group.component("IPC", 9)
    return {
        "id": group.component("IPC", 4) or (group.component("OBR", 20) if orm else ""),
        "protocol": _codes(group.others.get("IPC"), 6) or (_codes(group.others.get("OBR"), 4)[1:] if orm else []),
        "modality": modality if modality in _MODALITIES else "SM",
        "station_ae_titles": [station] if station else [],
        "station_name": _short(group.component("IPC", 7), _NAME_LENGTH),
        "location": _short(group.component("IPC", 8), _NAME_LENGTH),
        "start": _start(message, group),
    }


def _start(message: Message, group: _Group) -> datetime | None:
    """Return TQ1-7, OBR-27.4, ORC-7.4 or OBR-36; the zone of MSH-7 is that of all times that name none (2.15.9.7)."""
    sent = moment(message.header.component(7))
    for said in (
        group.component("TQ1", 7),
        group.component("OBR", 27, 4),
        group.component("ORC", 7, 4),
        group.component("OBR", 36),
    ):
        found = moment(said)
        if found is not None:
            return found.replace(tzinfo=sent.tzinfo) if sent is not None and found.tzinfo is None else found
    return None


def _specimen(specimen: _Specimen) -> dict[str, Any]:
    """Return what SPM says; the laboratory's own number (SPM-2.2) goes before the one who ordered gave it."""
    spm = specimen.spm
    assert spm is not None
    identifier, issuer = _entity(spm, 2, 2) if spm.component(2, 2) else _entity(spm, 2, 1)
    kinds = _codes(spm, 4)
    stains = [code for segment in specimen.observed for code in _stain(segment)]
    return {
        "identifier": identifier,
        "issuer": issuer,
        "type": kinds[0] if kinds else None,
        "short_description": _short(spm.component(14) or spm.component(4, 2)),
        "anatomic_sites": _codes(spm, 8)[:1],
        "preparation": [{"staining": stains}] if stains else [],
    }


def _stain(segment: Segment) -> list[dict[str, str]]:
    return _codes(segment, 5)[:1] if segment.component(3, 1) in _STAINING and segment.component(3, 3) == "SCT" else []


def _entity(segment: Segment, number: int, component: int) -> tuple[str, str]:
    """Return identifier and namespace of an EI that is a component (EIP)."""
    parts = next(iter(segment.repetitions(number)), "").split(segment.separators.component)
    inner = parts[component - 1].split(segment.separators.subcomponent) if component <= len(parts) else []
    identifier, issuer = [segment.plain(part).strip() for part in (*inner, "", "")][:2]
    return identifier, issuer


def _codes(segment: Segment | None, number: int) -> list[dict[str, str]]:
    """Return the code and the alternate code of a CWE, each only when its coding system is named."""
    if segment is None:
        return []
    found = []
    for first in (1, 4):
        value, meaning, scheme = (segment.component(number, part) for part in range(first, first + 3))
        if value and scheme and len(value) <= 16 and len(scheme) <= 16:
            found.append({"value": value, "scheme": scheme, "meaning": _short(meaning or value)})
    return found


def _birth_date(pid: Segment) -> str | None:
    born = moment(pid.component(7))
    return born.date().isoformat() if born is not None and len(pid.component(7)) >= 8 else None


def _of(segment: Segment | None, number: int) -> str:
    return "" if segment is None else segment.component(number)


def _short(text: str, length: int = _LINE_LENGTH) -> str:
    """Return words for people as a value of LO or SH: on one line, cut to its length."""
    return re.sub(r"[\\\s\x00-\x1f\x7f-\x9f]+", " ", text).strip()[:length].strip()


def _is_orm(message: Message) -> bool:
    return message.header.component(9, 1) == "ORM"
