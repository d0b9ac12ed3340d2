"""Audit messages as syslog over TLS (PS3.15 A.6; RFC 5424, RFC 5425)."""

import fcntl
import os
import select
import socket
import ssl
import struct
import time
from collections.abc import Sequence
from datetime import UTC
from typing import Final

from dicomsvc.audit.trail import Link
from dicomsvc.config import AuditSettings, split_address
from dicomsvc.errors import PeerFailure
from dicomsvc.tls import ClientTls, client_context, failure_of_handshake

# Facility 10, security messages; severity 5, or 4 where something failed (PS3.15 A.6).
_NORMAL: Final = 85
_WARNING: Final = 84
_MESSAGE_ID: Final = "DICOM+RFC3881"
# RFC 5424 6.4: what follows is UTF-8.
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_UNACKNOWLEDGED: Final = 0x5411
_TICK_SECONDS: Final = 0.02


def frame(link: Link, host: str) -> bytes:
    """Return a row of the trail as a syslog message with its length before it (RFC 5425 4.3)."""
    at = link.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    priority = _WARNING if link.outcome else _NORMAL
    header = f"<{priority}>1 {at} {host or '-'} dicomsvc {os.getpid()} {_MESSAGE_ID} - "
    message = header.encode("ascii", "replace") + _BYTE_ORDER_MARK + link.message.encode()
    return b"%d %b" % (len(message), message)


class Collector:
    """A connection to a collector. Every method raises `PeerFailure` when it fails; then close it."""

    def __init__(self, settings: AuditSettings) -> None:
        self.address = settings.collector or ""
        self._host, self._port = split_address(self.address)
        context = client_context(settings.certificate, settings.key, settings.ca, "audit")
        self._tls = ClientTls(context)
        self._timeout_seconds = settings.timeout_seconds
        self._socket: ssl.SSLSocket | None = None

    def send(self, messages: Sequence[bytes]) -> None:
        """Send messages; when this returns, the collector's machine has them.

        Syslog has no acknowledgement of its own, so that of TCP is waited for; what a collector loses by crashing after
        that is lost to it.
        """
        try:
            connection = self._connected()
            connection.sendall(b"".join(messages))
            self._await_acknowledgement(connection)
        except OSError as error:
            self.close()
            raise PeerFailure(f"the audit collector {self.address}: {failure_of_handshake(error)}") from error
        except PeerFailure:
            self.close()
            raise

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connected(self) -> ssl.SSLSocket:
        if self._socket is not None and self._has_ended(self._socket):
            self.close()
        if self._socket is None:
            plain = socket.create_connection((self._host, self._port), self._timeout_seconds)
            try:
                self._socket = self._tls.secure(plain, self._host)
            except OSError:
                plain.close()
                raise
        return self._socket

    def _has_ended(self, connection: ssl.SSLSocket) -> bool:
        """Whether the collector has closed; it says nothing else (RFC 5425 4.4), but session tickets."""
        readable, _, _ = select.select([connection], [], [], 0)
        if not readable and not connection.pending():
            return False
        connection.settimeout(0)
        try:
            return not connection.recv(4096)
        except ssl.SSLWantReadError:
            return False
        except OSError:
            return True
        finally:
            connection.settimeout(self._timeout_seconds)

    def _await_acknowledgement(self, connection: ssl.SSLSocket) -> None:
        deadline = time.monotonic() + self._timeout_seconds
        while _unacknowledged_bytes(connection):
            if time.monotonic() > deadline:
                raise PeerFailure(f"the audit collector {self.address} does not take what it is sent")
            time.sleep(_TICK_SECONDS)
        if self._has_ended(connection):
            raise PeerFailure(f"the audit collector {self.address} ended the connection")


def _unacknowledged_bytes(connection: socket.socket) -> int:
    answer = fcntl.ioctl(connection.fileno(), _UNACKNOWLEDGED, bytes(4))
    waiting: int = struct.unpack("i", answer)[0]
    return waiting
