"""Commands that write objects into a folder: out of the store, or plain files without identity."""

import csv
import io
import sys
from pathlib import Path
from typing import Annotated

import typer

from dicomsvc.audit import record as record_event
from dicomsvc.audit.reading import export_of
from dicomsvc.cli.context import DataOption, open_store, settings_for
from dicomsvc.cli.output import JsonFlag, emit, progress_bar
from dicomsvc.deidentify import BASIC, deidentifier
from dicomsvc.deidentify.folders import Export, ExportSource, export_files
from dicomsvc.dicom.uids import is_valid_uid
from dicomsvc.errors import BadRequest
from dicomsvc.store import InstanceRecord, Store

OutOption = Annotated[Path, typer.Option("--out", help="A new or empty folder.")]


def export(
    uids: Annotated[list[str], typer.Argument(help="Study or Series Instance UIDs", metavar="STUDY|SERIES...")],
    out: OutOption,
    profile: Annotated[
        str | None, typer.Option("--deidentify", help="De-identification profile, e.g. basic; else as stored.")
    ] = None,
    data: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Write studies or series of the store into a folder, with a manifest; de-identified when asked."""
    with open_store(data) as store, progress_bar("exporting") as report:
        cleaner = None if profile is None else deidentifier(store.settings, profile)
        records = {record.key: record for uid in uids for record in _records(store, uid)}
        sources = [
            ExportSource(record.sop_instance_uid, record.readable_path(), record.sha256) for record in records.values()
        ]
        done = export_files(sources, out, cleaner, report)
        kept = {name for name, _ in (*done.left_out, *done.failed)}
        exported = [record for record in records.values() if record.sop_instance_uid not in kept]
        record_event(store.engine, export_of(exported, out, anonymized=cleaner is not None))
    _say(done, out, as_json=as_json)


def deidentify(
    files: Annotated[list[Path], typer.Argument(help="DICOM files, or folders of them", exists=True)],
    out: OutOption,
    profile: Annotated[str, typer.Option(help="De-identification profile")] = BASIC,
    data: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """De-identify DICOM files into a folder; what must not go out (label images, documents) is left out."""
    cleaner = deidentifier(settings_for(data), profile)
    sources = [ExportSource(str(path), path) for path in _files(files)]
    with progress_bar("de-identifying") as report:
        done = export_files(sources, out, cleaner, report)
    _say(done, out, as_json=as_json)


def pseudonyms(
    profile: Annotated[str, typer.Option(help="De-identification profile")] = BASIC,
    data: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Read identifiers or UIDs, one a line, from standard input; print with each what goes out for it, as CSV."""
    cleaner = deidentifier(settings_for(data), profile)
    identifiers = [line.strip() for line in sys.stdin if line.strip()]
    pairs = [(each, cleaner.uid(each) if _is_uid(each) else cleaner.identifier(each)) for each in identifiers]
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(pairs)
    emit([{"in": old, "out": new} for old, new in pairs], table.getvalue().rstrip("\n"), as_json=as_json)


def _is_uid(text: str) -> bool:
    return "." in text and is_valid_uid(text)


def _records(store: Store, uid: str) -> list[InstanceRecord]:
    if not is_valid_uid(uid):
        raise BadRequest("a Study or Series Instance UID is expected")
    study = store.instances.find_series(uid)
    return store.instances.find(uid) if study is None else store.instances.find(study, uid)


def _files(paths: list[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        found += sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    return found


def _say(done: Export, out: Path, *, as_json: bool) -> None:
    lines = [f"{len(done.files)} files in {out}"]
    lines += [f"left out: {name}  ({reason})" for name, reason in done.left_out]
    lines += [f"failed: {name}  ({reason})" for name, reason in done.failed]
    document = {
        "out": str(out),
        "files": len(done.files),
        "left_out": [{"source": name, "reason": reason} for name, reason in done.left_out],
        "failed": [{"source": name, "reason": reason} for name, reason in done.failed],
    }
    emit(document, "\n".join(lines), as_json=as_json)
    if done.failed:
        raise typer.Exit(1)
