"""Listens for messages over MLLP: ``<VT> message <FS><CR>``, an answer each, in order, on one connection.

A message is answered AA only after its handler has made what it says durable, or knows it already. What a message may
cost is bounded: its bytes, the time it takes to arrive, the connections, the bytes of all of them together.
"""

import asyncio
import logging
import ssl
from dataclasses import dataclass, field
from typing import Final

from dicomsvc.errors import BadRequest, DicomsvcError, NotParseable, OutOfResources, TooLarge, UnsupportedMediaType
from dicomsvc.hl7.acknowledge import (
    AckCode,
    Acknowledgement,
    Condition,
    Objection,
    acknowledged,
    refused,
    wanted,
)
from dicomsvc.hl7.handlers import Handler, Handlers
from dicomsvc.hl7.message import Message, parse_message

_log = logging.getLogger(__name__)
_START: Final = b"\x0b"
_END: Final = b"\x1c"
_CHUNK: Final = 1 << 16
_HANDSHAKE_SECONDS: Final = 20.0
_AT_ONCE: Final = 4
_SECONDS_TO_WRITE: Final = 30.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What peers may use. ``message_seconds`` is counted from a message's first byte, ``idle_seconds`` between them.

    ``peers`` are the IP addresses that may connect; empty: any.
    """

    message_bytes: int = 32 << 20
    all_bytes: int = 256 << 20
    connections: int = 64
    peers: frozenset[str] = frozenset()
    idle_seconds: float = 600.0
    message_seconds: float = 60.0


@dataclass(slots=True)
class Counts:
    """What happened since the start, for metrics: messages by their answer, connections refused."""

    answers: dict[str, int] = field(default_factory=dict)
    refused_connections: int = 0


class _Oversize(Exception):
    pass


class MllpListener:
    """A server for one address ``(host, port)``; port 0 takes a free one.

    ``default_charset`` is for senders that leave MSH-18 empty.
    """

    def __init__(
        self,
        address: tuple[str, int],
        handlers: Handlers,
        limits: Limits | None = None,
        *,
        default_charset: str = "utf-8",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._address = address
        self._handlers = handlers
        self._limits = limits or Limits()
        self._default_charset = default_charset
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._connections: dict[_Connection, asyncio.Task[None]] = {}
        self._stopping = False
        self._held_bytes = 0
        self._working = asyncio.Semaphore(_AT_ONCE)
        self.counts = Counts()

    @property
    def port(self) -> int:
        """Return the port that is listened on; the listener has been started."""
        if self._server is None:
            raise RuntimeError("the listener has not been started")
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen.

        Raises
        ------
        OutOfResources
            When the address cannot be had.
        """
        host, port = self._address
        try:
            self._server = await asyncio.start_server(
                self._connected,
                host,
                port,
                limit=_CHUNK,
                ssl=self._tls,
                ssl_handshake_timeout=None if self._tls is None else _HANDSHAKE_SECONDS,
            )
        except OSError as error:
            raise OutOfResources(f"MLLP cannot listen on port {port}: {error.strerror}") from error

    async def stop(self, seconds: float = 10.0) -> None:
        """Take no more, give what is being answered ``seconds`` to end, then break off."""
        if self._server is None:
            return
        self._stopping = True
        self._server.close()
        for connection, task in list(self._connections.items()):
            if not connection.busy:
                task.cancel()
        if self._connections:
            _, late = await asyncio.wait(list(self._connections.values()), timeout=seconds)
            for task in late:
                task.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = str((writer.get_extra_info("peername") or ("",))[0])
        unknown = bool(self._limits.peers) and peer not in self._limits.peers
        if self._stopping or unknown or len(self._connections) >= self._limits.connections:
            self.counts.refused_connections += 1
            writer.close()
            return
        task = asyncio.current_task()
        assert task is not None
        connection = _Connection(self, reader)
        self._connections[connection] = task
        try:
            await self._serve(connection, writer)
        except (OSError, EOFError, TimeoutError, asyncio.CancelledError):
            pass
        finally:
            self._held_bytes -= connection.held
            self._connections.pop(connection, None)
            writer.close()

    async def _serve(self, connection: "_Connection", writer: asyncio.StreamWriter) -> None:
        while not self._stopping:
            try:
                connection.busy = False
                content = await connection.next_message()
                connection.busy = True
            except _Oversize:
                # The rest of it is not waited for: where the next message begins cannot be known.
                await self._answer(writer, refused("the message is larger than is taken here", Condition.APPLICATION))
                return
            answer = await self._handled(content)
            if answer:
                await self._answer(writer, answer)

    async def _answer(self, writer: asyncio.StreamWriter, answer: bytes) -> None:
        writer.write(_START + answer + _END + b"\r")
        async with asyncio.timeout(_SECONDS_TO_WRITE):
            await writer.drain()

    async def _handled(self, content: bytes) -> bytes:
        try:
            async with self._working:
                message = await asyncio.to_thread(parse_message, content, self._default_charset)
        except NotParseable as error:
            self._count("AR")
            return refused(error.message)
        except Exception as error:  # noqa: BLE001 - border: bytes of anybody
            _log.warning("an MLLP message could not be parsed: %s", type(error).__name__)
            self._count("AR")
            return refused("the message cannot be parsed")
        handler = self._handlers.find(message)
        if isinstance(handler, Acknowledgement):
            answer, response = handler, ""
        else:
            answer, response = await self._taken(handler, message), handler.response
        self._count(answer.code.value)
        return acknowledged(message, answer, response=response) if wanted(message, answer.code) else b""

    async def _taken(self, handler: Handler, message: Message) -> Acknowledgement:
        if not message.header.component(10):
            return Acknowledgement(AckCode.ERROR, Condition.REQUIRED_FIELD, "MSH-10 (message control ID) is empty")
        try:
            return await handler.handle(message)
        except Objection as error:
            return error.answer
        except OutOfResources:
            return Acknowledgement(AckCode.ERROR, Condition.APPLICATION, "the message cannot be kept now: try again")
        except (BadRequest, UnsupportedMediaType, TooLarge) as error:
            return Acknowledgement(AckCode.ERROR, Condition.DATA_TYPE, error.message)
        except DicomsvcError as error:
            return Acknowledgement(AckCode.ERROR, Condition.APPLICATION, error.message)
        except Exception as error:  # noqa: BLE001 - border: bytes of anybody, and whatever receives them
            _log.error("an MLLP message could not be taken: %s", type(error).__name__)
            return Acknowledgement(AckCode.ERROR, Condition.APPLICATION, "internal error: the message was not taken")

    def _count(self, code: str) -> None:
        self.counts.answers[code] = self.counts.answers.get(code, 0) + 1

    def hold(self, count: int) -> None:
        """Count bytes that wait for the end of their message.

        Raises
        ------
        _Oversize
            When all connections together hold more than they may.
        """
        self._held_bytes += count
        if self._held_bytes > self._limits.all_bytes:
            raise _Oversize

    @property
    def limits(self) -> Limits:
        return self._limits


class _Connection:
    """Cuts the bytes of one connection into messages.

    Lenient: bytes before the start and after the end of a block are passed over, the carriage return after the end may
    be missing, and so may the start of a block. ``busy`` is whether a message is being answered.
    """

    def __init__(self, listener: MllpListener, reader: asyncio.StreamReader) -> None:
        self._listener = listener
        self._reader = reader
        self._bytes = bytearray()
        self._searched = 0
        self.busy = False

    @property
    def held(self) -> int:
        return len(self._bytes)

    async def next_message(self) -> bytes:
        """Return the next block's content.

        Raises
        ------
        EOFError
            When the peer has closed the connection.
        TimeoutError
            When nothing comes, or the rest of a message does not.
        """
        limits = self._listener.limits
        begun: float | None = None
        loop = asyncio.get_running_loop()
        while True:
            end = self._bytes.find(_END, self._searched)
            if end >= 0:
                content = self._cut(end)
                if content.strip():
                    return content
                begun = None
                continue
            self._searched = len(self._bytes)
            if self._searched > limits.message_bytes:
                raise _Oversize
            if self._searched < 16 and not self._bytes.strip(b"\r\n \x00"):
                await self._read(limits.idle_seconds)
                continue
            begun = begun if begun is not None else loop.time()
            await self._read(max(begun + limits.message_seconds - loop.time(), 0.001))

    async def _read(self, seconds: float) -> None:
        async with asyncio.timeout(seconds):
            data = await self._reader.read(_CHUNK)
        if not data:
            raise EOFError
        self._bytes += data
        self._listener.hold(len(data))

    def _cut(self, end: int) -> bytes:
        block = bytes(self._bytes[:end])
        del self._bytes[: end + 1]
        self._listener.hold(-(end + 1))
        self._searched = 0
        start = block.find(_START)
        return block[start + 1 :] if start >= 0 else block.lstrip(b"\r\n \x00")
