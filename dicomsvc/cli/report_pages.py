"""``dicomsvc reports show`` and ``fields``: structured reports and the table of fields, for people."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dicomsvc.cli.output import JsonFlag, emit


class _Language(StrEnum):
    EN = "en"
    ZH = "zh"


def show_text(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A report's text, or - for standard input.")],
    language: Annotated[_Language, typer.Option(help="Language of headings, titles and values.")] = _Language.EN,
    as_json: JsonFlag = False,
) -> None:
    """Show a report's text as a structured report: fields, values, and the words that say so."""
    from dicomsvc.reports.document import as_document
    from dicomsvc.reports.pipeline import structure
    from dicomsvc.reports.rendering import rendered
    from dicomsvc.reports.text.charset import text_from

    content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    report = structure(text_from(content))
    emit(as_document(report), rendered(report, language.value).rstrip("\n"), as_json=as_json)


def list_fields(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/reports-fields.md.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """List the fields that reports are searched for, with titles, codes and values."""
    from dicomsvc.reports.field_table import as_list, as_markdown, as_text

    emit(as_list(), as_markdown().rstrip("\n") if markdown else as_text(), as_json=as_json)
