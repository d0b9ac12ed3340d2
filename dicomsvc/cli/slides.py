"""Commands that move slides: convert, import, send, echo."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicomsvc.cli.context import DataOption, open_store, settings_for
from dicomsvc.cli.output import JsonFlag, emit, progress_bar
from dicomsvc.cli.peers import find_target
from dicomsvc.errors import BadRequest

if TYPE_CHECKING:
    from dicomsvc.dimse import Peer

MetadataOption = Annotated[
    Path | None, typer.Option("--metadata", help="JSON document with patient, study, specimen and stain; see the docs.")
]
MppOption = Annotated[
    float | None, typer.Option("--mpp", min=0.001, help="Micrometres a pixel at full size, when the file does not say.")
]
DeidentifyOption = Annotated[
    bool, typer.Option("--deidentify", help="Leave out label, macro image, scanner properties and dates.")
]
_ECHO_SECONDS = 30
PeerArgument = Annotated[
    str, typer.Argument(metavar="PEER", help="Name of a peer (`dicomsvc peers list`), or HOST:PORT where one listens.")
]
CalledOption = Annotated[
    str | None, typer.Option("--called", help="The peer's AE title.", show_default="the peer's; ANY-SCP for HOST:PORT")
]
CallingOption = Annotated[
    str | None,
    typer.Option("--calling", help="Our AE title.", show_default="of the peer's entry, or dimse.ae_title"),
]


def read_metadata(path: Path | None) -> dict[str, Any] | None:
    """Return the JSON document at ``path``."""
    if path is None:
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadRequest(f"{path} is not a readable JSON document: {type(error).__name__}") from error
    if not isinstance(document, dict):
        raise BadRequest(f"{path} must hold a JSON object")
    return document


def convert(
    slide: Annotated[Path, typer.Argument(exists=True, help="Slide file of a scanner")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the DICOM files")],
    metadata: MetadataOption = None,
    mpp: MppOption = None,
    deidentify: DeidentifyOption = False,
    as_json: JsonFlag = False,
) -> None:
    """Convert a slide to DICOM WSI files; needs no service."""
    from dicomsvc.ingest.convert import ConversionOptions, FolderSink, convert_slide

    settings_for()
    options = ConversionOptions(metadata=read_metadata(metadata) or {}, mpp=mpp, deidentify=deidentify)
    with progress_bar("converting") as report, FolderSink(out) as sink:
        instances = convert_slide(slide, sink, options, lambda at: report(at.done, at.total, at.stage))
    lines = [
        f"{instance.path.name}  {'/'.join(instance.image_type):38} {instance.columns:6} x {instance.rows:6}  "
        f"{instance.frames:6} frames, {'as in the slide' if instance.as_stored else 'encoded'}"
        for instance in instances
    ]
    emit([asdict(instance) for instance in instances], "\n".join(lines), as_json=as_json)


def import_paths(
    paths: Annotated[list[Path], typer.Argument(exists=True, help="Slides, DICOM files, DICOMDIRs or folders of them")],
    metadata: MetadataOption = None,
    mpp: MppOption = None,
    deidentify: DeidentifyOption = False,
    data: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Bring slides and DICOM files into the store, as work items that a worker does."""
    from dicomsvc.ingest.imports import import_and_wait

    with open_store(data) as store, progress_bar("importing") as report:
        items = import_and_wait(
            store,
            paths,
            {"metadata": read_metadata(metadata), "mpp": mpp, "deidentify": deidentify},
            requested_by="command line",
            progress=report,
        )
    failed = [item for item in items if not item.succeeded]
    emit([item.as_dict() for item in items], "\n".join(item.describe() for item in items), as_json=as_json)
    if failed:
        raise typer.Exit(1)


def send(
    peer: PeerArgument,
    paths: Annotated[list[Path], typer.Argument(exists=True, help="DICOM files or folders of them")],
    called: CalledOption = None,
    calling: CallingOption = None,
    data: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Send DICOM files to a peer with C-STORE."""
    from dicomsvc.dimse import send_files

    target = find_target(peer, called, calling, data)
    files = [file for path in paths for file in _files_below(path)]
    with progress_bar("sending") as report:
        results = []
        for result in send_files(files, target):
            results.append(result)
            report(len(results), len(files))
    failed = [result for result in results if not result.ok]
    lines = [f"{result.path}: {result.message or 'refused'} {_status(result.status)}" for result in failed]
    lines.append(f"{len(results) - len(failed)} of {len(results)} files stored by {_described(target)}")
    emit([{**asdict(result), "ok": result.ok} for result in results], "\n".join(lines), as_json=as_json)
    if failed:
        raise typer.Exit(1)


def echo(
    peer: PeerArgument,
    called: CalledOption = None,
    calling: CallingOption = None,
    data: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Ask a peer whether it answers (C-ECHO)."""
    from dicomsvc.dimse import echo as ask

    target = find_target(peer, called, calling, data)
    seconds = ask(replace(target, response_timeout_seconds=_ECHO_SECONDS))
    emit({"seconds": seconds}, f"{_described(target)} answers in {seconds * 1000:.0f} ms", as_json=as_json)


def _files_below(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _status(status: int | None) -> str:
    return "" if status is None else f"(0x{status:04X})"


def _described(peer: "Peer") -> str:
    return f"{peer.called_ae_title}@{peer.host}:{peer.port}"
