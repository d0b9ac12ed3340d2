"""``dicomsvc reports``: free-text pathology reports into fields."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from dicomsvc.cli.output import JsonFlag, Report, progress_bar
from dicomsvc.cli.report_input import Given, given, reports_below

MANY = 20
"""From so many files on a bar is shown."""

reports = typer.Typer(help="Pathology reports: free text into fields.", no_args_is_help=True)


@reports.command()
def extract(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Reports: .txt, .pdf, .rtf, .html, .hl7, .json (FHIR), .dcm, .jsonl with id and text, a folder, or -.",
        ),
    ],
    field: Annotated[
        list[str] | None, typer.Option("--field", metavar="ID", help="Print only this field's values; may be repeated.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Extract the fields of reports; one JSON line a report on standard output, or with --json one array.

    What cannot be read has a line too, with quality.structured false and the reason. Status 1 tells that a file or a
    line was broken; a text that is no readable report breaks nothing.
    """
    from dicomsvc.reports.schema import fields

    wanted = frozenset(field or ())
    if unknown := wanted - set(fields()):
        raise typer.BadParameter(f"there is no field {min(unknown)}; see dicomsvc reports fields", param_hint="--field")
    whole = True
    write, between = sys.stdout.buffer.write, b",\n" if as_json else b""
    write(b"[\n" if as_json else b"")
    for number, entry in enumerate(_watched(files)):
        document, good = _answer(entry)
        whole &= good
        if wanted:
            document["values"] = [value for value in document["values"] if value["field"] in wanted]
        write((between if number else b"") + _encoded(document) + (b"" if as_json else b"\n"))
    write(b"\n]\n" if as_json else b"")
    sys.stdout.buffer.flush()
    if not whole:
        raise typer.Exit(1)


def _answer(entry: Given) -> tuple[dict[str, Any], bool]:
    """Return the document for one report and whether it could be read; no error ever holds a text."""
    from dicomsvc.reports.document import as_document
    from dicomsvc.reports.pipeline import structure
    from dicomsvc.reports.values import Quality, StructuredReport

    wrong = entry.wrong
    if wrong is None:
        try:
            return {"id": entry.id, **as_document(structure(entry.text))}, True
        except Exception as error:  # noqa: BLE001 - border: texts of anybody; the message may hold some of it
            wrong = f"reading failed: {type(error).__name__}"
    line = {} if entry.line is None else {"line": entry.line}
    return {"id": entry.id, **line, **as_document(StructuredReport("", Quality(0.0, "und", False, wrong)))}, False


def _encoded(document: dict[str, Any]) -> bytes:
    # Half a surrogate pair is no character of UTF-8; as an escape it is JSON.
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace")


def _watched(files: list[Path]) -> Iterator[Given]:
    """Yield the reports, with a bar on standard error where there are many files."""
    paths = [path for file in files for path in (reports_below(file) if file.is_dir() else [file])]
    with progress_bar("extracting") if len(paths) >= MANY else _nothing_shown() as show:
        for done, path in enumerate(paths):
            yield from given([path])
            show(done + 1, len(paths))


@contextmanager
def _nothing_shown() -> Iterator[Report]:
    yield lambda done, total, what="": None
