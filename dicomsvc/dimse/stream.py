"""PDUs over a socket: bounded before they are buffered, with a deadline each, read without a copy (PS3.8 9.3.1)."""

import socket
import ssl
import time
from collections.abc import Callable
from struct import Struct
from typing import Final

from dicomsvc.dimse.failures import ConnectionEnded, NodeStopping, PeerTimedOut, ProtocolViolation
from dicomsvc.dimse.pdu import INVALID_PARAMETER
from dicomsvc.tls import failure_of_handshake

MAX_PDU_BYTES: Final = 1 << 20
"""Longest PDU of any type that is read."""

_HEADER = Struct(">BxI")
_TICK_SECONDS = 0.25
_FIRST_BUFFER_BYTES = 1 << 16
_BUFFERED_PDUS = 4
_LARGEST_BUFFER_BYTES = 2 * MAX_PDU_BYTES
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)


class PduStream:
    """Reads and writes PDUs on one socket, for one thread.

    Parameters
    ----------
    pdu_timeout_seconds:
        Longest time from a PDU's first byte to its last, either way.
    idle_timeout_seconds:
        Longest time to wait for a PDU's first byte.
    stopping:
        Asked some times a second while no message is under way; true ends the connection.
    """

    def __init__(
        self,
        connection: socket.socket,
        *,
        pdu_timeout_seconds: float,
        idle_timeout_seconds: float,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._socket = connection
        self._pdu_timeout = pdu_timeout_seconds
        self.idle_timeout_seconds = idle_timeout_seconds
        self._stopping = stopping
        self._buffer = memoryview(bytearray(_FIRST_BUFFER_BYTES))
        self._start = self._end = 0
        self.bytes_read = 0
        connection.settimeout(min(_TICK_SECONDS, pdu_timeout_seconds / 4))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self, *, between_messages: bool = False) -> tuple[int, memoryview]:
        """Return the next PDU's type and what follows its header; the view holds until the next call.

        Raises
        ------
        PeerTimedOut
            When the PDU is late.
        ConnectionEnded
            When the connection is closed.
        NodeStopping
            When this node stops and ``between_messages``.
        ProtocolViolation
            When the PDU is longer than `MAX_PDU_BYTES`.
        """
        if self._start == self._end:
            self._start = self._end = 0
            self._fill(1, time.monotonic() + self.idle_timeout_seconds, between_messages)
        deadline = time.monotonic() + self._pdu_timeout
        self._fill(_HEADER.size, deadline)
        kind, length = _HEADER.unpack_from(self._buffer, self._start)
        if length > MAX_PDU_BYTES:
            raise ProtocolViolation(f"a PDU of {length} bytes", INVALID_PARAMETER)
        self._fill(_HEADER.size + length, deadline)
        body = self._start + _HEADER.size
        self._start = body + length
        return kind, self._buffer[body : self._start]

    def arrives(self, seconds: float) -> bool:
        """Whether the peer sends something within this time; it is left to be read.

        Raises
        ------
        ConnectionEnded
            When the connection is closed.
        NodeStopping
            When this node stops.
        """
        if self._start == self._end:
            self._start = self._end = 0
            try:
                self._fill(1, time.monotonic() + seconds, between_messages=True)
            except PeerTimedOut:
                return False
        return True

    def poll(self) -> tuple[int, memoryview] | None:
        """Return the next PDU as `read` does if all of it is there already, else None; never waits."""
        if self._start == self._end:
            self._start = self._end = 0
        if self._waiting_pdu_bytes() is None:
            self._make_room(self._end - self._start + 1)
            self._take_what_is_there()
        length = self._waiting_pdu_bytes()
        if length is None:
            return None
        kind = self._buffer[self._start]
        body = self._start + _HEADER.size
        self._start += length
        return kind, self._buffer[body : self._start]

    def _waiting_pdu_bytes(self) -> int | None:
        """Return how long the PDU at the head of the buffer is, when all of it is there."""
        there = self._end - self._start
        if there < _HEADER.size:
            return None
        _, length = _HEADER.unpack_from(self._buffer, self._start)
        if length > MAX_PDU_BYTES:
            raise ProtocolViolation(f"a PDU of {length} bytes", INVALID_PARAMETER)
        whole: int = _HEADER.size + length
        return whole if there >= whole else None

    def _take_what_is_there(self) -> None:
        timeout = self._socket.gettimeout()
        self._socket.settimeout(0)
        try:
            received = self._socket.recv_into(self._buffer[self._end :])
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError as error:
            raise ConnectionEnded(_reason(error)) from error
        finally:
            self._socket.settimeout(timeout)
        if not received:
            raise ConnectionEnded("the peer closed the connection")
        self._end += received
        self.bytes_read += received

    def _fill(self, needed: int, deadline: float, between_messages: bool = False) -> None:
        if self._end - self._start >= needed:
            return
        self._make_room(needed)
        while self._end - self._start < needed:
            try:
                space = self._buffer[self._end :]
                received = self._socket.recv_into(space)
            except TimeoutError:
                received = -1
            except OSError as error:
                raise ConnectionEnded(_reason(error)) from error
            if received > 0:
                self._end += received
                self.bytes_read += received
                if received < len(space):
                    self._acknowledge_at_once()
            elif received == 0:
                raise ConnectionEnded("the peer closed the connection")
            elif between_messages and self._stopping():
                raise NodeStopping("this node is stopping")
            if self._end - self._start < needed and time.monotonic() > deadline:
                raise PeerTimedOut("a PDU did not arrive in time")

    def _make_room(self, needed: int) -> None:
        if self._start + needed <= len(self._buffer):
            return
        waiting = self._buffer[self._start : self._end]
        target = self._buffer
        if needed > len(self._buffer):
            target = memoryview(bytearray(max(needed, min(needed * _BUFFERED_PDUS, _LARGEST_BUFFER_BYTES))))
        target[: len(waiting)] = waiting
        self._buffer = target
        self._start, self._end = 0, len(waiting)

    def _acknowledge_at_once(self) -> None:
        # A sender with Nagle's algorithm waits for our acknowledgement before each last short segment, and the kernel
        # falls back to delayed acknowledgements by itself.
        if _QUICKACK is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def write(self, data: bytes | memoryview) -> None:
        """Send all of ``data``.

        Raises
        ------
        PeerTimedOut
            When the peer does not take it in time.
        ConnectionEnded
            When the connection is gone.
        """
        deadline = time.monotonic() + self._pdu_timeout
        view = memoryview(data)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise PeerTimedOut("the peer does not read") from None
            except OSError as error:
                raise ConnectionEnded(_reason(error)) from error

    def linger(self, seconds: float) -> None:
        """Wait for the peer to close, so that our last PDU is not lost to a reset, then close."""
        deadline = time.monotonic() + seconds
        try:
            if not isinstance(self._socket, ssl.SSLSocket):
                self._socket.shutdown(socket.SHUT_WR)
            while time.monotonic() < deadline:
                try:
                    if not self._socket.recv_into(self._buffer):
                        break
                except TimeoutError:
                    continue
        except OSError:
            pass
        finally:
            self.close()

    def close(self) -> None:
        self._end_tls()
        self._socket.close()

    def _end_tls(self) -> None:
        """Send the alert that ends TLS (RFC 8446 6.1), and do not wait for the peer's."""
        if isinstance(self._socket, ssl.SSLSocket):
            try:
                self._socket.settimeout(0)
                self._socket.unwrap()
            except (OSError, ValueError):
                # The alert is out, or there is nobody to get it.
                pass


def _reason(error: OSError) -> str:
    return failure_of_handshake(error) if isinstance(error, ssl.SSLError) else "the connection was reset"
