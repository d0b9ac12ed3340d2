"""DIMSE messages over an established association, either side of it (PS3.7 6.3, PS3.8 annex E).

A message is pulled: `receive` returns its command set, `fragments` its data set piece by piece as the PDUs arrive.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from struct import Struct
from typing import Final

from dicomsvc.dimse.commands import C_CANCEL_RQ, Command, decode_command
from dicomsvc.dimse.failures import ConnectionEnded, ProtocolViolation
from dicomsvc.dimse.pdu import (
    A_ABORT,
    A_RELEASE_RQ,
    INVALID_PARAMETER,
    P_DATA_TF,
    UNEXPECTED_PDU,
    UNRECOGNIZED_PDU,
    encode_release_reply,
)
from dicomsvc.dimse.stream import MAX_PDU_BYTES, PduStream

_PDV = Struct(">IBB")
_PDU_AND_PDV = Struct(">BxIIBB")
_COMMAND: Final = 1
_LAST: Final = 2
_MAX_COMMAND_BYTES = 1 << 14
_SMALLEST_PDU_BYTES = 64
_WRITE_BYTES = 1 << 16
PDV_HEADER_BYTES: Final = _PDV.size
PDU_AND_PDV_HEADER_BYTES: Final = _PDU_AND_PDV.size


@dataclass(frozen=True, slots=True)
class AcceptedContext:
    """A presentation context that both sides agreed on."""

    context_id: int
    abstract_syntax: str
    transfer_syntax: str
    requestor_is_scp: bool = False
    """Whether the association's requestor may be the SCP of the SOP class, as in C-GET (PS3.7 D.3.3.4)."""


@dataclass(frozen=True, slots=True)
class Message:
    """A received command set and the presentation context it came in."""

    context: AcceptedContext
    command: Command


class MessageChannel:
    """Receives and sends messages; for one thread.

    Parameters
    ----------
    contexts:
        The accepted presentation contexts by identifier.
    peer_maximum_length:
        The peer's limit for a P-DATA-TF without its six header bytes; 0: none.
    """

    def __init__(self, stream: PduStream, contexts: Mapping[int, AcceptedContext], peer_maximum_length: int) -> None:
        self._stream = stream
        self.contexts = contexts
        self._pdvs: Iterator[tuple[int, int, memoryview]] = iter(())
        self._data_set_of: Message | None = None
        self._command = bytearray()
        self._command_context_id: int | None = None
        self._cancelled: set[int] = set()
        longest = MAX_PDU_BYTES if peer_maximum_length == 0 else min(peer_maximum_length, MAX_PDU_BYTES)
        self.fragment_bytes = max(longest, _SMALLEST_PDU_BYTES) - PDV_HEADER_BYTES

    @property
    def bytes_read(self) -> int:
        return self._stream.bytes_read

    def receive(self) -> Message | None:
        """Return the next message's command set, or `None` when the peer has released the association.

        What is left of the previous message's data set is read and dropped.

        Raises
        ------
        ConnectionEnded, ProtocolViolation
            When the association ends in another way.
        """
        return self._receive(between_messages=True)

    def response(self, message_id: int) -> Message:
        """Wait for the response to a request that was sent within an operation of the peer's (PS3.7 9.1.3).

        A C-CANCEL-RQ that comes before is remembered for `cancelled`.

        Raises
        ------
        ConnectionEnded, ProtocolViolation
            When something else comes, or nothing.
        """
        while True:
            message = self._receive(between_messages=False)
            if message is None:
                raise ConnectionEnded("the peer released the association within an operation")
            if message.command.command_field == C_CANCEL_RQ:
                self._remember(message)
            elif message.command.message_id_being_responded_to == message_id:
                return message
            else:
                raise ProtocolViolation("another message than the response", UNEXPECTED_PDU)

    def arrives(self, seconds: float) -> bool:
        """Whether the peer sends something between two messages within this time; it is left to be received.

        Raises
        ------
        ConnectionEnded
            When the connection is closed.
        NodeStopping
            When this node stops.
        """
        pdv = next(self._pdvs, None)
        if pdv is None:
            return self._stream.arrives(seconds)
        self._pdvs = chain((pdv,), self._pdvs)
        return True

    def cancelled(self, message_id: int) -> bool:
        """Whether the peer has sent a C-CANCEL-RQ for its operation (PS3.7 9.3.2.3); never waits.

        Raises
        ------
        ConnectionEnded, ProtocolViolation
            When the peer has sent something else, or is gone.
        """
        while message_id not in self._cancelled:
            pdv = next(self._pdvs, None)
            if pdv is None:
                arrived = self._stream.poll()
                if arrived is None:
                    return False
                if self._take_pdu(*arrived):
                    raise ProtocolViolation("a release within an operation", UNEXPECTED_PDU)
                continue
            message = self._take_command(pdv)
            if message is not None:
                if message.command.command_field != C_CANCEL_RQ:
                    raise ProtocolViolation("a message within an operation", UNEXPECTED_PDU)
                self._remember(message)
        return True

    def _remember(self, cancel: Message) -> None:
        # A message identifier has two bytes, so that this stays small.
        self._cancelled.add(cancel.command.message_id_being_responded_to or 0)

    def _receive(self, *, between_messages: bool) -> Message | None:
        for _ in self.fragments():
            pass
        while True:
            pdv = self._next_pdv(between_messages=between_messages and not self._command)
            if pdv is None:
                if self._command:
                    raise ProtocolViolation("a release within a message", UNEXPECTED_PDU)
                self._stream.write(encode_release_reply())
                return None
            message = self._take_command(pdv)
            if message is not None:
                return message

    def _take_command(self, pdv: tuple[int, int, memoryview]) -> Message | None:
        """Take a piece of a command set; return the message when it was the last one."""
        context_id, control, value = pdv
        if not control & _COMMAND or self._command_context_id not in (None, context_id):
            raise ProtocolViolation("a command was due", INVALID_PARAMETER)
        self._command_context_id = context_id
        self._command += value
        if len(self._command) > _MAX_COMMAND_BYTES:
            raise ProtocolViolation("the command set is too long", INVALID_PARAMETER)
        if not control & _LAST:
            return None
        encoded = bytes(self._command)
        self._command.clear()
        self._command_context_id = None
        return self._message(context_id, encoded)

    def _message(self, context_id: int, encoded: bytes) -> Message:
        context = self.contexts.get(context_id)
        if context is None:
            raise ProtocolViolation("a presentation context that was not accepted", INVALID_PARAMETER)
        message = Message(context, decode_command(encoded))
        if message.command.expects_response:
            self._cancelled.discard(message.command.message_id)
        self._data_set_of = message if message.command.has_data_set else None
        return message

    def fragments(self) -> Iterator[memoryview]:
        """Yield the rest of the current message's data set; each view holds until the next one is asked for."""
        while self._data_set_of is not None:
            pdv = self._next_pdv(between_messages=False)
            if pdv is None:
                raise ProtocolViolation("a release within a data set", UNEXPECTED_PDU)
            context_id, control, value = pdv
            if control & _COMMAND or context_id != self._data_set_of.context.context_id:
                raise ProtocolViolation("a data set was due", INVALID_PARAMETER)
            if control & _LAST:
                self._data_set_of = None
            yield value

    def _next_pdv(self, *, between_messages: bool) -> tuple[int, int, memoryview] | None:
        while True:
            for pdv in self._pdvs:
                return pdv
            if self._take_pdu(*self._stream.read(between_messages=between_messages)):
                return None

    def _take_pdu(self, kind: int, body: memoryview) -> bool:
        """Take a PDU; return whether it asks for the association's release."""
        if kind == P_DATA_TF:
            self._pdvs = _split(body)
        elif kind == A_ABORT:
            raise ConnectionEnded("the peer aborted")
        elif kind != A_RELEASE_RQ:
            raise ProtocolViolation(
                f"a PDU of type {kind:#04x}", UNEXPECTED_PDU if 0 < kind < A_ABORT else UNRECOGNIZED_PDU
            )
        return kind == A_RELEASE_RQ

    def send_command(self, context_id: int, encoded: bytes) -> None:
        """Send a command set."""
        self._stream.write(b"".join(self._pdus(context_id, encoded, _COMMAND)))

    def send_data_set(self, context_id: int, encoded: bytes) -> None:
        """Send a small data set that is encoded already, after its command set."""
        for part in self._pdus(context_id, encoded, 0):
            self._stream.write(part)

    def send_messages(self, context_id: int, messages: Iterable[tuple[bytes, bytes]]) -> None:
        """Send messages, each an encoded command set and an encoded small data set, as few writes."""
        waiting: list[bytes] = []
        size = 0
        last_command, command_pdus = b"", b""
        for command, data_set in messages:
            if command is not last_command:
                last_command, command_pdus = command, b"".join(self._pdus(context_id, command, _COMMAND))
            waiting.append(command_pdus)
            if len(data_set) <= self.fragment_bytes:
                waiting += (pdu_and_pdv_header(context_id, len(data_set), _LAST), data_set)
            else:
                waiting += self._pdus(context_id, data_set, 0)
            size += len(command_pdus) + len(data_set)
            if size > _WRITE_BYTES:
                self._stream.write(b"".join(waiting))
                waiting, size = [], 0
        if waiting:
            self._stream.write(b"".join(waiting))

    def _pdus(self, context_id: int, encoded: bytes, kind: int) -> tuple[bytes, ...]:
        piece = self.fragment_bytes & ~1  # PS3.8 E.2: fragments have even length
        if len(encoded) <= piece:
            return (pdu_and_pdv_header(context_id, len(encoded), kind | _LAST) + encoded,)
        return tuple(
            pdu_and_pdv_header(
                context_id, len(encoded[start : start + piece]), kind | (_LAST if start + piece >= len(encoded) else 0)
            )
            + encoded[start : start + piece]
            for start in range(0, len(encoded), piece)
        )

    def send_fragment(self, context_id: int, pdu: memoryview, *, last: bool) -> None:
        """Send a piece of a data set.

        ``pdu`` holds `PDU_AND_PDV_HEADER_BYTES` bytes for the headers, then at most `fragment_bytes` of data.
        """
        header = pdu_and_pdv_header(context_id, len(pdu) - PDU_AND_PDV_HEADER_BYTES, _LAST if last else 0)
        pdu[:PDU_AND_PDV_HEADER_BYTES] = header
        self._stream.write(pdu)


def pdu_and_pdv_header(context_id: int, length: int, control: int) -> bytes:
    """Return the headers of a P-DATA-TF with one PDV whose value has ``length`` bytes (PS3.8 9.3.5)."""
    return _PDU_AND_PDV.pack(P_DATA_TF, length + PDV_HEADER_BYTES, length + 2, context_id, control)


def _split(body: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    offset, end = 0, len(body)
    if not end:
        raise ProtocolViolation("a P-DATA-TF with nothing in it", INVALID_PARAMETER)
    while offset < end:
        if offset + _PDV.size > end:
            raise ProtocolViolation("a PDV's header is cut short", INVALID_PARAMETER)
        length, context_id, control = _PDV.unpack_from(body, offset)
        if length < 2 or offset + 4 + length > end:
            raise ProtocolViolation("a PDV is longer than its PDU", INVALID_PARAMETER)
        yield context_id, control, body[offset + _PDV.size : offset + 4 + length]
        offset += 4 + length
