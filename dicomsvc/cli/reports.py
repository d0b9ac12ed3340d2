"""``dicomsvc reports``: free-text pathology reports into fields."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from dicomsvc.cli.output import JsonFlag

reports = typer.Typer(help="Pathology reports: free text into fields.", no_args_is_help=True)


@reports.command()
def extract(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Reports: .txt, .jsonl with id and text, a folder, or -.")
    ],
    as_json: JsonFlag = False,
) -> None:
    """Extract the fields of reports; one JSON line a report on standard output."""
    from dicomsvc.reports.document import as_document
    from dicomsvc.reports.pipeline import structure

    for identifier, text in _texts(files):
        line = {"id": identifier, **as_document(structure(text))}
        sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")


def _texts(files: list[Path]) -> Iterator[tuple[Any, str]]:
    for file in files:
        if str(file) == "-":
            yield from _lines(sys.stdin.buffer)
        elif file.is_dir():
            yield from _texts(sorted(entry for entry in file.rglob("*") if entry.suffix in (".txt", ".jsonl")))
        elif file.suffix == ".jsonl":
            with file.open("rb") as lines:
                yield from _lines(lines)
        else:
            yield file.stem, file.read_text(encoding="utf-8", errors="replace")


def _lines(stream: Any) -> Iterator[tuple[Any, str]]:
    for line in stream:
        if line.strip():
            entry = json.loads(line)
            yield entry["id"], entry["text"]
