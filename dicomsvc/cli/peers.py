"""``dicomsvc peers``: the application entities that this node knows."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicomsvc.cli.context import DataOption, open_store, settings_for
from dicomsvc.cli.output import JsonFlag, emit
from dicomsvc.config import Permission, is_peer_name, split_address

if TYPE_CHECKING:
    from dicomsvc.dimse import Peer
    from dicomsvc.dimse.peer_book import Entry

peers = typer.Typer(
    help="DICOM application entities that may call this node or are called by it.", no_args_is_help=True
)
NameArgument = Annotated[str, typer.Argument(help="Name of the peer")]


@peers.command("list")
def list_peers(data: DataOption = None, as_json: JsonFlag = False) -> None:
    """List the peers of the settings and of the database."""
    from dicomsvc.dimse.peer_book import PeerBook

    with open_store(data) as store:
        entries = PeerBook(store.engine, store.settings).entries()
    text = "\n".join(map(_line, entries)) or "no peers; `dicomsvc peers add` adds one"
    emit([entry.document() for entry in entries], text, as_json=as_json)


@peers.command()
def add(
    name: NameArgument,
    ae_title: Annotated[str, typer.Option("--ae", help="AE title by which it calls, and is called.")],
    host: Annotated[str | None, typer.Option(help="Where it is called; without, it only calls.")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port where it is called.")] = 104,
    tls: Annotated[bool, typer.Option("--tls", help="It is called with TLS.")] = False,
    may: Annotated[
        list[Permission] | None, typer.Option(help="What it may ask of this node; several times for several.")
    ] = None,
    address: Annotated[
        list[str] | None, typer.Option(help="IP address or network from which it calls; without, any.")
    ] = None,
    certificate: Annotated[
        list[str] | None,
        typer.Option(help="Its certificate: a PEM file, a SHA-256 fingerprint, or CN=NAME. It must then show it."),
    ] = None,
    calling: Annotated[str | None, typer.Option(help="AE title by which this node calls it.")] = None,
    deidentify: Annotated[str | None, typer.Option(help="De-identification profile for what is sent to it.")] = None,
    data: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Add a peer to the database; running services know it within seconds."""
    from dicomsvc.audit.reading import operator
    from dicomsvc.dimse.peer_book import PeerBook

    values: dict[str, Any] = {
        "ae_title": ae_title,
        "host": host,
        "port": port,
        "tls": tls,
        "may": may or [],
        "addresses": address or [],
        "certificates": [_certificate(entry) for entry in certificate or []],
        "calling_ae_title": calling,
        "deidentify": deidentify,
    }
    with open_store(data) as store:
        entry = PeerBook(store.engine, store.settings).add(name, values, who=operator())
    emit(entry.document(), _line(entry), as_json=as_json)


@peers.command()
def show(name: NameArgument, data: DataOption = None, as_json: JsonFlag = False) -> None:
    """Show one peer with all that is known of it."""
    from dicomsvc.dimse.peer_book import PeerBook

    with open_store(data) as store:
        document = PeerBook(store.engine, store.settings).find(name).document()
    text = "\n".join(f"{key:17} {_shown(value)}" for key, value in document.items())
    emit(document, text, as_json=as_json)


@peers.command()
def remove(name: NameArgument, data: DataOption = None, as_json: JsonFlag = False) -> None:
    """Remove a peer from the database; running services let it in no more within seconds."""
    from dicomsvc.audit.reading import operator
    from dicomsvc.dimse.peer_book import PeerBook

    with open_store(data) as store:
        PeerBook(store.engine, store.settings).remove(name, who=operator())
    emit({"removed": name}, f"{name} is removed", as_json=as_json)


def find_target(target: str, called: str | None, calling: str | None, data: Path | None) -> "Peer":
    """Return how ``target`` is called: ``HOST:PORT``, or the name of a peer, whose entry tells all but what is given.

    Raises
    ------
    NotFound
        When there is no such peer.
    typer.BadParameter
        When it is neither.
    """
    from dataclasses import replace

    from dicomsvc.dimse import Peer

    if is_peer_name(target):
        peer = _call(target, data)
        return replace(
            peer,
            called_ae_title=called or peer.called_ae_title,
            calling_ae_title=calling or peer.calling_ae_title,
        )
    try:
        host, port = split_address(target)
    except ValueError:
        raise typer.BadParameter(f"{target!r} is neither the name of a peer nor HOST:PORT") from None
    own = settings_for(data).dimse.ae_title
    return Peer(host, port, called_ae_title=called or "ANY-SCP", calling_ae_title=calling or own)


def _call(name: str, data: Path | None) -> "Peer":
    from dicomsvc.dimse.peer_book import PeerBook
    from dicomsvc.dimse.peers import Calling, KnownPeer

    settings = settings_for(data)
    if name in settings.peers:
        # Without the database, so that it works where none is.
        return Calling(settings).call(KnownPeer.of(name, settings.peers[name]))
    with open_store(data) as store:
        return Calling(settings).call(PeerBook(store.engine, store.settings).find(name).known())


def _certificate(entry: str) -> str:
    from dicomsvc.tls import own_certificates

    path = Path(entry)
    return own_certificates(path, "--certificate")[0].fingerprint if path.is_file() else entry


def _line(entry: "Entry") -> str:
    peer = entry.settings
    where = "only calls" if peer.host is None else f"{peer.host}:{peer.port}{' TLS' if peer.tls else ''}"
    may = ", ".join(sorted(peer.may)) or "C-ECHO only"
    origin = "settings" if entry.configured else "database"
    hidden = f", hidden by {entry.hidden_by} of the settings" if entry.hidden_by else ""
    return f"{entry.name:20} {peer.ae_title:16} {where:28} {may}  [{origin}{hidden}]"


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "(none)"
    return "(none)" if value is None else str(value)
