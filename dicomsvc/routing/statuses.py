"""What a destination's answer means for an instance: there, never to be, or not yet (PS3.4 B.2.3, PS3.7 C)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from dicomsvc.dimse.commands import SUCCESS

_WARNINGS: Final = frozenset({0x0001, 0x0107, 0x0116})
# Processing failure, resource limitation; out of resources; cancel.
_TRANSIENT: Final = frozenset({0x0110, 0x0213, 0xFE00})
_TRANSIENT_HTTP: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 507})


class Verdict(StrEnum):
    SENT = "sent"
    FAILED = "failed"
    """It is not tried again by itself."""
    AGAIN = "again"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an instance. ``status``: of DIMSE, or of HTTP where that was the answer."""

    sop_instance_uid: str
    verdict: Verdict
    status: int | None = None
    note: str = ""
    sent_as: str | None = None


def verdict_of(status: int) -> Verdict:
    """Return what a DIMSE status, or a Failure Reason of STOW-RS, means."""
    if status == SUCCESS or status >> 12 == 0xB or status in _WARNINGS:
        return Verdict.SENT
    if status >> 8 == 0xA7 or status in _TRANSIENT:
        return Verdict.AGAIN
    return Verdict.FAILED


def verdict_of_http(status: int) -> Verdict:
    """Return what an HTTP status means where nothing else was said."""
    if 200 <= status < 300:
        return Verdict.SENT
    return Verdict.AGAIN if status in _TRANSIENT_HTTP else Verdict.FAILED
