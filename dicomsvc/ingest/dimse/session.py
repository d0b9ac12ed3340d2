"""What a handler works with, and how it answers."""

from dataclasses import dataclass

from dicomsvc.ingest.dimse.channel import Message, MessageChannel
from dicomsvc.ingest.dimse.commands import encode_response
from dicomsvc.ingest.dimse.counters import Counters
from dicomsvc.store import Store


@dataclass(frozen=True, slots=True)
class Session:
    """One association with the store behind it."""

    channel: MessageChannel
    store: Store
    counters: Counters
    calling_ae_title: str
    peer_address: str

    def respond(self, message: Message, status: int, comment: str = "") -> None:
        """Send the response to ``message``, without a data set."""
        self.channel.send_command(message.context.context_id, encode_response(message.command, status, comment))
