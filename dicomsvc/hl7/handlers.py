"""Who takes which messages: the handlers that rooms give, by message type and trigger event (MSH-9, table 0076, 0003).

`dicomsvc.service.hl7` puts the table together.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from dicomsvc.hl7.acknowledge import AckCode, Acknowledgement, Condition
from dicomsvc.hl7.message import Message

Handle = Callable[[Message], Awaitable[Acknowledgement]]
"""Takes one message; it is called on the listener's event loop.

What it answers AA is durable. It may raise errors of `dicomsvc.errors`, which the listener answers AE: one that says
what is wrong with the message, or `OutOfResources`, at which the sender is asked to try again.
"""


@dataclass(frozen=True, slots=True)
class Handler:
    """``response`` is MSH-9 of the application's answer (such as ``ORL^O22^ORL_O22``) where it is no plain ACK."""

    handle: Handle
    response: str = ""


class Handlers:
    """The table, by message type and event."""

    def __init__(self, rows: Mapping[tuple[str, str], Handler]) -> None:
        self._rows: Final = dict(rows)
        self._taken: Final = ", ".join(f"{kind}^{event}" for kind, event in self._rows)

    def find(self, message: Message) -> Handler | Acknowledgement:
        """Return who takes a message, or the answer to one that nobody takes.

        A message without an event is taken where its type has one event here.
        """
        kind, event = message.header.component(9, 1), message.header.component(9, 2)
        of_kind = {each[1]: row for each, row in self._rows.items() if each[0] == kind}
        if not of_kind:
            return self._refusal(Condition.UNSUPPORTED_MESSAGE)
        if not event and len(of_kind) == 1:
            return next(iter(of_kind.values()))
        return of_kind.get(event) or self._refusal(Condition.UNSUPPORTED_EVENT)

    def _refusal(self, condition: Condition) -> Acknowledgement:
        return Acknowledgement(AckCode.REJECT, condition, f"only {self._taken or 'nothing'} is taken here")
