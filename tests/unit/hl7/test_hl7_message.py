"""Messages from anybody: their cost is bounded by their length."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomsvc.errors import NotParseable
from dicomsvc.hl7.acknowledge import AckCode, Acknowledgement, Condition, acknowledged
from dicomsvc.hl7.handlers import Handler, Handlers
from dicomsvc.hl7.message import Separators, parse_message, unescaped
from dicomsvc.hl7.people import person_name, provider_name

LENGTH = 2_000_000
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def header(kind: str = "OML^O21^OML_O21", version: str = "2.5.1", marks: str = "^~\\&") -> bytes:
    return rf"MSH|{marks}|LIS|LAB|DS|HOSP|20260101||{kind}|C-1|P|{version}||||||UNICODE UTF-8".encode() + b"\r"


@pytest.mark.parametrize(
    "piece", ["\\", "\\X", "\\X41", "\\.br", "\\.sp+1", "\\F", "X41\\", "\\X4", "\\Z" + "0" * 50, "0" * 99 + "\\X"]
)
def test_escapes_without_end_cost_no_more_than_their_length(piece: str) -> None:
    text = piece * (LENGTH // len(piece))
    assert unescaped(text, Separators(), "utf-8")


@given(st.text(alphabet=st.sampled_from("\\XFSTRE.br0123456789AC+- ſK"), max_size=80))
def test_text_without_escape_sequences_is_left_alone(text: str) -> None:
    assert unescaped(text.replace("\\", ""), Separators(), "utf-8") == text.replace("\\", "")


@pytest.mark.parametrize("marks", ["^~A&", "^~0&", "X~\\&"])
def test_letters_are_no_encoding_characters(marks: str) -> None:
    with pytest.raises(NotParseable, match="MSH-2"):
        parse_message(header(marks=marks) + b"PID|1\r")


@pytest.mark.parametrize(
    ("version", "segment"),
    [
        ("2.5.1", "ERR||PID^1^3|101^Required field missing^HL70357|E||||reason"),
        ("2.3.1", "ERR|PID^1^3^101&Required field missing&HL70357"),
    ],
)
def test_place_of_an_error_is_told_in_the_layout_of_the_version(version: str, segment: str) -> None:
    answer = Acknowledgement(AckCode.ERROR, Condition.REQUIRED_FIELD, "reason", location=("PID", 1, 3))
    written = acknowledged(parse_message(header(version=version)), answer, NOW).decode().split("\r")
    assert segment in written


def test_segments_of_an_answer_cannot_end_the_segment_or_the_frame() -> None:
    answer = Acknowledgement(AckCode.ACCEPT, segments=(("PID", "a\rMSA|AR\x1c\r"),))
    written = acknowledged(parse_message(header()), answer, NOW, response="ORL^O22^ORL_O22").decode()
    assert "\x1c" not in written
    assert written.split("\r")[-2:] == ["PID|aMSA|AR", ""]


async def _take(message: object) -> Acknowledgement:
    return Acknowledgement(AckCode.ACCEPT)


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("ORU^R01", "report"),
        ("ORU", "report"),
        ("OML^O21", "order"),
        ("OML", Condition.UNSUPPORTED_EVENT),
        ("OML^O99", Condition.UNSUPPORTED_EVENT),
        ("ADT^A01", Condition.UNSUPPORTED_MESSAGE),
        ("", Condition.UNSUPPORTED_MESSAGE),
    ],
)
def test_type_and_event_choose_who_takes_a_message(kind: str, found: str | Condition) -> None:
    table = Handlers(
        {
            ("ORU", "R01"): Handler(_take, "report"),
            ("OML", "O21"): Handler(_take, "order"),
            ("OML", "O33"): Handler(_take, "order"),
        }
    )
    chosen = table.find(parse_message(header(kind)))
    assert (chosen.response if isinstance(chosen, Handler) else chosen.condition) == found


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("Wang^Xiaoming", "Wang^Xiaoming"),
        ("Wang^Xiaoming^B^Jr^Dr", "Wang^Xiaoming^B^Dr^Jr"),
        ("王^小明", "王^小明"),
        ("王^小明^^^^^L^I~Wang^Xiaoming^^^^^L^A", "Wang^Xiaoming=王^小明"),
        ("de Vries&de&Vries^Jan", "de Vries^Jan"),
        ("a\\S\\b\\E\\c^d", "a b c^d"),
        ("", ""),
    ],
)
def test_names_are_names_of_dicom(field: str, name: str) -> None:
    message = parse_message(header() + f"PID|1||||{field}\r".encode())
    assert person_name(message.first("PID"), 5) == name


def test_provider_has_an_identifier_before_the_name() -> None:
    message = parse_message(header() + b"PV1|1|O||||||D1^House^Greg^^MD^Dr~D2^Wilson\r")
    assert provider_name(message.first("PV1"), 8) == "House^Greg^^Dr^MD"
    assert provider_name(message.first("PV1"), 9) == provider_name(None, 8) == ""
