import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomsvc.dicomweb.media_types import (
    DICOM_JSON,
    DICOM_XML,
    PLAIN_JSON,
    Accept,
    MediaType,
    choose,
    parse_accept,
    read_accept,
)
from dicomsvc.errors import NotAcceptable

JPEG = "1.2.840.10008.1.2.4.50"
EXPLICIT = "1.2.840.10008.1.2.1"
FRAMES = (
    MediaType("image/jpeg", True, JPEG),
    MediaType("application/octet-stream", True, JPEG, only_if_named=True),
    MediaType("application/octet-stream", True, EXPLICIT),
    MediaType("image/jpeg", False, JPEG),
    MediaType("application/octet-stream", False, EXPLICIT),
)


def chosen(header: str, offers=FRAMES, query: str = "") -> MediaType:
    scope = {"headers": [(b"accept", header.encode())] if header else [], "query_string": query.encode()}
    return choose(read_accept(scope), offers)


def test_slims_accept_for_tiles_gets_the_stored_syntax() -> None:
    media = chosen('multipart/related; type="application/octet-stream"; transfer-syntax=*')
    assert media == FRAMES[1]


@pytest.mark.parametrize("header", ["", "*/*", "*", "multipart/related", "multipart/*", "text/html, */*;q=0.1"])
def test_who_accepts_anything_gets_the_first_offer(header: str) -> None:
    assert chosen(header) == FRAMES[0]


@pytest.mark.parametrize(
    ("header", "index"),
    [
        ('multipart/related; type="application/octet-stream"', 2),
        (f'multipart/related; type="application/octet-stream"; transfer-syntax={EXPLICIT}', 2),
        ("multipart/related;type=image/jpeg", 0),
        ("multipart/related; type=image/*", 0),
        ('MULTIPART/Related; TYPE="Image/JPEG"; Transfer-Syntax=1.2.840.10008.1.2.4.50', 0),
        ("image/jpeg", 3),
        ("application/octet-stream", 4),
        ("image/jpeg;q=0.5, application/octet-stream;q=0.9", 4),
        ("image/png, image/*;q=0.2", 3),
        ('multipart/related; type="image/jpeg"; q=0, multipart/related; q=0.3', 2),
    ],
)
def test_the_named_representation_is_chosen(header: str, index: int) -> None:
    assert chosen(header) == FRAMES[index]


@pytest.mark.parametrize(
    "header",
    [
        "image/png",
        "multipart/related; type=image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.90",
        "*/*;q=0",
        "image/jpeg;q=nan",
        ";;;,,,",
    ],
)
def test_what_cannot_be_made_is_not_acceptable(header: str) -> None:
    with pytest.raises(NotAcceptable):
        chosen(header)


def test_of_equal_quality_the_first_in_the_header_wins() -> None:
    assert chosen("application/dicom+json, application/json", (PLAIN_JSON, DICOM_JSON)) == DICOM_JSON
    assert chosen("application/json, application/dicom+json", (DICOM_JSON, PLAIN_JSON)) == PLAIN_JSON


def test_the_query_parameter_goes_before_the_header_and_keeps_its_plus_sign() -> None:
    offers = (DICOM_JSON, DICOM_XML)
    query = "accept=multipart/related%3B%20type=%22application/dicom+xml%22"
    assert chosen("application/dicom+json", offers, query) == DICOM_XML
    assert chosen("application/dicom+json", offers, "accept=application/dicom+json") == DICOM_JSON
    assert chosen("application/dicom+json", offers, "accept=image/gif") == DICOM_JSON


def test_a_quoted_comma_or_semicolon_does_not_split_a_range() -> None:
    ranges = parse_accept('multipart/related; x="a,b;c\\"d"; type="image/jpeg", text/plain')
    assert [(r.name, r.part) for r in ranges] == [("multipart/related", "image/jpeg"), ("text/plain", "")]


@given(st.text(max_size=300))
def test_any_header_parses(text: str) -> None:
    for media_range in parse_accept(text):
        assert 0 <= media_range.quality <= 1


@pytest.mark.parametrize("evil", ['"\\' * 30000, '"' * 60001, ",;" * 30000, "a/b;" * 15000])
def test_a_hostile_header_costs_little(evil: str) -> None:
    start = time.perf_counter()
    parse_accept(evil)
    assert time.perf_counter() - start < 0.5


def test_no_header_means_anything() -> None:
    assert choose(Accept(), FRAMES) == FRAMES[0]
