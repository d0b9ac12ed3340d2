"""What a handler works with, and how it answers."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydicom import Dataset

from dicomsvc.dimse.channel import Message, MessageChannel
from dicomsvc.dimse.commands import encode_response
from dicomsvc.dimse.counters import Counters
from dicomsvc.dimse.data_set import LARGEST_DATA_SET_BYTES, decode_data_set, encode_data_set
from dicomsvc.dimse.peers import KnownPeer, Permission
from dicomsvc.errors import NotParseable, TooLarge
from dicomsvc.store import Store


@dataclass(frozen=True, slots=True)
class Wanted:
    """What this node asked for by C-GET: instances of a study, and if ``sop_instance_uids`` names some, only those."""

    study_instance_uid: str
    sop_instance_uids: frozenset[str] = frozenset()

    def names(self, sop_instance_uid: str) -> bool:
        """Whether an instance may be wanted, as far as its UID tells."""
        return not self.sop_instance_uids or sop_instance_uid in self.sop_instance_uids


@dataclass(frozen=True, slots=True)
class Session:
    """One association with the store behind it."""

    channel: MessageChannel
    store: Store
    counters: Counters
    calling_ae_title: str
    peer_address: str
    peer: KnownPeer | None = None
    """Who called; None: nobody that this node knows by name."""
    may: frozenset[Permission] = frozenset()
    wanted: Wanted | None = None
    """On an association of this node's own: what the peer is to send; None: whatever it does."""

    def allows(self, permission: Permission) -> bool:
        """Whether the caller may ask for this; refused with 0x0124 (PS3.7 C.5) when not."""
        return permission in self.may

    def respond(
        self,
        message: Message,
        status: int,
        comment: str = "",
        *,
        elements: Mapping[int, int | str] | None = None,
        data_set: Dataset | None = None,
    ) -> None:
        """Send a response to ``message``.

        Parameters
        ----------
        elements
            Further elements of the command set, by element number of group 0000.
        data_set
            Identifier, Event or Action Reply; it is encoded in the context's transfer syntax.
        """
        context = message.context
        encoded = None if data_set is None else encode_data_set(data_set, context.transfer_syntax)
        response = encode_response(
            message.command, status, comment, elements=elements, has_data_set=encoded is not None
        )
        self.channel.send_command(context.context_id, response)
        if encoded is not None:
            self.channel.send_data_set(context.context_id, encoded)

    def read_data_set(self, message: Message) -> Dataset:
        """Return the small data set that follows ``message``'s command set, such as an Identifier.

        Raises
        ------
        TooLarge
            When it is longer than such a data set ever is.
        NotParseable
            When it is missing, or is none in the context's transfer syntax.
        """
        return decode_data_set(read_encoded(self.channel, LARGEST_DATA_SET_BYTES), message.context.transfer_syntax)


def read_encoded(channel: MessageChannel, longest: int) -> bytes:
    """Return the bytes of the data set of a message that was just received.

    Raises
    ------
    TooLarge
        When there are more than ``longest``; all are read.
    NotParseable
        When there are none.
    """
    pieces, length = [], 0
    for fragment in channel.fragments():
        length += len(fragment)
        if length <= longest:
            pieces.append(bytes(fragment))
    if length > longest:
        raise TooLarge(f"the data set is longer than {longest >> 10} KB")
    if not length:
        raise NotParseable("the request has no data set")
    return b"".join(pieces)
