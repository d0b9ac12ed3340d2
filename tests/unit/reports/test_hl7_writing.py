"""Structured reports as ORU^R01, and answers to messages."""

from dataclasses import replace
from datetime import UTC, datetime

import hl7
import pytest

from dicomsvc.hl7.acknowledge import AckCode, Acknowledgement, Condition, acknowledged, refused, wanted
from dicomsvc.hl7.message import Message, parse_message
from dicomsvc.reports.hl7.reading import read_reports
from dicomsvc.reports.hl7.writing import Route, oru_message
from dicomsvc.reports.intake.received import ReportStatus
from tests.unit.reports.exchange_case import CASE, REPORT, SIGNED, TEXT, place

NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
ROUTE = Route("DICOMSVC", "LAB", "LIS", "R&D^1")


def written(case: object = CASE) -> hl7.Message:
    return hl7.parse(oru_message(REPORT, case, ROUTE, "C-1", NOW).decode())  # type: ignore[arg-type]


def test_another_parser_reads_whose_and_which_report_it_is() -> None:
    message = written()
    header = message.segment("MSH")
    assert [str(header[n]) for n in (3, 4, 7, 9, 10, 12, 18)] == [
        "DICOMSVC", "LAB", "20260203040506+0000", "ORU^R01^ORU_R01", "C-1", "2.5.1", "UNICODE UTF-8",
    ]  # fmt: skip
    assert message.unescape(str(header[6])) == "R&D^1"
    assert str(message.segment("PID")[3]) == "P-1^^^HOSP^MR"
    order = message.segment("OBR")
    assert [str(order[n]) for n in (2, 3, 18, 22, 25)] == ["PL-1", "S26-1", "A-77", "20260101100000+0000", "P"]


def test_each_value_has_its_code_or_words_and_the_words_it_comes_from() -> None:
    message = written()
    by_field = {str(each[3]).split("^")[-3]: each for each in message.segments("OBX")[1:]}
    assert str(by_field["laterality"][5]) == "7771000^Left^SCT^left^Left^L"
    assert str(by_field["laterality"][4]) == "A"
    assert [str(by_field["made_up_size"][n]) for n in (2, 5, 6)] == ["NM", "4.5", "cm^^UCUM"]
    assert [str(by_field["made_up_stage"][n]) for n in (2, 5, 11)] == ["ST", "t1b", "P"]
    notes = [message.unescape(str(note[3])) for note in message.segments("NTE")]
    (words,) = place("LVI: not identified")
    assert f"evidence {words.start}-{words.end}: LVI: not identified" in notes
    assert "status=stated; assertion=present; sentinel=False; station=hilar 肾门" in notes


def test_our_reader_gets_back_the_text() -> None:
    (report,) = read_reports(parse_message(oru_message(REPORT, CASE, ROUTE, "C-1", NOW)))
    assert report.text.startswith(TEXT.rstrip("\n"))
    assert (report.accession_number, report.report_id, report.status) == ("S26-1", "S26-1", ReportStatus.PRELIMINARY)


@pytest.mark.parametrize(
    ("status", "signed", "said"),
    [
        (ReportStatus.FINAL, False, "P"),
        (ReportStatus.FINAL, True, "F"),
        (ReportStatus.CORRECTED, True, "C"),
        (ReportStatus.PRELIMINARY, True, "P"),
    ],
)
def test_message_is_final_only_when_a_person_signed_a_final_report(
    status: ReportStatus, signed: bool, said: str
) -> None:
    case = replace(CASE, status=status, sign_off=SIGNED if signed else None)
    message = written(case)
    assert str(message.segment("OBR")[25]) == said
    assert {str(each[11]) for each in message.segments("OBX")} == {said}


def test_cancelled_report_goes_out_without_text_and_values() -> None:
    content = oru_message(REPORT, replace(CASE, status=ReportStatus.CANCELLED), ROUTE, "C-1", NOW)
    assert b"OBX" not in content
    (report,) = read_reports(parse_message(content))
    assert report.status is ReportStatus.CANCELLED


def message(version: str = "2.5.1", accept: str = "", application: str = "", marks: str = r"|^~\&") -> Message:
    fields = ["MSH" + marks, "LIS", "PATH", "DS", "HOSP", "20260101", "", "ORU^R01", "M-9", "P", version, "", ""]
    return parse_message("|".join([*fields, accept, application, "", "UNICODE UTF-8"]).encode())


def answered(to: Message, answer: Acknowledgement) -> hl7.Message:
    return hl7.parse(acknowledged(to, answer, NOW).decode())


def test_acknowledgement_goes_back_to_the_sender_with_its_control_id() -> None:
    ack = answered(message(), Acknowledgement(AckCode.ACCEPT))
    assert [str(ack.segment("MSH")[n]) for n in (3, 4, 5, 6, 9)] == ["DS", "HOSP", "LIS", "PATH", "ACK^R01^ACK"]
    assert [str(ack.segment("MSA")[n]) for n in (1, 2)] == ["AA", "M-9"]
    assert "ERR" not in str(ack)


def test_error_is_told_in_the_layout_of_the_senders_version() -> None:
    answer = Acknowledgement(AckCode.ERROR, Condition.DATA_TYPE, "the PDF has no text | layer")
    new = answered(message(), answer)
    assert [str(new.segment("ERR")[n]) for n in (3, 4)] == ["102^Data type error^HL70357", "E"]
    assert new.unescape(str(new.segment("ERR")[8])) == "the PDF has no text | layer"
    old = answered(message("2.3"), answer)
    assert str(old.segment("ERR")[1]) == "^^^102&Data type error&HL70357"


@pytest.mark.parametrize(
    ("accept", "application", "accepted", "failed", "code"),
    [
        ("", "", True, True, "AA"),
        ("AL", "NE", True, True, "CA"),
        ("AL", "", True, True, "CA"),
        ("NE", "AL", True, True, "AA"),
        ("AL", "AL", True, True, "AA"),
        ("ER", "NE", False, True, "CA"),
        ("SU", "NE", True, False, "CA"),
        ("NE", "NE", False, False, "AA"),
    ],
)
def test_answers_are_those_that_the_sender_asks_for(
    accept: str, application: str, accepted: bool, failed: bool, code: str
) -> None:
    to = message(accept=accept, application=application)
    assert wanted(to, AckCode.ACCEPT) is accepted
    assert wanted(to, AckCode.ERROR) is failed
    if accepted:
        assert str(answered(to, Acknowledgement(AckCode.ACCEPT)).segment("MSA")[1]) == code


def test_bytes_that_are_no_message_are_rejected_without_a_control_id() -> None:
    ack = hl7.parse(refused("no HL7 v2 message", now=NOW).decode())
    assert [str(ack.segment("MSA")[n]) for n in (1, 2)] == ["AR", ""]


def test_other_encoding_characters_are_kept_in_the_answer() -> None:
    to = parse_message(b"MSH#*~\\&#LIS#PATH#DS#HOSP#2026##ORU*R01#M-9#P#2.5.1\r")
    ack = acknowledged(to, Acknowledgement(AckCode.ACCEPT), NOW).decode()
    assert ack.startswith("MSH#*~\\&#DS#HOSP#LIS#PATH#") and "MSA#AA#M-9" in ack


def test_header_that_would_end_the_segment_or_the_frame_does_not_come_back() -> None:
    to = parse_message(b"MSH|^~\\&|LIS\nMSA|AA|0\x0b|P|DS|H|2026||ORU^R\n1|M\x0b-9" + b"9" * 400 + b"|P|2.5.1\r")
    ack = acknowledged(to, Acknowledgement(AckCode.ACCEPT), NOW)
    assert b"\n" not in ack and b"\x0b" not in ack
    assert len(hl7.parse(ack.decode())) == 2
    assert len(ack) < 1000
