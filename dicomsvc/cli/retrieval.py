"""``dicomsvc query`` and ``dicomsvc retrieve``: what another archive has, and having it sent here or getting it."""

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from dicomsvc.cli.context import DataOption, open_store, settings_for
from dicomsvc.cli.output import JsonFlag, emit, progress_bar
from dicomsvc.cli.peers import find_target
from dicomsvc.cli.slides import CalledOption, CallingOption, PeerArgument
from dicomsvc.errors import BadRequest

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom import Dataset

    from dicomsvc.dimse import Peer
    from dicomsvc.dimse.querying import Retrieved

_SHOWN: Final = {
    "PATIENT": ("PatientID", "PatientName", "PatientBirthDate"),
    "STUDY": ("PatientID", "PatientName", "StudyDate", "AccessionNumber", "StudyDescription", "StudyInstanceUID"),
    "SERIES": ("Modality", "SeriesNumber", "SeriesDescription", "SeriesInstanceUID"),
    "IMAGE": ("InstanceNumber", "SOPClassUID", "SOPInstanceUID"),
}
_UNIQUE: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_LEVELS: Final = ("STUDY", "SERIES", "IMAGE")


def query(
    peer: PeerArgument,
    keys: Annotated[
        list[str] | None, typer.Argument(help="Keys, KEYWORD=VALUE, e.g. PatientID=P1 or StudyDate=20260101-")
    ] = None,
    level: Annotated[str, typer.Option(help="PATIENT, STUDY, SERIES or IMAGE.")] = "STUDY",
    called: CalledOption = None,
    calling: CallingOption = None,
    data: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Ask a peer what it has (C-FIND)."""
    from dicomsvc.dimse.querying import find

    identifier = _identifier(level.upper(), keys or [])
    found = list(find(find_target(peer, called, calling, data), identifier))
    shown = _SHOWN[identifier.QueryRetrieveLevel]
    lines = ["  ".join(str(result.get(keyword, "") or "-") for keyword in shown) for result in found]
    lines.append(f"{len(found)} results")
    emit([result.to_json_dict() for result in found], "\n".join(lines), as_json=as_json)


def retrieve(
    peer: PeerArgument,
    uids: Annotated[list[str], typer.Argument(help="Study, and below it series and instance, by UID")],
    to: Annotated[str | None, typer.Option(help="AE title that it is sent to; this node's own without.")] = None,
    by_get: Annotated[
        bool,
        typer.Option("--get", help="Get it by C-GET, over the connection to the peer; needs no running service."),
    ] = False,
    called: CalledOption = None,
    calling: CallingOption = None,
    data: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Have a peer send a study, series or instance: by C-MOVE to this node's running service or to another one.

    With --get by C-GET: it comes over the connection that asks for it, into the store of --data. The peer need not know
    this node as a move destination, nor be able to connect to it.
    """
    from dataclasses import asdict

    if by_get and to is not None:
        raise BadRequest("--get brings instances to this node; leave --to away")
    if not 0 < len(uids) <= len(_UNIQUE):
        raise BadRequest("name a study, a study and a series, or a study, a series and an instance")
    keys = [f"{keyword}={uid}" for keyword, uid in zip(_UNIQUE, uids, strict=False)]
    identifier = _identifier(_LEVELS[len(uids) - 1], keys, retrieving=True)
    target = find_target(peer, called, calling, data)
    retrieved = _get(target, identifier, data) if by_get else _move(target, identifier, to, data)
    text = f"{retrieved.completed} stored, {retrieved.warnings} with warnings, {retrieved.failed} failed"
    if not retrieved.ok:
        text += f"; status {retrieved.status:#06x} {retrieved.comment}".rstrip()
    document: dict[str, Any] = {**asdict(retrieved), "ok": retrieved.ok}
    emit(document, text, as_json=as_json)
    if not retrieved.ok:
        raise typer.Exit(1)


def _move(target: "Peer", identifier: "Dataset", to: str | None, data: "Path | None") -> "Retrieved":
    from dicomsvc.dimse.querying import move

    destination = to or settings_for(data).dimse.ae_title
    with progress_bar("retrieving") as report:
        return move(target, identifier, destination, progress=report)


def _get(target: "Peer", identifier: "Dataset", data: "Path | None") -> "Retrieved":
    from dicomsvc.dimse.getting import get
    from dicomsvc.ingest.dimse import store_instance

    with open_store(data) as store, progress_bar("retrieving") as report:
        return get(target, identifier, store, store_instance, progress=report)


def _identifier(level: str, keys: list[str], *, retrieving: bool = False) -> "Dataset":
    from pydicom import Dataset
    from pydicom.datadict import tag_for_keyword

    if level not in _SHOWN:
        raise BadRequest("the level is PATIENT, STUDY, SERIES or IMAGE")
    identifier = Dataset()
    identifier.SpecificCharacterSet = "ISO_IR 192"
    identifier.QueryRetrieveLevel = level
    for keyword in () if retrieving else _SHOWN[level]:
        setattr(identifier, keyword, None)
    for key in keys:
        keyword, separator, value = key.partition("=")
        if not separator or tag_for_keyword(keyword) is None:
            raise BadRequest(f"{keyword!r} is no key; write KEYWORD=VALUE with a keyword of PS3.6")
        setattr(identifier, keyword, value or None)
    return identifier
