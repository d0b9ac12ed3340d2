"""Commands that move slides: convert, import, send, echo."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from dicomsvc.cli.context import DataOption, open_store, settings_for
from dicomsvc.cli.output import JsonFlag, emit, progress_bar
from dicomsvc.config import split_address
from dicomsvc.errors import BadRequest

MetadataOption = Annotated[
    Path | None, typer.Option("--metadata", help="JSON document with patient, study, specimen and stain; see the docs.")
]
MppOption = Annotated[
    float | None, typer.Option("--mpp", min=0.001, help="Micrometres a pixel at full size, when the file does not say.")
]
DeidentifyOption = Annotated[
    bool, typer.Option("--deidentify", help="Leave out label, macro image, scanner properties and dates.")
]
ConnectionArgument = Annotated[str, typer.Argument(metavar="HOST:PORT", help="Where the peer listens.")]
CalledOption = Annotated[str, typer.Option("--called", help="The peer's AE title.")]
CallingOption = Annotated[str, typer.Option("--calling", help="Our AE title.")]


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
    options = ConversionOptions(metadata=read_metadata(metadata), mpp=mpp, deidentify=deidentify)
    with progress_bar("converting") as report, FolderSink(out) as sink:
        instances = convert_slide(slide, sink, options, lambda at: report(at.done, at.total, at.what))
    text = "\n".join(f"{instance.path.name}  {instance.describe()}" for instance in instances)
    emit([asdict(instance) for instance in instances], text, as_json=as_json)


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
    peer: ConnectionArgument,
    paths: Annotated[list[Path], typer.Argument(exists=True, help="DICOM files or folders of them")],
    called: CalledOption = "ANY-SCP",
    calling: CallingOption = "DICOMSVC",
    as_json: JsonFlag = False,
) -> None:
    """Send DICOM files to a peer with C-STORE."""
    from dicomsvc.ingest.dimse.client import send_files

    settings_for()
    host, port = _address(peer)
    files = [
        file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path]) if file.is_file()
    ]
    with progress_bar("sending") as report:
        results = send_files(files, host, port, called=called, calling=calling, progress=report)
    failed = [result for result in results if not result.succeeded]
    lines = [f"{result.path}: {result.message} (0x{result.status:04X})" for result in failed]
    lines.append(f"{len(results) - len(failed)} of {len(results)} files stored by {called}@{peer}")
    emit([asdict(result) for result in results], "\n".join(lines), as_json=as_json)
    if failed:
        raise typer.Exit(1)


def echo(
    peer: ConnectionArgument,
    called: CalledOption = "ANY-SCP",
    calling: CallingOption = "DICOMSVC",
    as_json: JsonFlag = False,
) -> None:
    """Ask a peer whether it answers (C-ECHO)."""
    from dicomsvc.ingest.dimse.client import echo as ask

    settings_for()
    host, port = _address(peer)
    seconds = ask(host, port, called=called, calling=calling)
    emit({"seconds": seconds}, f"{called}@{peer} answers in {seconds * 1000:.0f} ms", as_json=as_json)


def _address(peer: str) -> tuple[str, int]:
    try:
        return split_address(peer)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
