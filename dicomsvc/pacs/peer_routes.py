"""``/api/peers``: the application entities that this node knows."""

from dataclasses import replace
from typing import Annotated, Any, Final, Self

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from dicomsvc.audit.web import user_of
from dicomsvc.config import PEER_NAME, Permission
from dicomsvc.dimse import echo
from dicomsvc.dimse.peer_book import Entry, PeerBook
from dicomsvc.dimse.peers import KnownPeers
from dicomsvc.store import Store

_ECHO_SECONDS: Final = 20
Name = Annotated[str, Path(pattern=rf"^{PEER_NAME}$", description="Name of the peer")]


class PeerChange(BaseModel):
    """What is to change of a peer."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    ae_title: str | None = Field(None, max_length=16)
    """Application Entity Title by which it calls, and is called."""
    host: str | None = Field(None, max_length=255)
    """Name or address where it is called; null: it only calls."""
    port: int = 104
    """Port where it is called."""
    tls: bool = False
    """It is called with TLS."""
    may: list[Permission] = Field(default_factory=list)
    """What it may ask of this node."""
    addresses: list[str] = Field(default_factory=list, max_length=256)
    """IP addresses or networks from which it calls; empty: any."""
    certificates: list[str] = Field(default_factory=list, max_length=64)
    """SHA-256 fingerprints of certificates that it shows, or ``CN=name``; empty: none is asked for."""
    calling_ae_title: str | None = Field(None, max_length=16)
    """Application Entity Title by which this node calls it; null: its own."""
    deidentify: str | None = Field(None, max_length=64)
    """De-identification profile for what is sent to it; null: sent as it is."""


class NewPeer(PeerChange):
    """A peer to add."""

    name: str = Field(max_length=64)
    """Name of the peer, here and in rules."""


class PeerEntry(PeerChange):
    """A known peer. ``written_in``: settings, or database, where it can be changed."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: str
    written_in: str
    hidden_by: str | None
    """The peer of the settings, of the same name or AE title, because of which this one is not seen."""

    @classmethod
    def of(cls, entry: Entry) -> Self:
        return cls(**entry.document())


class EchoAnswer(BaseModel):
    """The peer answered a C-ECHO after ``seconds``, the association included."""

    seconds: float


def peer_routes(store: Store) -> APIRouter:
    """Return the routes for the peers of ``store``'s service."""
    router = APIRouter(prefix="/api/peers", tags=["peers"])
    book = PeerBook(store.engine, store.settings)
    peers = KnownPeers(store.engine, store.settings)

    @router.get("", summary="All peers, of the settings and of the database")
    def list_peers() -> list[PeerEntry]:
        return [PeerEntry.of(entry) for entry in book.entries()]

    @router.post("", status_code=201, summary="Add a peer")
    def add_peer(peer: NewPeer, request: Request) -> PeerEntry:
        return PeerEntry.of(book.add(peer.name, _values(peer), who=user_of(request.scope)))

    @router.get("/{name}", summary="One peer")
    def show_peer(name: Name) -> PeerEntry:
        return PeerEntry.of(book.find(name))

    @router.patch("/{name}", summary="Change those fields of a peer that are sent")
    def change_peer(name: Name, change: PeerChange, request: Request) -> PeerEntry:
        return PeerEntry.of(book.change(name, _values(change), who=user_of(request.scope)))

    @router.delete("/{name}", status_code=204, summary="Remove a peer")
    def remove_peer(name: Name, request: Request) -> None:
        book.remove(name, who=user_of(request.scope))

    @router.post("/{name}/echo", summary="Ask a peer whether it answers (C-ECHO); 502 when it does not")
    def echo_peer(name: Name) -> EchoAnswer:
        peer = peers.call(book.find(name).known())
        return EchoAnswer(seconds=echo(replace(peer, pdu_timeout_seconds=10, response_timeout_seconds=_ECHO_SECONDS)))

    return router


def _values(peer: PeerChange) -> dict[str, Any]:
    return peer.model_dump(exclude_unset=True, exclude={"name"})
