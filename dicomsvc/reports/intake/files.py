"""Reports in files: text, JSON Lines, HL7 v2, FHIR, PDF, RTF, HTML, DICOM."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from dicomsvc.errors import BadRequest, DicomsvcError, TooLarge
from dicomsvc.reports.intake.orders import order_in
from dicomsvc.reports.intake.received import ReceivedReport, Source

_LARGEST_FILE: Final = 256 << 20
_CHARSETS: Final = ("utf-8", "gb18030")
Read = ReceivedReport | DicomsvcError


def read_file(path: Path, name: str = "") -> Iterator[tuple[str, Read]]:
    """Yield the reports of a file, or why one cannot be read, each with its place in the file (``:LINE`` or empty).

    ``name`` identifies the report of a file that is text alone; empty: the file's own name.
    """
    kind = path.suffix.lower()
    try:
        if kind in (".jsonl", ".ndjson"):
            yield from _lines(path)
            return
        if path.stat().st_size > _LARGEST_FILE:
            raise TooLarge(f"the file is larger than {_LARGEST_FILE >> 20} MiB")
        reader = _READERS.get(kind)
        reports = reader(path) if reader is not None else _document(path, name or path.stem)
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


def _document(path: Path, name: str) -> list[ReceivedReport]:
    from dicomsvc.reports.attachment import text_of

    content = path.read_bytes()
    media_type = _MEDIA_TYPES.get(path.suffix.lower(), "text/plain")
    error: BadRequest | None = None
    for charset in _CHARSETS:
        try:
            text = text_of(content, media_type, charset)
        except BadRequest as refusal:
            error = error or refusal
        else:
            return [ReceivedReport(text, Source.FILE, report_id=name)]
    raise error or BadRequest("the file cannot be read")


def _json(path: Path) -> list[ReceivedReport]:
    content = path.read_bytes()
    if b'"resourceType"' not in content:
        return [order_in(content).received(Source.FILE)]
    from dicomsvc.reports.fhir import read_diagnostic_report

    return read_diagnostic_report(content)


def _hl7(path: Path) -> list[ReceivedReport]:
    from dicomsvc.reports.hl7.message import parse_message
    from dicomsvc.reports.hl7.reading import read_reports

    return read_reports(parse_message(path.read_bytes()))


def _dicom(path: Path) -> list[ReceivedReport]:
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    from dicomsvc.reports.sr import read_report_object

    try:
        return [read_report_object(dcmread(path))]
    except InvalidDicomError:
        raise BadRequest("this is no DICOM file") from None


_MEDIA_TYPES: Final[Mapping[str, str]] = {
    ".pdf": "application/pdf",
    ".rtf": "application/rtf",
    ".html": "text/html",
    ".htm": "text/html",
}
_READERS: Final[Mapping[str, Callable[[Path], list[ReceivedReport]]]] = {
    ".json": _json,
    ".hl7": _hl7,
    ".dcm": _dicom,
}
KINDS: Final = (".txt", ".jsonl", ".ndjson", *_MEDIA_TYPES, *_READERS)
"""Endings of the files in a folder that are taken for reports; a single file is taken whatever its name."""
