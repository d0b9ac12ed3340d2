"""HTTP requests that this node makes: bodies streamed, answers bounded, no redirects followed, nothing kept waiting."""

import socket
import ssl
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from dicomsvc.errors import PeerFailure
from dicomsvc.tls import ClientTls, client_context, failure_of_handshake

_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Url:
    """A URL of the settings, taken apart."""

    scheme: str
    host: str
    port: int
    target: str

    @classmethod
    def parse(cls, url: str) -> "Url":
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme], target)

    @property
    def authority(self) -> str:
        """Value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited, in seconds: to be connected, for each step, for all of a request (None: no limit)."""

    connect: float = 10
    step: float = 60
    whole: float | None = None


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """Status and as much of the body as was asked for."""

    status: int
    body: bytes


class _Connection(HTTPConnection):
    """Connects to addresses that are known already, and to nothing else; the name is for TLS and the Host header."""

    def __init__(self, url: Url, addresses: Sequence[str], patience: Patience, tls: ClientTls | None) -> None:
        super().__init__(url.host, url.port, timeout=patience.step)
        self._url = url
        self._addresses = addresses
        self._patience = patience
        self._tls = tls
        # `HTTPConnection` forgets its socket before an answer has been read to its end.
        self.socket: socket.socket | None = None

    def connect(self) -> None:
        last: OSError = OSError("there is no address")
        for address in self._addresses:
            try:
                connection = socket.create_connection((address, self._url.port), self._patience.connect)
            except OSError as error:
                last = error
                continue
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(self._patience.step)
            self.sock = connection
            if self._tls is not None:
                self.sock = self._tls.secure(connection, self._url.host)
            self.sock.settimeout(self._patience.step)
            self.socket = self.sock
            return
        raise last


class HttpClient:
    """Requests to one server, over one connection while it keeps that; for one thread, as a context manager."""

    def __init__(
        self,
        url: Url,
        addresses: Sequence[str],
        *,
        patience: Patience | None = None,
        tls: ClientTls | None = None,
    ) -> None:
        self._url = url
        self._patience = patience or Patience()
        self._overdue = False
        if url.scheme == "https" and tls is None:
            tls = ClientTls(client_context(None, None, None, "routing"))
        self._connection = _Connection(url, addresses, self._patience, tls if url.scheme == "https" else None)

    def post(
        self, target: str, headers: Mapping[str, str], body: Iterable[bytes | memoryview], length: int, *, most: int
    ) -> HttpAnswer:
        """Send a request of ``length`` bytes and return the answer, with ``most`` bytes of its body at most.

        Raises
        ------
        PeerFailure
            When the server cannot be reached, or does not answer in HTTP in time.
        """
        self._overdue = False
        timer = None if self._patience.whole is None else threading.Timer(self._patience.whole, self._cut)
        if timer is not None:
            timer.daemon = True
            timer.start()
        try:
            answer = self._post(target, headers, body, length, most)
            if self._overdue:
                raise TimeoutError("it took too long")
            return answer
        except ssl.SSLError as error:
            self.close()
            raise PeerFailure(f"{self._url.authority}: TLS failed: {failure_of_handshake(error)}") from error
        except (OSError, HTTPException) as error:
            self.close()
            why = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
            raise PeerFailure(f"{self._url.authority} does not answer: {why}") from error
        except BaseException:
            # Half a request has been sent.
            self.close()
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _post(
        self, target: str, headers: Mapping[str, str], body: Iterable[bytes | memoryview], length: int, most: int
    ) -> HttpAnswer:
        connection = self._connection
        if connection.sock is None:
            connection.connect()
        connection.putrequest("POST", target, skip_host=True, skip_accept_encoding=True)
        for name, value in {"Host": self._url.authority, **headers, "Content-Length": str(length)}.items():
            connection.putheader(name, value)
        connection.endheaders()
        try:
            for piece in body:
                connection.send(piece)
        except (BrokenPipeError, ConnectionResetError):
            # A server that refuses may say so before it has read all.
            pass
        response = connection.getresponse()
        answer = HttpAnswer(response.status, response.read(most))
        self._end(response)
        return answer

    def _end(self, response: HTTPResponse) -> None:
        """Keep the connection only where nothing is left in it."""
        if response.will_close or not response.isclosed():
            self.close()

    def _cut(self) -> None:
        self._overdue = True
        connection = self._connection.socket
        if connection is not None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
