"""The DICOM service: accepts connections and hands each to a thread of its own."""

import logging
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from typing import Final

from dicomsvc.config import DimseSettings, is_loopback, split_address
from dicomsvc.dimse.acceptor import Connection, Node
from dicomsvc.dimse.counters import Counters, Counts, metrics
from dicomsvc.dimse.peers import KnownPeers
from dicomsvc.dimse.services import Services
from dicomsvc.store import Store
from dicomsvc.tls import server_context

_log = logging.getLogger(__name__)

_BACKLOG: Final = 256
_MOST_WAITING: Final = 128
_ACCEPT_TICK_SECONDS: Final = 0.25
_PAUSE_SECONDS: Final = 0.05


class DimseServer:
    """Accepts associations and serves what ``services`` lists, on a plain port and, when configured, on one with TLS.

    Raises
    ------
    ConfigurationError
        When the certificates for TLS are not what they must be.
    """

    def __init__(self, settings: DimseSettings, services: Services, store: Store) -> None:
        self._counters = Counters()
        self._settings = settings
        peers = KnownPeers(store.engine, store.settings)
        self._node = Node(settings, services, store, peers, self._counters, self._admit, self._is_stopping)
        self._tls = server_context(settings.tls, "dimse.tls")
        self._plain_listener: socket.socket | None = None
        self._tls_listener: socket.socket | None = None
        self._accepting: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        # Connections that have not asked for an association yet, the oldest first, and those that have one.
        self._waiting: dict[Connection, None] = {}
        self._associated: set[Connection] = set()
        self._open = 0

    @property
    def port(self) -> int:
        """Port that is listened on; also when the settings say 0."""
        if self._plain_listener is None:
            return split_address(self._settings.bind)[1]
        port: int = self._plain_listener.getsockname()[1]
        return port

    @property
    def tls_port(self) -> int | None:
        """Port that is listened on with TLS; None: there is none."""
        if self._tls_listener is None:
            return None
        port: int = self._tls_listener.getsockname()[1]
        return port

    def counts(self) -> Counts:
        """Return what was counted since the start."""
        return self._counters.snapshot()

    def counters(self) -> Mapping[str, float]:
        """Return what was counted, by metric name."""
        return metrics(self.counts())

    def start(self) -> None:
        """Listen, and serve in the background.

        Raises
        ------
        OSError
            When the address cannot be listened on, for instance since another program does.
        """
        plain, secured = self._settings.bind, self._settings.tls.bind
        self._plain_listener = _listen(plain)
        try:
            self._tls_listener = None if secured is None else _listen(secured)
        except OSError:
            self._plain_listener.close()
            raise
        self._node.peers.glance()
        for listener in (self._plain_listener, self._tls_listener):
            if listener is not None:
                thread = threading.Thread(target=self._accept_all, args=(listener,), name="dimse-accept", daemon=True)
                self._accepting.append(thread)
                thread.start()
        _log.info("DICOM service %s listens on port %d", self._settings.ae_title, self.port)
        if self.tls_port is not None:
            _log.info("DICOM service %s listens with TLS on port %d", self._settings.ae_title, self.tls_port)
        if not is_loopback(plain):
            _log.warning("dimse.bind is %s: others reach it, and what is sent there can be read on the way", plain)
        if self._settings.accept_unknown and not all(map(is_loopback, filter(None, (plain, secured)))):
            _log.warning("dimse.accept_unknown is set: anybody who reaches this service may associate")

    def stop(self, grace_seconds: float = 10.0) -> None:
        """Take no more connections, let each association finish its message, then end it.

        After ``grace_seconds`` what still runs is cut off; its sender gets no acknowledgement.
        """
        self._stopping.set()
        for thread in self._accepting:
            thread.join()
        for listener in (self._plain_listener, self._tls_listener):
            if listener is not None:
                listener.close()
        with self._changed:
            if not self._changed.wait_for(lambda: self._open == 0, grace_seconds):
                _log.warning("%d associations are cut off", len(self._associated))
                for connection in (*self._waiting, *self._associated):
                    connection.interrupt()
                self._changed.wait_for(lambda: self._open == 0, grace_seconds)

    def _is_stopping(self) -> bool:
        return self._stopping.is_set()

    def _accept_all(self, listener: socket.socket) -> None:
        tls = self._tls if listener is self._tls_listener else None
        while not self._stopping.is_set():
            try:
                accepted, address = listener.accept()
            except TimeoutError:
                continue
            except OSError:
                # No descriptor or memory is left just now; what ends gives some back.
                time.sleep(_PAUSE_SECONDS)
                continue
            self._serve(accepted, str(address[0]), tls)

    def _serve(self, accepted: socket.socket, address: str, tls: ssl.SSLContext | None) -> None:
        self._counters.connected()
        connection = Connection(self._node, accepted, address, tls)
        with self._changed:
            if self._open >= self._settings.max_associations + 2 * _MOST_WAITING:
                # So many are being turned away already that one more would only cost threads.
                accepted.close()
                return
            if len(self._waiting) >= _MOST_WAITING:
                # Whoever says nothing makes room for who may speak.
                silent = next(iter(self._waiting))
                del self._waiting[silent]
                silent.interrupt()
            self._waiting[connection] = None
            self._open += 1
        try:
            threading.Thread(target=self._run, args=(connection,), name=f"dimse-{address}", daemon=True).start()
        except RuntimeError:
            _log.exception("no thread is left for a connection")
            self._forget(connection)
            accepted.close()

    def _run(self, connection: Connection) -> None:
        try:
            connection.serve()
            self._forget(connection, closed=False)
            connection.close()
        finally:
            with self._changed:
                self._open -= 1
                self._changed.notify_all()

    def _admit(self, connection: Connection) -> bool:
        with self._changed:
            self._waiting.pop(connection, None)
            if len(self._associated) >= self._settings.max_associations:
                return False
            self._associated.add(connection)
            return True

    def _forget(self, connection: Connection, *, closed: bool = True) -> None:
        with self._changed:
            self._waiting.pop(connection, None)
            self._associated.discard(connection)
            if closed:
                self._open -= 1
                self._changed.notify_all()


def _listen(bind: str) -> socket.socket:
    host, port = split_address(bind)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    listener.settimeout(_ACCEPT_TICK_SECONDS)
    return listener
