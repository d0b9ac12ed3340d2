"""``dicomsvc commitments``: storage commitment, asked of this node and asked by it."""

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from dicomsvc.cli.context import DataOption, open_store
from dicomsvc.cli.output import JsonFlag, emit
from dicomsvc.errors import NotFound

if TYPE_CHECKING:
    from dicomsvc.pacs.commitment.overview import Entry

commitments = typer.Typer(
    help="Storage commitment: what peers asked this node to keep, and what this node asked of them.",
    no_args_is_help=True,
)
_LOOK_EVERY_SECONDS = 0.5


@commitments.command("list")
def list_commitments(
    limit: Annotated[int, typer.Option(min=1)] = 50, data: DataOption = None, as_json: JsonFlag = False
) -> None:
    """List requests, the latest first."""
    from dicomsvc.pacs.commitment.overview import latest

    with open_store(data) as store:
        entries = latest(store.engine, limit)
    text = "\n".join(entry.describe() for entry in entries) or "no storage commitment was asked for"
    emit([asdict(entry) for entry in entries], text, as_json=as_json)


@commitments.command()
def show(
    uid: Annotated[str, typer.Argument(help="Transaction UID")], data: DataOption = None, as_json: JsonFlag = False
) -> None:
    """Show a request with what failed."""
    from dicomsvc.pacs.commitment.overview import find

    with open_store(data) as store:
        _emit(find(store.engine, uid), as_json=as_json)


@commitments.command()
def retry(
    uid: Annotated[str, typer.Argument(help="Transaction UID")], data: DataOption = None, as_json: JsonFlag = False
) -> None:
    """Try again what was given up, or refused to this node; the running service does it."""
    from dicomsvc.pacs.commitment.overview import again, find

    with open_store(data) as store:
        again(store.engine, uid)
        _emit(find(store.engine, uid), as_json=as_json)


def _emit(found: "list[tuple[Entry, dict[str, int]]]", *, as_json: bool) -> None:
    lines, documents = [], []
    for entry, failures in found:
        reasons = {instance: f"{reason:#06x}" for instance, reason in failures.items()}
        lines += [entry.describe(), *(f"  failed with {reason}: {instance}" for instance, reason in reasons.items())]
        documents.append({**asdict(entry), "failures": reasons})
    emit(documents, "\n".join(lines), as_json=as_json)


@commitments.command()
def request(
    peer: Annotated[str, typer.Argument(help="Name of the peer")],
    study: Annotated[str, typer.Argument(help="Study Instance UID")],
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for the report.")] = 30,
    data: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Ask a peer to commit to a study's instances; status 0 when it commits to all of them.

    A report that comes on an association of the peer's own is taken by the running service.
    """
    from dicomsvc.dimse.commitment import commitment_result, request_commitment
    from dicomsvc.dimse.peers import KnownPeers

    with open_store(data) as store:
        peers = KnownPeers(store.engine, store.settings)
        known = peers.by_name(peer)
        if known is None:
            raise NotFound(f"there is no peer {peer}")
        instances = [(one.sop_class_uid, one.sop_instance_uid) for one in store.instances.find(study)]
        deadline = time.monotonic() + wait
        result = request_commitment(
            store.engine,
            peers.call(known),
            instances,
            wait_seconds=min(wait, 5.0),
            settings=store.settings.commitment,
        )
        while not result.ended and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY_SECONDS)
            result = commitment_result(store.engine, result.transaction_uid)
    lines = [
        f"{result.state}: {len(result.committed)} of {len(instances)} committed  {result.transaction_uid}",
        *(f"  failed with {reason:#06x}: {instance}" for instance, reason in result.failed.items()),
    ]
    if not result.ended:
        lines.append(f"  the report has not come yet: dicomsvc commitments show {result.transaction_uid}")
    emit(asdict(result), "\n".join(lines), as_json=as_json)
    if not result.all_committed:
        raise typer.Exit(1)
