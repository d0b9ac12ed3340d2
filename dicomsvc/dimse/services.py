"""What a node serves: which SOP classes, in which transfer syntaxes, and who answers which command.

The rooms that have something to serve each give a row; `dicomsvc.service.dimse` puts the table together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from dicomsvc.config import Permission
from dicomsvc.dimse import commands
from dicomsvc.dimse.channel import Message
from dicomsvc.dimse.contexts import MESSAGE_SYNTAXES
from dicomsvc.dimse.session import Session
from dicomsvc.dimse.verification import VERIFICATION_SOP_CLASS, verify

Handler = Callable[[Session, Message], None]
"""Answers one request. It raises only what ends the association; what it leaves of the data set is dropped."""


@dataclass(frozen=True, slots=True)
class Service:
    """A command, the SOP classes it is for, their transfer syntaxes (the preferred one first), and who answers."""

    command_field: int
    serves: Callable[[str], bool]
    transfer_syntaxes: tuple[str, ...]
    handler: Handler
    peer_provides: Callable[[str], bool] = lambda sop_class_uid: False
    """SOP classes of which the association's requestor may be the SCP, for this service's sake (PS3.7 D.3.3.4)."""
    permission: Permission | None = None
    """What the caller must be allowed, else it gets 0x0124, not authorized (PS3.7 C.5); None: everybody may."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What this node asks peers for: a command, its SOP classes, and the transfer syntaxes that it proposes."""

    command_field: int
    serves: Callable[[str], bool]
    transfer_syntaxes: tuple[str, ...]


VERIFICATION: Final = Service(commands.C_ECHO_RQ, VERIFICATION_SOP_CLASS.__eq__, MESSAGE_SYNTAXES, verify)


class Services:
    """The table of services of a node."""

    def __init__(self, rows: Sequence[Service]) -> None:
        self.rows = tuple(rows)
        self.offer = lru_cache(maxsize=1024)(self._offer)

    def _offer(self, abstract_syntax: str) -> tuple[str, ...]:
        """Return the transfer syntaxes in which an abstract syntax is served; none: it is not."""
        return next((row.transfer_syntaxes for row in self.rows if row.serves(abstract_syntax)), ())

    def peer_may_provide(self, sop_class_uid: str) -> bool:
        """Whether the requestor of an association may be the SCP of a SOP class."""
        return any(row.peer_provides(sop_class_uid) for row in self.rows)

    def find(self, message: Message) -> Service | None:
        """Return the row for a request: its command and the abstract syntax of its context choose."""
        field, syntax = message.command.command_field, message.context.abstract_syntax
        return next((row for row in self.rows if row.command_field == field and row.serves(syntax)), None)
