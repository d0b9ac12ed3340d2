"""Peers listed, added, changed and removed; those of the settings can only be looked at."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Engine

from dicomsvc.audit import Party, SecurityAlert
from dicomsvc.config import PeerSettings, Settings, is_peer_name
from dicomsvc.dimse.peer_table import delete_peer, insert_peer, read_peers, update_peer
from dicomsvc.dimse.peers import KnownPeer
from dicomsvc.errors import BadRequest, Conflict, NotFound


@dataclass(frozen=True, slots=True)
class Entry:
    """A peer and where it is written. ``hidden_by``: the peer of the settings because of which it is not seen."""

    name: str
    settings: PeerSettings
    configured: bool
    hidden_by: str | None = None

    def known(self) -> KnownPeer:
        return KnownPeer.of(self.name, self.settings)

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        values = self.settings.model_dump(mode="json")
        values["may"] = sorted(values["may"])
        origin = "settings" if self.configured else "database"
        return {"name": self.name, **values, "written_in": origin, "hidden_by": self.hidden_by}


class PeerBook:
    """The peers of the settings and those of the table.

    Every method raises `OutOfResources` when the database does not answer. ``who`` changes something is recorded in
    the audit trail (PS3.15 A.5.3.11, Network Configuration).
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings

    def entries(self) -> list[Entry]:
        """Return every peer, by name."""
        configured = self._settings.peers
        titles = {row.ae_title: name for name, row in configured.items()}
        written = [Entry(name, row, configured=True) for name, row in configured.items()]
        for name, row in read_peers(self._engine).items():
            hidden_by = name if name in configured else titles.get(row.ae_title)
            written.append(Entry(name, row, configured=False, hidden_by=hidden_by))
        return sorted(written, key=lambda entry: (entry.name, not entry.configured))

    def find(self, name: str) -> Entry:
        """Return a peer.

        Raises
        ------
        NotFound
            When there is none of that name.
        """
        if name in self._settings.peers:
            return Entry(name, self._settings.peers[name], configured=True)
        for entry in self.entries():
            if entry.name == name:
                return entry
        raise NotFound(f"there is no peer {_shown(name)}; `dicomsvc peers list` shows those that there are")

    def add(self, name: str, values: Mapping[str, Any], *, who: Party) -> Entry:
        """Add a peer.

        Raises
        ------
        BadRequest
            When name or values are not what they must be; the message names the field.
        Conflict
            When another peer has the name or the AE title.
        """
        if not is_peer_name(name):
            raise BadRequest("a peer's name has up to 64 letters, digits, '_', '.' or '-'")
        peer = self._checked(name, values)
        insert_peer(self._engine, name, peer, _changed(who, f"peer {name} ({peer.ae_title}) is added"))
        return Entry(name, peer, configured=False)

    def change(self, name: str, values: Mapping[str, Any], *, who: Party) -> Entry:
        """Change those fields of a peer that ``values`` has.

        Raises
        ------
        NotFound, BadRequest, Conflict
        """
        self._require_unconfigured(name)
        before = self.find(name).settings
        peer = self._checked(name, {**before.model_dump(), **values})
        update_peer(self._engine, name, peer, _changed(who, f"peer {name} ({peer.ae_title}) is changed"))
        return Entry(name, peer, configured=False)

    def remove(self, name: str, *, who: Party) -> None:
        """Remove a peer.

        Raises
        ------
        NotFound, Conflict
        """
        if not any(entry.name == name and not entry.configured for entry in self.entries()):
            self._require_unconfigured(name)
            raise NotFound(f"there is no peer {_shown(name)}")
        delete_peer(self._engine, name, _changed(who, f"peer {name} is removed"))

    def _checked(self, name: str, values: Mapping[str, Any]) -> PeerSettings:
        self._require_unconfigured(name)
        try:
            peer = PeerSettings(**values)
        except ValidationError as error:
            problems = error.errors(include_input=False, include_url=False, include_context=False)
            raise BadRequest(
                "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in problems)
            ) from None
        for other, row in self._settings.peers.items():
            if row.ae_title == peer.ae_title:
                raise Conflict(f"peer {other} of the settings has the AE title {peer.ae_title}")
        if not self._settings.has_deidentification_profile(peer.deidentify):
            raise BadRequest(f"deidentify: there is no profile {_shown(peer.deidentify or '')}")
        return peer

    def _require_unconfigured(self, name: str) -> None:
        if name in self._settings.peers:
            raise Conflict(f"peer {name} is written in the settings, under [peers.{name}]; change it there")


def _changed(who: Party, what: str) -> SecurityAlert:
    return SecurityAlert(kind="NetworkConfiguration", subject="urn:dicomsvc:peers", performer=who, description=what)


def _shown(name: str) -> str:
    return repr(name[:64])
