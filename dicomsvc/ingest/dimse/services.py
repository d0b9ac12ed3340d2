"""The table of services: which SOP classes are served, in which transfer syntaxes, and who answers which command.

C-FIND, C-MOVE, C-GET and storage commitment join by a row here and a module beside `storage`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from dicomsvc.dicom.uids import is_storage_class
from dicomsvc.ingest.dimse import commands
from dicomsvc.ingest.dimse.channel import Message
from dicomsvc.ingest.dimse.contexts import MESSAGE_SYNTAXES, STORED_SYNTAXES
from dicomsvc.ingest.dimse.session import Session
from dicomsvc.ingest.dimse.storage import store_instance
from dicomsvc.ingest.dimse.verification import verify

VERIFICATION: Final = "1.2.840.10008.1.1"

Handler = Callable[[Session, Message], None]
"""Answers one request. It raises only what ends the association; what it leaves of the data set is dropped."""


@dataclass(frozen=True, slots=True)
class Service:
    """A command, the SOP classes it is for, their transfer syntaxes (the preferred one first), and who answers."""

    command_field: int
    serves: Callable[[str], bool]
    transfer_syntaxes: tuple[str, ...]
    handler: Handler


SERVICES: Final[tuple[Service, ...]] = (
    Service(commands.C_ECHO_RQ, VERIFICATION.__eq__, MESSAGE_SYNTAXES, verify),
    Service(commands.C_STORE_RQ, is_storage_class, STORED_SYNTAXES, store_instance),
)

HANDLERS: Final = {service.command_field: service.handler for service in SERVICES}


@lru_cache(maxsize=1024)
def offer(abstract_syntax: str) -> tuple[str, ...]:
    """Return the transfer syntaxes in which an abstract syntax is served; none: it is not."""
    return next((service.transfer_syntaxes for service in SERVICES if service.serves(abstract_syntax)), ())
