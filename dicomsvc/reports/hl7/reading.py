"""Reports out of ORU^R01 messages (HL7 v2.5.1 7.3.1): whose, which, in what state, and their text.

A report is all that stands under one filler order number (OBR-3): text of many OBX segments is joined in their order,
each kind of observation under its heading. Documents (ED: PDF, RTF) are read where the message holds no text itself.
Pointers to documents elsewhere (RP) are never followed.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from dicomsvc.errors import BadRequest
from dicomsvc.hl7.message import Message, Segment, moment, required
from dicomsvc.hl7.people import patient_identifier
from dicomsvc.reports.attachment import plain_text, text_of
from dicomsvc.reports.intake.received import ReceivedReport, ReportStatus, Source

ENOUGH: Final = 200
"""Characters: a message with less text of its own beside a document says "see attached"."""
HEADINGS: Final = {
    "22634-0": "GROSS DESCRIPTION", "22635-7": "MICROSCOPIC DESCRIPTION", "22636-5": "CLINICAL HISTORY",
    "22637-3": "FINAL DIAGNOSIS", "22638-1": "COMMENT", "22639-9": "ADDENDUM", "11526-1": "", "60567-5": "",
}  # fmt: skip
"""LOINC codes of a pathology report's sections, as cancer registries (NAACCR volume V) use them; the whole has none."""
_MARKS_STUDY: Final = {"ZDS": 1, "IPC": 3}
_NOT_SAID: Final = ("D", "W", "X", "N", "I", "O")
_TEXT_TYPES: Final = ("TX", "FT")
_VALUE_TYPES: Final = ("ST", "NM", "SN", "CE", "CWE", "CNE", "CF", "DT", "TM", "TS", "DTM", "IS", "ID", "")
_DOCUMENT_TYPES: Final = ("ED", "RP")
# HL7 table 0123; what is left out (S, O, I) says that nothing has been reported yet.
_STATUSES: Final = {
    "F": ReportStatus.FINAL, "C": ReportStatus.CORRECTED, "K": ReportStatus.CORRECTED, "M": ReportStatus.CORRECTED,
    "P": ReportStatus.PRELIMINARY, "R": ReportStatus.PRELIMINARY, "A": ReportStatus.PRELIMINARY,
    "X": ReportStatus.CANCELLED,
}  # fmt: skip
_WITHDRAWN_ORDERS: Final = ("CA", "OC", "CR")
_MOST_ORDERS: Final = 500
# Some senders put a whole document into lines of text.
_MARKUP: Final = re.compile(r"\s*<(?:!doctype\s+html|html|body|div)\b", re.IGNORECASE)


@dataclass(slots=True)
class _Group:
    """The segments of one report: ORC and OBR, and what was observed, with comments among it."""

    orders: list[Segment] = field(default_factory=list)
    observed: list[Segment] = field(default_factory=list)
    others: list[Segment] = field(default_factory=list)

    @property
    def filler(self) -> str:
        named = (segment.component(3) for name in ("OBR", "ORC") for segment in self.orders if segment.name == name)
        return next(filter(None, named), "")

    def said(self, name: str, number: int) -> str:
        return next(filter(None, (each.component(number) for each in self.orders if each.name == name)), "")


def read_reports(message: Message) -> list[ReceivedReport]:
    """Return the reports of a message, in their order.

    Raises
    ------
    BadRequest
        When it holds none, or one without text that is not cancelled, or a document that cannot be read.
    """
    required(message.first("OBR"), "OBR")
    if sum(1 for _ in message.all("OBR", "ORC")) > _MOST_ORDERS:
        raise BadRequest(f"the message holds more than {_MOST_ORDERS} orders")
    groups = _groups(message)
    patient_id, issuer = patient_identifier(message.first("PID"))
    return [_received(message, group, number, patient_id, issuer) for number, group in enumerate(groups, 1)]


def _received(message: Message, group: _Group, number: int, patient_id: str, issuer: str) -> ReceivedReport:
    status = _status(group)
    text = _text(group, message.codec)
    if not text.strip():
        if status is not ReportStatus.CANCELLED:
            raise BadRequest("a report of the message has no text (OBX-5 of TX, FT, ST or ED)")
        text = ""
    return ReceivedReport(
        text=text,
        source=Source.HL7,
        status=status,
        report_id=group.filler,
        placer_order_number=group.said("OBR", 2) or group.said("ORC", 2),
        accession_number=_accession(group),
        patient_id=patient_id,
        issuer_of_patient_id=issuer,
        study_instance_uid=_study(message),
        observed=_observed(message, group),
        sender=message.sender,
        control_id=message.header.component(10),
        number=number,
    )


def _groups(message: Message) -> list[_Group]:
    """Return one group a filler order number; orders without a number of their own go with the one before."""
    groups: list[_Group] = []
    current, waiting = _Group(), _Group()
    for segment in message.segments:
        if segment.name == "ORC":
            waiting.orders.append(segment)
        elif segment.name == "OBR":
            waiting.orders.append(segment)
            current = _joined(groups, waiting)
            waiting = _Group()
        elif segment.name in ("OBX", "NTE") and groups:
            current.observed.append(segment)
        elif groups:
            current.others.append(segment)
    return groups


def _joined(groups: list[_Group], new: _Group) -> _Group:
    if groups and not new.filler:
        same: _Group | None = groups[-1]
    else:
        same = next((group for group in groups if group.filler == new.filler), None)
    if same is None:
        groups.append(new)
        return new
    same.orders += new.orders
    return same


def _accession(group: _Group) -> str:
    """Return the accession number: of the specimen or procedure where one is named, else the filler order number."""
    for segment in group.others:
        number = {"SPM": 30, "IPC": 1}.get(segment.name)
        if number is not None and segment.component(number):
            return segment.component(number)
    return group.filler


def _study(message: Message) -> str | None:
    for segment in message.all(*_MARKS_STUDY):
        uid = segment.component(_MARKS_STUDY[segment.name])
        if uid and len(uid) <= 64 and uid.replace(".", "").isdigit():
            return uid
    return None


def _observed(message: Message, group: _Group) -> datetime | None:
    """Return when the report was issued; the zone of MSH-7 is that of all times that name none (2.15.9.7)."""
    sent = moment(message.header.component(7))
    for order in group.orders:
        if order.name == "OBR" and (found := moment(order.component(22))) is not None:
            return found.replace(tzinfo=sent.tzinfo) if sent is not None and found.tzinfo is None else found
    return sent


def _status(group: _Group) -> ReportStatus:
    if any(order.name == "ORC" and order.component(1) in _WITHDRAWN_ORDERS for order in group.orders):
        return ReportStatus.CANCELLED
    results = [segment.component(11) for segment in group.observed if segment.name == "OBX"]
    if results and all(result in ("D", "W", "X") for result in results):
        return ReportStatus.CANCELLED
    stated = [_STATUSES.get(segment.component(25)) for segment in group.orders if segment.name == "OBR"]
    known = [status for status in stated if status is not None]
    if known and all(status is ReportStatus.CANCELLED for status in known):
        return ReportStatus.CANCELLED
    if ReportStatus.CORRECTED in known or "C" in results:
        return ReportStatus.CORRECTED
    for weakest in (ReportStatus.PRELIMINARY, ReportStatus.FINAL):
        if weakest in known:
            return weakest
    return ReportStatus.FINAL if results and all(result == "F" for result in results) else ReportStatus.PRELIMINARY


def _text(group: _Group, codec: str) -> str:
    said = [
        segment
        for segment in group.observed
        if segment.name == "NTE" or (segment.component(11) not in _NOT_SAID and segment.field(5))
    ]
    own = _joined_text(
        [segment for segment in said if segment.name == "NTE" or segment.field(2) not in _DOCUMENT_TYPES]
    )
    documents = [segment for segment in said if segment.name == "OBX" and segment.field(2) in _DOCUMENT_TYPES]
    if own.lstrip().startswith("{\\rtf"):
        own = text_of(own.encode(codec, "replace"), "text/rtf")
    elif _MARKUP.match(own[:200]):
        own = plain_text(own)
    if len(own) >= ENOUGH or not documents:
        return own
    return "\n\n".join((*filter(None, (own,)), *(_document(segment, codec) for segment in documents)))


def _joined_text(segments: Sequence[Segment]) -> str:
    """Return the text, with a heading wherever another kind of observation begins, if there are several kinds."""
    several = len({segment.component(3) for segment in segments if segment.name == "OBX"}) > 1
    blocks: list[str] = []
    for name, run in _runs(segments):
        lines = [line for segment in run for line in _lines(segment)]
        if not any(line.strip() for line in lines):
            continue
        heading = _heading(run[0]) if name and several else ""
        if heading and _is_value(run):
            blocks.append(f"{heading}: {'; '.join(lines)}")
        elif heading and not lines[0].lower().startswith(heading.lower()):
            blocks.append("\n".join((f"{heading}:", *lines)))
        else:
            blocks.append("\n".join(lines))
    return "\n".join(blocks)


def _runs(segments: Iterable[Segment]) -> list[tuple[str, list[Segment]]]:
    """Return the segments by what they observe, neighbours together; comments go with what they follow."""
    runs: list[tuple[str, list[Segment]]] = []
    for segment in segments:
        name = segment.component(3) if segment.name == "OBX" else None
        if runs and name in (None, runs[-1][0]):
            runs[-1][1].append(segment)
        else:
            runs.append((name or "", [segment]))
    return runs


def _is_value(run: Sequence[Segment]) -> bool:
    return len(run) == 1 and run[0].name == "OBX" and run[0].field(2) in _VALUE_TYPES


def _heading(segment: Segment) -> str:
    if segment.name != "OBX":
        return ""
    known = HEADINGS.get(segment.component(3, 1))
    return segment.component(3, 2) or segment.component(3, 5) if known is None else known


def _lines(segment: Segment) -> list[str]:
    if segment.name == "NTE":
        return [segment.plain(each) for each in segment.repetitions(3)]
    kind = segment.field(2)
    if kind in ("CE", "CWE", "CNE", "CF"):
        return [segment.component(5, 2, of=each) or segment.component(5, 1, of=each) for each in segment.repetitions(5)]
    if kind == "SN":
        return ["".join(segment.component(5, part) for part in range(1, 5)) + _unit(segment)]
    return [segment.plain(each) + _unit(segment) for each in segment.repetitions(5)]


def _unit(segment: Segment) -> str:
    unit = segment.component(6) if segment.field(2) in ("NM", "SN") else ""
    return f" {unit}" if unit else ""


def _document(segment: Segment, codec: str) -> str:
    """Return the text of encapsulated data: source ^ type ^ subtype ^ encoding ^ data (HL7 v2.5.1 2.A.24)."""
    if segment.field(2) == "RP":
        raise BadRequest("the report is a pointer (RP), which is not followed: send the document as ED, or its text")
    parts = segment.field(5).split(segment.separators.component)
    if len(parts) < 5:
        raise BadRequest("OBX-5 of type ED has not the components source ^ type ^ subtype ^ encoding ^ data")
    kind, subtype, encoding, data = parts[1].lower(), parts[2].lower(), parts[3].lower(), parts[4]
    media_type = kind if "/" in kind else f"{_SUPERTYPES.get(kind, kind)}/{_SUBTYPES.get(subtype, subtype)}"
    return text_of(_bytes(segment, encoding, data, codec), media_type, codec)


_SUPERTYPES: Final = {"ap": "application", "application": "application", "text": "text", "tx": "text", "ft": "text"}
_SUBTYPES: Final = {"": "plain"}


def _bytes(segment: Segment, encoding: str, data: str, codec: str) -> bytes:
    try:
        if encoding == "base64":
            return base64.b64decode("".join(segment.plain(data).split()), validate=True)
        if encoding == "hex":
            return bytes.fromhex(data)
    except (binascii.Error, ValueError):
        raise BadRequest(f"the encapsulated document is not in {encoding}, as it says") from None
    return segment.plain(data).encode(codec, "replace")
