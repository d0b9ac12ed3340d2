"""Reports as ``dicomsvc reports extract`` is given them: files, folders, JSON Lines, standard input.

Nothing that is wrong with one stops the others: it comes as a `Given` that says what, without any of its text.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from dicomsvc.errors import BadRequest, DicomsvcError

_WRAPPED = (".pdf", ".rtf", ".html", ".htm", ".hl7", ".json", ".dcm")
_PLAIN = (".txt", ".text")
_LINES = (".jsonl", ".ndjson")
SUFFIXES = (*_PLAIN, *_LINES, *_WRAPPED)
LONGEST_LINE = 16 << 20
"""Bytes; a longer line is passed over."""


@dataclass(frozen=True, slots=True)
class Given:
    """One report: its text, or what is ``wrong``. ``line`` is that of JSON Lines, from 1."""

    id: str | int | None
    text: str = ""
    wrong: str | None = None
    line: int | None = None


def given(paths: Iterable[Path]) -> Iterator[Given]:
    """Yield the reports in files; ``-`` is JSON Lines on standard input."""
    for path in paths:
        if str(path) == "-":
            yield from lines(sys.stdin.buffer)
        else:
            yield from _of_file(path)


def reports_below(folder: Path) -> list[Path]:
    """Return the files below a folder that may hold reports, in order, by their names."""
    return sorted(entry for entry in folder.rglob("*") if entry.suffix.lower() in SUFFIXES and entry.is_file())


def _of_file(path: Path) -> Iterator[Given]:
    suffix = path.suffix.lower()
    try:
        if suffix in _LINES:
            with path.open("rb") as stream:
                yield from lines(stream)
        elif suffix in _WRAPPED:
            yield from _wrapped(path)
        else:
            yield _plain(path)
    except DicomsvcError as error:
        yield Given(path.stem, wrong=error.message)
    except OSError as error:
        yield Given(path.stem, wrong=f"the file cannot be read: {type(error).__name__}")


def _plain(path: Path) -> Given:
    from dicomsvc.reports.text.charset import text_from

    with path.open("rb") as stream:
        content = stream.read(LONGEST_LINE + 1)
    if len(content) > LONGEST_LINE:
        raise BadRequest(f"longer than {LONGEST_LINE >> 20} MB: no report")
    return Given(path.stem, text_from(content))


def _wrapped(path: Path) -> Iterator[Given]:
    from dicomsvc.reports.files import reports_in_file

    for report in reports_in_file(path):
        yield Given(report.report_id, report.text)


def lines(stream: BinaryIO) -> Iterator[Given]:
    """Yield the reports of JSON Lines: objects with ``id`` and ``text``; empty lines are passed over."""
    number = 0
    while content := stream.readline(LONGEST_LINE + 1):
        number += 1
        if len(content) > LONGEST_LINE and not content.endswith(b"\n"):
            _pass_over(stream)
            yield Given(None, wrong=f"the line is longer than {LONGEST_LINE >> 20} MB", line=number)
        elif content.strip(b"\xef\xbb\xbf \t\r\n"):
            yield _entry(content, number)


def _pass_over(stream: BinaryIO) -> None:
    while (rest := stream.readline(1 << 20)) and not rest.endswith(b"\n"):
        pass


def _entry(content: bytes, number: int) -> Given:
    try:
        entry: Any = json.loads(content.removeprefix(b"\xef\xbb\xbf").decode())
    except UnicodeDecodeError:
        return Given(None, wrong="the line is not UTF-8", line=number)
    except (ValueError, RecursionError):
        return Given(None, wrong="the line is not JSON", line=number)
    if not isinstance(entry, dict):
        return Given(None, wrong="the line is not a JSON object", line=number)
    identifier, text = entry.get("id"), entry.get("text")
    if not isinstance(identifier, str | int) or isinstance(identifier, bool) or identifier == "":
        return Given(None, wrong='the line has no "id"', line=number)
    if not isinstance(text, str):
        return Given(identifier, wrong='the line has no "text"', line=number)
    return Given(identifier, text, line=number)
