"""The DICOM service: accepts connections and hands each to a thread of its own."""

import logging
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from typing import Final

from dicomsvc.config import DimseSettings, split_address
from dicomsvc.dimse.acceptor import Connection, Node
from dicomsvc.dimse.counters import Counters, Counts, metrics
from dicomsvc.dimse.services import Services
from dicomsvc.store import Store

_log = logging.getLogger(__name__)

_BACKLOG: Final = 256
_MOST_WAITING: Final = 128
_ACCEPT_TICK_SECONDS: Final = 0.25
_PAUSE_SECONDS: Final = 0.05


class DimseServer:
    """Accepts associations and serves what ``services`` lists.

    Parameters
    ----------
    tls:
        When given, every connection starts with a TLS handshake.
    """

    def __init__(
        self, settings: DimseSettings, services: Services, store: Store, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self._counters = Counters()
        self._settings = settings
        self._node = Node(settings, services, store, self._counters, self._admit, self._is_stopping, tls)
        self._listener: socket.socket | None = None
        self._accepting: threading.Thread | None = None
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        # Connections that have not asked for an association yet, the oldest first, and those that have one.
        self._waiting: dict[Connection, None] = {}
        self._associated: set[Connection] = set()
        self._open = 0

    @property
    def port(self) -> int:
        """Port that is listened on; also when the settings say 0."""
        if self._listener is None:
            return split_address(self._settings.bind)[1]
        port: int = self._listener.getsockname()[1]
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
        host, port = split_address(self._settings.bind)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        self._listener.settimeout(_ACCEPT_TICK_SECONDS)
        self._accepting = threading.Thread(target=self._accept_all, name="dimse-accept", daemon=True)
        self._accepting.start()
        _log.info("DICOM service %s listens on port %d", self._settings.ae_title, self.port)

    def stop(self, grace_seconds: float = 10.0) -> None:
        """Take no more connections, let each association finish its message, then end it.

        After ``grace_seconds`` what still runs is cut off; its sender gets no acknowledgement.
        """
        self._stopping.set()
        if self._accepting is not None:
            self._accepting.join()
        if self._listener is not None:
            self._listener.close()
        with self._changed:
            if not self._changed.wait_for(lambda: self._open == 0, grace_seconds):
                _log.warning("%d associations are cut off", len(self._associated))
                for connection in (*self._waiting, *self._associated):
                    connection.interrupt()
                self._changed.wait_for(lambda: self._open == 0, grace_seconds)

    def _is_stopping(self) -> bool:
        return self._stopping.is_set()

    def _accept_all(self) -> None:
        listener = self._listener
        while listener is not None and not self._stopping.is_set():
            try:
                accepted, address = listener.accept()
            except TimeoutError:
                continue
            except OSError:
                # No descriptor or memory is left just now; what ends gives some back.
                time.sleep(_PAUSE_SECONDS)
                continue
            self._serve(accepted, str(address[0]))

    def _serve(self, accepted: socket.socket, address: str) -> None:
        self._counters.connected()
        connection = Connection(self._node, accepted, address)
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
