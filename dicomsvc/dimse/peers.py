"""The application entities that this node knows: those of the settings, and those added at run time.

The settings win: a peer of the table with the name or the AE title of one of them is not seen.
"""

import logging
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Engine

from dicomsvc.config import PeerSettings, Permission, Settings
from dicomsvc.dimse.peer_table import read_peers
from dicomsvc.dimse.requestor import Peer
from dicomsvc.errors import BadRequest, DicomsvcError, OutOfResources
from dicomsvc.tls import ClientTls, client_context

__all__ = ["Calling", "Directory", "KnownPeer", "KnownPeers", "Permission"]

_log = logging.getLogger(__name__)

_FRESH_SECONDS: Final = 3.0
_PATIENCE_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class KnownPeer:
    """An application entity that may call this node or is called by it; the fields are those of `PeerSettings`."""

    name: str
    ae_title: str
    host: str | None
    port: int = 104
    tls: bool = False
    may: frozenset[Permission] = frozenset()
    addresses: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    calling_ae_title: str | None = None
    deidentify: str | None = None

    @classmethod
    def of(cls, name: str, settings: PeerSettings) -> "KnownPeer":
        return cls(name=name, **{key: getattr(settings, key) for key in PeerSettings.model_fields})

    def allows(self, permission: Permission) -> bool:
        return permission in self.may


@dataclass(frozen=True, slots=True)
class Directory:
    """The peers at one moment."""

    by_name: Mapping[str, KnownPeer] = field(default_factory=dict)
    by_ae_title: Mapping[str, KnownPeer] = field(default_factory=dict)

    @classmethod
    def merged(cls, configured: Mapping[str, PeerSettings], added: Mapping[str, PeerSettings]) -> "Directory":
        """Return the peers of the settings, and those of the table that they do not hide."""
        taken = {settings.ae_title for settings in configured.values()}
        seen = {name: row for name, row in added.items() if name not in configured and row.ae_title not in taken}
        peers = [KnownPeer.of(name, row) for name, row in sorted((seen | dict(configured)).items())]
        return cls({peer.name: peer for peer in peers}, {peer.ae_title: peer for peer in peers})


class Calling:
    """How peers are called: as whom, and with which certificates; for many threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.dimse
        self._lock = threading.Lock()
        self._contexts: dict[bool, ssl.SSLContext] = {}

    def call(self, known: KnownPeer) -> Peer:
        """Return how a peer is called.

        Raises
        ------
        BadRequest
            When it has no host: it only calls.
        ConfigurationError
            When it is called with TLS, and our certificate or the authorities cannot be used.
        """
        if known.host is None:
            raise BadRequest(f"peer {known.name} has no host: it calls this node, and is not called")
        return Peer(
            known.host,
            known.port,
            called_ae_title=known.ae_title,
            calling_ae_title=known.calling_ae_title or self._settings.ae_title,
            tls=self._tls(known) if known.tls else None,
        )

    def _tls(self, known: KnownPeer) -> ClientTls:
        names = [entry.removeprefix("CN=") for entry in known.certificates if entry.startswith("CN=")]
        fingerprints = frozenset(entry for entry in known.certificates if not entry.startswith("CN="))
        return ClientTls(self._context(verify=not fingerprints), fingerprints, next(iter(names), None))

    def _context(self, *, verify: bool) -> ssl.SSLContext:
        with self._lock:
            if verify not in self._contexts:
                own = self._settings.tls
                self._contexts[verify] = client_context(own.certificate, own.key, own.ca, "dimse.tls", verify=verify)
            return self._contexts[verify]


class KnownPeers:
    """The peers, read from the table at most every three seconds; for many threads.

    Once they have been read, the last state serves while the database does not answer.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._directory = Directory.merged(settings.peers, {})
        self._complete = False
        self._lock = threading.Lock()
        self._reading: threading.Event | None = None
        self._reading_since = 0.0
        self._fresh_until = 0.0
        self._calling = Calling(settings)

    def all(self) -> tuple[KnownPeer, ...]:
        """Return every peer, by name.

        Raises
        ------
        OutOfResources
            When the table was never read, and the database does not answer. So do `by_name` and `by_ae_title`.
        """
        return tuple(self._current().by_name.values())

    def by_name(self, name: str) -> KnownPeer | None:
        return self._current().by_name.get(name)

    def by_ae_title(self, ae_title: str) -> KnownPeer | None:
        return self._current().by_ae_title.get(ae_title)

    def glance(self) -> Directory:
        """Return the peers as far as they are known, after half a second at most; raises nothing."""
        reading, since = self._refresh()
        if reading is not None:
            reading.wait(max(0.0, since + _PATIENCE_SECONDS - time.monotonic()))
        return self._directory

    def call(self, known: KnownPeer) -> Peer:
        """Return how a peer is called; raises what `Calling.call` does."""
        return self._calling.call(known)

    def _current(self) -> Directory:
        if self._complete:
            return self.glance()
        reading, _ = self._refresh()
        if reading is not None:
            reading.wait()
        if not self._complete:
            raise OutOfResources("the peers cannot be read: the database does not answer; try again later")
        return self._directory

    def _refresh(self) -> tuple[threading.Event | None, float]:
        """Begin to read the table when that is due; return what ends with the reading under way, and its begin."""
        with self._lock:
            if self._reading is None and time.monotonic() >= self._fresh_until:
                self._reading, self._reading_since = threading.Event(), time.monotonic()
                threading.Thread(target=self._read, args=(self._reading,), name="peers", daemon=True).start()
            return self._reading, self._reading_since

    def _read(self, done: threading.Event) -> None:
        try:
            self._directory = Directory.merged(self._settings.peers, read_peers(self._engine))
            self._complete = True
        except DicomsvcError as error:
            _log.warning("the peers cannot be read; those known go on being served: %s", error)
        finally:
            with self._lock:
                self._fresh_until = time.monotonic() + _FRESH_SECONDS
                self._reading = None
            done.set()
