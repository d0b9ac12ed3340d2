"""Reports in files: text, JSON Lines, HL7 v2, FHIR, PDF, RTF, HTML, DICOM."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from dicomsvc.errors import BadRequest, DicomsvcError
from dicomsvc.reports.files import SUFFIXES, reports_in_file
from dicomsvc.reports.intake.orders import order_in
from dicomsvc.reports.intake.received import ReceivedReport, Source

KINDS: Final = (*SUFFIXES, ".jsonl", ".ndjson")
"""Endings of the files in a folder that are taken for reports; a single file is taken whatever its name."""
Read = ReceivedReport | DicomsvcError


def read_file(path: Path, name: str = "") -> Iterator[tuple[str, Read]]:
    """Yield the reports of a file, or why one cannot be read, each with its place in the file (``:LINE`` or empty).

    ``name`` identifies the report of a file that is text alone; empty: the file's own name.
    """
    try:
        if path.suffix.lower() in (".jsonl", ".ndjson"):
            yield from _lines(path)
            return
        reports = _reports(path, name)
    except DicomsvcError as error:
        yield "", error
        return
    except OSError as error:
        yield "", BadRequest(f"the file cannot be read: {error.strerror}")
        return
    for report in reports:
        yield "", report


def _lines(path: Path) -> Iterator[tuple[str, Read]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                yield f":{number}", order_in(line).received(Source.FILE)
            except BadRequest as error:
                yield f":{number}", error


def _reports(path: Path, name: str) -> list[ReceivedReport]:
    if path.suffix.lower() == ".json" and b'"resourceType"' not in (content := path.read_bytes()):
        return [order_in(content).received(Source.FILE)]
    return reports_in_file(path, name)
