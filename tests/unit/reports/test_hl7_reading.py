"""ORU^R01 as reports: whose, which, in what state, in which words."""

import base64
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomsvc.errors import BadRequest, DicomsvcError, NotParseable
from dicomsvc.hl7.message import Separators, moment, parse_message, unescaped
from dicomsvc.reports.hl7.reading import read_reports
from dicomsvc.reports.intake.received import ReceivedReport, ReportStatus, Source
from tests.unit.reports.exchange_case import pdf, rtf

LONG = "Renal cell carcinoma, clear cell type, with margins free of tumour. " * 4


def oru(*segments: str, charset: str = "UNICODE UTF-8", codec: str = "utf-8") -> bytes:
    header = rf"MSH|^~\&|LIS|PATH|DICOMSVC|HOSP|20260102030405+0800||ORU^R01^ORU_R01|M-1|P|2.5.1||||||{charset}"
    patient = "PID|1||77^^^CITY^SS~P-1^^^HOSP^MR||Wang^Xiao"
    return "\r".join((header, patient, *segments, "")).encode(codec)


def order(status: str = "F", filler: str = "S26-1") -> str:
    return f"OBR|1|PL-1|{filler}|88305^Surgical pathology|||20251230|||||||||||||||20260101120000+0800|||{status}"


def only(content: bytes, **options: str) -> ReceivedReport:
    (report,) = read_reports(parse_message(content, **options))
    return report


def text_of(*segments: str) -> str:
    return only(oru(order(), *segments)).text


def test_whose_and_which_report_it_is() -> None:
    report = only(oru("ORC|RE|PL-1|S26-1", order(), "OBX|1|TX|D^Diagnosis||Benign.||||||F"))
    assert report == ReceivedReport(
        text="Benign.",
        source=Source.HL7,
        status=ReportStatus.FINAL,
        report_id="S26-1",
        placer_order_number="PL-1",
        accession_number="S26-1",
        patient_id="P-1",
        issuer_of_patient_id="HOSP",
        observed=datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=8))),
        sender="LIS^PATH",
        control_id="M-1",
    )


@pytest.mark.parametrize(
    ("segment", "accession"),
    [("SPM|1|" + "|" * 28 + "ACC-9", "ACC-9"), ("IPC|ACC-8|RP|1.2.3", "ACC-8"), ("SPM|1|S1", "S26-1")],
)
def test_accession_number_of_the_specimen_goes_before_the_filler_order_number(segment: str, accession: str) -> None:
    assert only(oru(order(), "OBX|1|TX|D||Benign.||||||F", segment)).accession_number == accession


def test_zone_of_the_message_holds_for_times_without_one() -> None:
    content = oru(order().replace("20260101120000+0800", "20260101120000"), "OBX|1|TX|D||Benign.||||||F")
    observed = only(content).observed
    assert observed is not None and observed.isoformat() == "2026-01-01T12:00:00+08:00"
    without = only(content.replace(b"20260102030405+0800", b"20260102030405")).observed
    assert without is not None and without.tzinfo is None


def test_study_is_named_where_the_message_names_it() -> None:
    named = only(oru(order(), "OBX|1|TX|D||Benign.||||||F", "ZDS|1.2.840.1^100^Application^DICOM"))
    assert named.study_instance_uid == "1.2.840.1"
    assert only(oru(order(), "OBX|1|TX|D||Benign.||||||F")).study_instance_uid is None


@pytest.mark.parametrize(
    ("charset", "codec"),
    [
        ("GB 18030-2000", "gb18030"),
        ("GB18030", "gb18030"),
        ("UNICODE UTF-8", "utf-8"),
        ("BIG-5", "big5"),
        ("", "utf-8"),
    ],
)
def test_character_set_of_the_header_is_used_and_utf_8_where_it_lies(charset: str, codec: str) -> None:
    words = "腎細胞癌 1級"
    assert only(oru(order(), f"OBX|1|TX|D||{words}||||||F", charset=charset, codec=codec)).text == words


def test_character_set_by_default_is_the_listeners() -> None:
    content = oru(order(), "OBX|1|TX|D||左肾||||||F", charset="", codec="gb18030")
    assert only(content, default_charset="gb18030").text == "左肾"
    with pytest.raises(NotParseable, match="character set"):
        parse_message(content)


def test_chinese_whose_second_byte_is_a_separator_stays_whole() -> None:
    words = "晐乗俓"
    assert any(byte in b"|\\^~&" for byte in words.encode("gb18030"))
    content = oru(order(), f"OBX|1|TX|D||{words}||||||F", charset="GB 18030-2000", codec="gb18030")
    assert only(content).text == words


def test_unknown_character_set_is_refused() -> None:
    with pytest.raises(NotParseable, match="MSH-18"):
        parse_message(oru(order(), charset="KOI-99"))


def test_lines_of_many_segments_are_joined_in_order() -> None:
    lines = [f"OBX|{n}|TX|D^Diagnosis||line {n}||||||F" for n in range(1, 4)]
    assert text_of(*lines) == "line 1\nline 2\nline 3"


def test_sections_stand_under_headings_that_the_reader_knows() -> None:
    assert (
        text_of(
            "OBX|1|TX|22637-3^Path dx^LN||Carcinoma.||||||F",
            "OBX|2|TX|22634-0^Gross^LN||A kidney.||||||F",
            "OBX|3|TX|X^肉眼所见||灰白||||||F",
        )
        == "FINAL DIAGNOSIS:\nCarcinoma.\nGROSS DESCRIPTION:\nA kidney.\n肉眼所见:\n灰白"
    )


def test_discrete_values_are_said_with_name_and_unit() -> None:
    assert (
        text_of(
            "OBX|1|TX|D^Diagnosis||Carcinoma.||||||F",
            "OBX|2|NM|1^Tumor size||4.5|cm|||||F",
            "OBX|3|CWE|2^Margin||M1^Not involved^L||||||F",
            "OBX|4|SN|3^Ki-67||>^20|%|||||F",
        )
        == "Diagnosis:\nCarcinoma.\nTumor size: 4.5 cm\nMargin: Not involved\nKi-67: >20 %"
    )


def test_comments_go_with_what_they_follow() -> None:
    assert text_of("OBX|1|TX|D||Carcinoma.||||||F", "NTE|1||see note~second") == "Carcinoma.\nsee note\nsecond"


def test_formatting_and_escapes_become_text() -> None:
    said = r"A \T\ B\.br\pT1\S\a \F\ \R\ \E\ \X0D\\H\bold\N\ 5\6 nodes"
    assert text_of(f"OBX|1|FT|D||{said}||||||F") == "A & B\npT1^a | ~ \\ \nbold 5\\6 nodes"


@given(st.text(alphabet="ab|^~\\&.brEFXH05", max_size=40))
def test_what_is_escaped_comes_back(text: str) -> None:
    from dicomsvc.hl7.acknowledge import escaped

    assert unescaped(escaped(text, Separators()), Separators(), "utf-8") == text


def test_line_end_inside_a_field_does_not_break_the_segment() -> None:
    assert text_of("OBX|1|TX|D||first line\nsecond line||||||F") == "first line\nsecond line"


@pytest.mark.parametrize(
    ("obr", "obx", "status"),
    [
        ("F", "F", ReportStatus.FINAL),
        ("P", "F", ReportStatus.PRELIMINARY),
        ("R", "F", ReportStatus.PRELIMINARY),
        ("C", "F", ReportStatus.CORRECTED),
        ("F", "C", ReportStatus.CORRECTED),
        ("", "F", ReportStatus.FINAL),
        ("", "", ReportStatus.PRELIMINARY),
        ("X", "F", ReportStatus.CANCELLED),
        ("F", "D", ReportStatus.CANCELLED),
    ],
)
def test_status_is_what_order_and_observations_say(obr: str, obx: str, status: ReportStatus) -> None:
    assert only(oru(order(obr), f"OBX|1|TX|D||Benign.||||||{obx}")).status is status


def test_cancelled_report_needs_no_text() -> None:
    report = only(oru("ORC|CA|PL-1|S26-1", order("X")))
    assert (report.status, report.text, report.report_id) == (ReportStatus.CANCELLED, "", "S26-1")


def test_deleted_lines_are_left_out() -> None:
    assert text_of("OBX|1|TX|D||Benign.||||||F", "OBX|2|TX|D||wrong line||||||D") == "Benign."


def test_orders_of_one_filler_number_are_one_report_and_others_are_others() -> None:
    content = oru(
        order(), "OBX|1|TX|D||first||||||F", order(), "OBX|1|TX|D||second||||||F",
        order(filler="S26-2"), "OBX|1|TX|D||third||||||F",
    )  # fmt: skip
    reports = read_reports(parse_message(content))
    assert [(each.report_id, each.text, each.number) for each in reports] == [
        ("S26-1", "first\nsecond", 1),
        ("S26-2", "third", 2),
    ]
    assert len({each.message_key for each in reports}) == 2


def encapsulated(content: bytes, kind: str) -> str:
    return f"OBX|1|ED|PDF^Report||LIS^{kind}^Base64^{base64.b64encode(content).decode()}||||||F"


def test_pdf_is_read_where_the_message_has_no_text_of_its_own() -> None:
    text = text_of("OBX|1|TX|D||See attached.||||||F", encapsulated(pdf("Grade 2"), "application^pdf"))
    assert text.split() == ["See", "attached.", "Grade", "2"]


def test_text_of_the_message_goes_before_its_documents() -> None:
    assert text_of(f"OBX|1|TX|D||{LONG}||||||F", encapsulated(b"%PDF- broken", "AP^PDF")).strip() == LONG.strip()


def test_rtf_is_read() -> None:
    assert text_of(encapsulated(rtf("左肾癌"), "TEXT^RTF")).strip() == "左肾癌"


def test_rtf_and_html_in_lines_of_text_are_read_as_what_they_are() -> None:
    body = rtf("左肾癌\nGrade 2").decode().replace("\\", r"\E" + "\\")
    assert text_of(f"OBX|1|FT|D||{body}||||||F").split() == ["左肾癌", "Grade", "2"]
    lines = [f"OBX|{n}|TX|D||{line}||||||F" for n, line in enumerate(("<html>", "<p>Left</p>", "kidney</html>"), 1)]
    assert text_of(*lines) == "Left\nkidney"


@pytest.mark.parametrize(
    ("segment", "why"),
    [
        (encapsulated(pdf(None), "application^pdf"), "no text layer"),
        ("OBX|1|ED|P||LIS^application^pdf^Base64^!!!||||||F", "base64"),
        ("OBX|1|ED|P||LIS^application||||||F", "components"),
        (r"OBX|1|RP|P||\\server\report.pdf^LIS^AP^PDF||||||F", "pointer"),
        ("OBX|1|TX|D||  ||||||F", "no text"),
        ("NTE|1||", "no text"),
    ],
)
def test_report_without_readable_text_is_refused_with_the_reason(segment: str, why: str) -> None:
    with pytest.raises(BadRequest, match=why):
        text_of(segment)


def test_message_without_an_order_is_refused() -> None:
    with pytest.raises(BadRequest, match="OBR"):
        read_reports(parse_message(oru("OBX|1|TX|D||Benign.||||||F")))


def test_message_with_orders_without_end_is_refused() -> None:
    with pytest.raises(BadRequest, match="orders"):
        read_reports(parse_message(oru(*(order(filler=str(number)) for number in range(501)))))


@pytest.mark.parametrize("content", [b"", b"MSH", b"MSH|", b"PID|1", b"MSHaaaaaaaaaa", b"\x00" * 50])
def test_what_is_no_message_is_refused(content: bytes) -> None:
    with pytest.raises(NotParseable):
        parse_message(content)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(noise: bytes) -> None:
    content = rb"MSH|^~\&|" + noise
    with suppress(DicomsvcError):
        read_reports(parse_message(content))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026", datetime(2026, 1, 1)),
        ("202601020304", datetime(2026, 1, 2, 3, 4)),
        ("20260102030405.678+0000", datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)),
        ("20261399", None),
        ("yesterday", None),
    ],
)
def test_times_are_read_as_far_as_they_are_said(text: str, meant: datetime | None) -> None:
    assert moment(text) == meant
