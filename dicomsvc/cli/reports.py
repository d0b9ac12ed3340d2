"""``dicomsvc reports``: free-text pathology reports into fields."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicomsvc.cli.output import JsonFlag
from dicomsvc.errors import DicomsvcError

if TYPE_CHECKING:
    from dicomsvc.reports.values import StructuredReport

_WRAPPED = (".pdf", ".rtf", ".html", ".htm", ".hl7", ".json", ".dcm")
_SUFFIXES = (".txt", ".jsonl", *_WRAPPED)

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
    as_json: JsonFlag = False,
) -> None:
    """Extract the fields of reports; one JSON line a report on standard output."""
    from dicomsvc.reports.document import as_document
    from dicomsvc.reports.pipeline import structure

    for identifier, text in _texts(files):
        report = _unread(text) if isinstance(text, DicomsvcError) else structure(text)
        line = {"id": identifier, **as_document(report)}
        sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")


def _unread(why: DicomsvcError) -> "StructuredReport":
    """Return the answer for a document that no text could be read from, as for a text that is no report."""
    from dicomsvc.reports.values import Quality, StructuredReport

    return StructuredReport("", Quality(0.0, "und", False, why.message))


def _texts(files: list[Path]) -> Iterator[tuple[Any, str | DicomsvcError]]:
    for file in files:
        if str(file) == "-":
            yield from _lines(sys.stdin.buffer)
        elif file.is_dir():
            yield from _texts(sorted(entry for entry in file.rglob("*") if entry.suffix.lower() in _SUFFIXES))
        elif file.suffix.lower() == ".jsonl":
            with file.open("rb") as lines:
                yield from _lines(lines)
        elif file.suffix.lower() in _WRAPPED:
            yield from _wrapped(file)
        else:
            yield file.stem, file.read_text(encoding="utf-8", errors="replace")


def _wrapped(file: Path) -> Iterator[tuple[Any, str | DicomsvcError]]:
    from dicomsvc.reports.files import reports_in_file

    try:
        found = reports_in_file(file)
    except DicomsvcError as error:
        yield file.stem, error
        return
    for report in found:
        yield report.report_id, report.text


def _lines(stream: Any) -> Iterator[tuple[Any, str]]:
    for line in stream:
        if line.strip():
            entry = json.loads(line)
            yield entry["id"], entry["text"]
