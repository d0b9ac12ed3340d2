"""Files of every kind that reports come in."""

import json
from pathlib import Path

import pytest

from dicomsvc.errors import BadRequest, DicomsvcError, TooLarge
from dicomsvc.objects.report import report_file
from dicomsvc.reports import files
from dicomsvc.reports.fhir import fhir_bundle
from dicomsvc.reports.files import reports_in, reports_in_file
from dicomsvc.reports.hl7.writing import Route, oru_message
from dicomsvc.reports.intake.received import Source
from tests.unit.reports.exchange_case import CASE, REPORT, TEXT, pdf, rtf
from tests.unit.reports.test_report_sr import foreign

ORU = oru_message(REPORT, CASE, Route(), "1")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("左肾癌, Grade 2".encode(), "左肾癌, Grade 2"),
        ("左肾透明细胞癌，切缘阴性".encode("gb18030"), "左肾透明细胞癌，切缘阴性"),
        ("Depth 5 µm – left kidney".encode("cp1252"), "Depth 5 µm – left kidney"),
        ("\ufeffleft".encode("utf-16-le"), "left"),
        (b"<html><p>Left</p><p>kidney</p></html>", "Left\nkidney"),
        (pdf("Grade 2"), "Grade 2"),
        (rtf("左肾癌"), "左肾癌"),
        (report_file(foreign()), "Final Diagnosis:\nFinding:\n左肾\n透明细胞癌\nSize: 4.5 cm\nSide: Left"),
        (json.dumps(fhir_bundle(REPORT, CASE)).encode(), TEXT.strip()),
    ],
)
def test_file_is_known_by_what_it_holds(content: bytes, text: str) -> None:
    (report,) = reports_in(content)
    assert report.text.strip() == text


@pytest.mark.parametrize("frame", [b"%s", b"\x0b%s\x1c\r", b"FHS|^~\\&\rBHS|^~\\&\r%s"])
def test_messages_of_a_batch_are_read_each(frame: bytes) -> None:
    second = ORU.replace(b"S26-1", b"S26-2")
    reports = reports_in(frame % (ORU + second))
    assert [report.report_id for report in reports] == ["S26-1", "S26-2"]
    assert all(report.text.startswith(TEXT[:40]) and report.source is Source.FILE for report in reports)


def test_report_without_an_identifier_gets_the_files_name(tmp_path: Path) -> None:
    (tmp_path / "S26-9.txt").write_text("Left kidney.", encoding="utf-8")
    (tmp_path / "x.hl7").write_bytes(ORU)
    assert [reports_in_file(tmp_path / name)[0].report_id for name in ("S26-9.txt", "x.hl7")] == ["S26-9", "S26-1"]


@pytest.mark.parametrize("content", [b"", b"  \n", b"{}", b"MSH|^~\\&|", b"%PDF-", bytes(128) + b"DICM\xff\xff"])
def test_file_without_a_report_is_refused(content: bytes) -> None:
    with pytest.raises(DicomsvcError):
        reports_in(content)


def test_empty_file_is_refused_with_the_reason() -> None:
    with pytest.raises(BadRequest, match="no text"):
        reports_in(b"\n")


def test_file_past_the_limit_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST_BYTES", 10)
    (tmp_path / "large.txt").write_bytes(b"x" * 11)
    with pytest.raises(TooLarge):
        reports_in_file(tmp_path / "large.txt")
