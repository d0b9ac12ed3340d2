"""Reports in files of every kind that they come in, told apart by what the file holds, not by its name."""

import re
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Final

from dicomsvc.errors import BadRequest, TooLarge
from dicomsvc.reports.attachment import LARGEST_BYTES, plain_text, text_of
from dicomsvc.reports.intake.received import ReceivedReport, ReportStatus, Source
from dicomsvc.reports.text.charset import text_from

SUFFIXES: Final = (".txt", ".text", ".hl7", ".json", ".pdf", ".rtf", ".html", ".htm", ".dcm")
"""Names by which a folder's files are taken for reports; JSON Lines are the caller's."""
_BATCH: Final = re.compile(rb"(?:\A|[\r\n\x0b])(?=MSH.)")
_HTML: Final = re.compile(r"\s*(?:<!doctype html|<html|<div|<body)", re.IGNORECASE)


def reports_in_file(path: Path, name: str = "") -> list[ReceivedReport]:
    """Return the reports in a file: HL7 v2 (also a batch), FHIR JSON, DICOM, PDF, RTF, HTML or plain text.

    What the file does not say of a report is empty; one without an identifier of its own gets ``name``,
    or the file's name.

    Raises
    ------
    BadRequest
        When there is no report in it; the message says why. Other errors of the readers say more.
    TooLarge
        When it is too large for a report.
    """
    if path.stat().st_size > LARGEST_BYTES:
        raise TooLarge(f"the file is larger than {LARGEST_BYTES >> 20} MB: no report")
    name = name or path.stem
    return [report if report.report_id else replace(report, report_id=name) for report in reports_in(path.read_bytes())]


def reports_in(content: bytes) -> list[ReceivedReport]:
    """Return the reports in a file's content; see `reports_in_file`."""
    start = content[:256].lstrip(b"\xef\xbb\xbf\x0b\r\n\t ")
    if start.startswith((b"MSH", b"FHS", b"BHS")):
        return list(_hl7(content))
    if content[128:132] == b"DICM":
        return [_dicom(content)]
    if start.startswith(b"{") and not start.startswith(b"{\\rtf"):
        from dicomsvc.reports.fhir import read_diagnostic_report

        return read_diagnostic_report(content)
    if start.startswith(b"{\\rtf") or b"%PDF-" in content[:1024]:
        return [_plain(text_of(content, ""))]
    text = text_from(content)
    return [_plain(plain_text(text) if _HTML.match(text[:300]) else text)]


def _hl7(content: bytes) -> Iterator[ReceivedReport]:
    from dicomsvc.hl7.message import parse_message
    from dicomsvc.reports.hl7.reading import read_reports

    starts = [match.end() for match in _BATCH.finditer(content)]
    for start, end in zip(starts, [*starts[1:], len(content)], strict=True):
        yield from (replace(report, source=Source.FILE) for report in read_reports(parse_message(content[start:end])))


def _dicom(content: bytes) -> ReceivedReport:
    from pydicom import dcmread

    from dicomsvc.reports.sr import read_report_object

    try:
        dataset = dcmread(BytesIO(content))
    except Exception as error:  # noqa: BLE001 - border: bytes of anybody
        raise BadRequest(f"the DICOM file cannot be read: {type(error).__name__}") from None
    return read_report_object(dataset)


def _plain(text: str) -> ReceivedReport:
    if not text.strip():
        raise BadRequest("there is no text in it")
    return ReceivedReport(text, Source.FILE, ReportStatus.FINAL)
