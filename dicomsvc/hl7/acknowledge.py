"""The answer to a message: ACK with MSA and ERR (HL7 v2.5.1 2.9, 2.15.8, 2.15.5)."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Final

from dicomsvc.errors import BadRequest
from dicomsvc.hl7.message import Message, Segment, Separators


class AckCode(StrEnum):
    """HL7 table 0008, original mode."""

    ACCEPT = "AA"
    ERROR = "AE"
    """The message was understood, but what it says cannot be taken, or not now."""
    REJECT = "AR"
    """No message of a kind that is taken here."""


class Condition(StrEnum):
    """HL7 table 0357, message error condition codes."""

    SEGMENT_SEQUENCE = "100"
    REQUIRED_FIELD = "101"
    DATA_TYPE = "102"
    UNSUPPORTED_MESSAGE = "200"
    UNSUPPORTED_EVENT = "201"
    UNKNOWN_KEY = "204"
    APPLICATION = "207"


_WORDS: Final = {
    Condition.SEGMENT_SEQUENCE: "Segment sequence error",
    Condition.REQUIRED_FIELD: "Required field missing",
    Condition.DATA_TYPE: "Data type error",
    Condition.UNSUPPORTED_MESSAGE: "Unsupported message type",
    Condition.UNSUPPORTED_EVENT: "Unsupported event code",
    Condition.UNKNOWN_KEY: "Unknown key identifier",
    Condition.APPLICATION: "Application internal error",
}
_ENHANCED: Final = {AckCode.ACCEPT: "CA", AckCode.ERROR: "CE", AckCode.REJECT: "CR"}
_LONGEST_TEXT: Final = 240
_LONGEST_FIELD: Final = 250


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """``reason`` is for the sender's people; it holds nothing of the message's content.

    ``location`` is segment, its number from 1, and field, such as ``("PID", 1, 3)``.
    ``segments`` follow MSA and ERR in an application's answer that is more than an ACK: fields, escaped already.
    """

    code: AckCode
    condition: Condition | None = None
    reason: str = ""
    segments: tuple[tuple[str, ...], ...] = ()
    location: tuple[str, int, int] | None = None


class Objection(BadRequest):
    """What is wrong with a message, by its condition and place; the listener answers it AE."""

    def __init__(self, condition: Condition, reason: str, location: tuple[str, int, int] | None = None) -> None:
        super().__init__(reason)
        self.answer: Final = Acknowledgement(AckCode.ERROR, condition, reason, location=location)


def wanted(message: Message, code: AckCode) -> bool:
    """Whether the sender asks for this answer: MSH-15 and MSH-16 (table 0155), without which it always does."""
    accept, application = message.header.field(15), message.header.field(16)
    asked = [condition for condition in (application, accept) if condition and condition != "NE"]
    if not asked:
        return not (accept or application)
    return asked[0] == "AL" or asked[0] == ("SU" if code is AckCode.ACCEPT else "ER")


def acknowledged(
    message: Message, answer: Acknowledgement, now: datetime | None = None, *, response: str = ""
) -> bytes:
    """Return the answer to a message, in its character set; ``response`` is its MSH-9 where it is no plain ACK.

    Enhanced mode with an accept acknowledgement alone (MSH-16 NE or empty) gets an ACK with a commit code (CA, CE,
    CR): what is accepted is durable. Where both are asked for, the application's answer is the one that is sent.
    """
    header, use = message.header, message.separators
    own_mode = not header.field(15) or header.field(16) not in ("", "NE")
    code = answer.code.value if own_mode else _ENHANCED[answer.code]
    kind = response.replace("^", use.component) if own_mode else ""
    segments = _segments(header, use, code, answer, now or datetime.now(UTC), kind)
    if own_mode:
        segments += [["".join(filter(str.isprintable, field)) for field in each] for each in answer.segments]
    return _joined(segments, use).encode(message.codec, "replace")


def refused(reason: str, condition: Condition = Condition.SEGMENT_SEQUENCE, now: datetime | None = None) -> bytes:
    """Return an ACK (AR) for bytes that are no message: there is no control id to answer to."""
    answer = Acknowledgement(AckCode.REJECT, condition, reason)
    segments = _segments(None, Separators(), "AR", answer, now or datetime.now(UTC))
    return _joined(segments, Separators()).encode("ascii", "replace")


def _segments(
    header: Segment | None, use: Separators, code: str, answer: Acknowledgement, now: datetime, kind: str = ""
) -> list[list[str]]:
    """Return MSH, MSA and, where there is a condition, ERR."""

    def field(number: int, default: str = "") -> str:
        # As it came, but nothing that would end the segment or the frame.
        said = header.field(number)[:_LONGEST_FIELD] if header is not None else ""
        return "".join(letter for letter in said if letter.isprintable()) or default

    event = header.component(9, 2) if header is not None else ""
    known = event.isascii() and event.isalnum() and len(event) == 3
    kind = kind or (use.component.join(("ACK", event, "ACK")) if known else "ACK")
    marks = use.component + use.repetition + use.escape + use.subcomponent
    msh = ["MSH", marks, field(5), field(6), field(3), field(4), now.strftime("%Y%m%d%H%M%S%z"), "", kind]
    msh += [uuid.uuid4().hex[:20], field(11, "P"), field(12, "2.5.1"), "", "", "", "", "", field(18)]
    text = escaped(answer.reason[:_LONGEST_TEXT], use)
    msa = ["MSA", code, field(10), text]
    segments = [msh, msa]
    if answer.condition is not None:
        segments.append(_error(field(12, "2.5.1"), answer.condition, answer.location, text, use))
    return segments


def _joined(segments: list[list[str]], use: Separators) -> str:
    return "".join(use.field.join(segment).rstrip(use.field) + "\r" for segment in segments)


def _error(
    version: str, condition: Condition, location: tuple[str, int, int] | None, text: str, use: Separators
) -> list[str]:
    """Return ERR in the layout of version 2.5 and later, or in the one before."""
    place = [""] * 3 if location is None else [str(part) for part in location]
    if version[:3] in ("2.1", "2.2", "2.3", "2.4"):
        coded = use.subcomponent.join((condition.value, _WORDS[condition], "HL70357"))
        return ["ERR", use.component.join((*place, coded))]
    coded = use.component.join((condition.value, _WORDS[condition], "HL70357"))
    return ["ERR", "", use.component.join(place) if location else "", coded, "E", "", "", "", text]


def escaped(text: str, use: Separators) -> str:
    """Return text with its separators escaped; line ends become the command .br, which FT and TX allow."""
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(_escapes(use))


@lru_cache(maxsize=64)
def _escapes(use: Separators) -> dict[int, str]:
    mark = use.escape
    pairs = ((mark, "E"), (use.field, "F"), (use.component, "S"), (use.subcomponent, "T"), (use.repetition, "R"))
    # Control characters would end the segment or the frame.
    table = dict.fromkeys((*range(32), 127), " ") | {ord("\n"): f"{mark}.br{mark}"}
    return table | {ord(letter): f"{mark}{name}{mark}" for letter, name in pairs}
