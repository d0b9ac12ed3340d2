"""Which SOP classes this node serves and asks for, in which transfer syntaxes, in which role."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from pydicom._uid_dict import UID_dictionary

from dicomsvc.dicom import uids
from dicomsvc.dimse import commands
from dicomsvc.dimse.services import Service
from dicomsvc.service.dimse import ASKED, SERVICES

SCU: Final = "SCU"
SCP: Final = "SCP"
_OPERATIONS: Final = {
    commands.C_ECHO_RQ: "C-ECHO",
    commands.C_STORE_RQ: "C-STORE",
    commands.C_FIND_RQ: "C-FIND",
    commands.C_MOVE_RQ: "C-MOVE",
    commands.C_GET_RQ: "C-GET",
    commands.N_ACTION_RQ: "N-ACTION",
    commands.N_EVENT_REPORT_RQ: "N-EVENT-REPORT",
    commands.N_CREATE_RQ: "N-CREATE",
}
# PS3.5 annex A: younger than pydicom's table.
_YOUNGER_NAMES: Final = {
    uids.JPEG_XL_LOSSLESS: "JPEG XL Lossless",
    uids.JPEG_XL_JPEG_RECOMPRESSION: "JPEG XL JPEG Recompression",
    uids.JPEG_XL: "JPEG XL",
}


@dataclass(frozen=True, slots=True)
class Line:
    """A SOP class in a role of this node; ``transfer_syntaxes``: the preferred one first."""

    sop_class_uid: str
    operation: str
    role: str
    transfer_syntaxes: tuple[str, ...]
    peer_may_provide: bool = False
    """Whether an association's requestor may take the role of its SCP (PS3.7 D.3.3.4)."""

    @property
    def name(self) -> str:
        return name_of(self.sop_class_uid)


@cache
def sop_classes() -> tuple[str, ...]:
    """Return the standard's SOP classes that have a name of their own (PS3.6 A), in the order of their UIDs."""
    found = [uid for uid, entry in UID_dictionary.items() if entry[1] in ("SOP Class", "Meta SOP Class") and entry[0]]
    return tuple(sorted(found, key=lambda uid: [int(part) for part in uid.split(".")]))


def name_of(uid: str) -> str:
    """Return the name of a UID of the standard; a UID without one is its own."""
    entry = UID_dictionary.get(uid)
    return str(entry[0]) if entry is not None and entry[0] else _YOUNGER_NAMES.get(uid, uid)


def is_retired(uid: str) -> bool:
    entry = UID_dictionary.get(uid)
    return entry is not None and bool(entry[3])


def _operation(service: Service) -> str | None:
    return _OPERATIONS.get(service.command_field)


@cache
def served() -> tuple[Line, ...]:
    """Return what peers may ask this node for: each line's requests are answered."""
    return tuple(_lines(SCP, lambda service: not _is_told(service)))


@cache
def asked() -> tuple[Line, ...]:
    """Return what this node asks peers for."""
    lines = [
        Line(uid, _OPERATIONS[row.command_field], SCU, row.transfer_syntaxes)
        for row in ASKED
        for uid in sop_classes()
        if row.serves(uid)
    ]
    return tuple(lines)


def _is_told(service: Service) -> bool:
    """Whether a row takes the notifications of an SCP: this node is the SCU then (PS3.4 J.3.3)."""
    return service.command_field == commands.N_EVENT_REPORT_RQ


def _lines(role: str, wanted: Callable[[Service], bool]) -> Iterator[Line]:
    for service in SERVICES.rows:
        operation = _operation(service)
        if operation is None or not wanted(service):
            continue
        for uid in sop_classes():
            if service.serves(uid):
                provided = SERVICES.peer_may_provide(uid)
                yield Line(uid, operation, role, service.transfer_syntaxes, provided)
