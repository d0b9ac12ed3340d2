"""The multipart reader: the same parts whatever the pieces, however the sender writes them."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomsvc.dicomweb.multipart_in import MAX_PARTS, MultipartReader, PartData, PartEnd, PartStart
from dicomsvc.errors import BadRequest, TooLarge

Part = tuple[dict[str, str], bytes, bool]


def read(body: bytes, boundary: str = "b", size: int = 1 << 20) -> list[Part]:
    """Return headers, content and completeness of each part, the body fed in pieces of ``size`` bytes."""
    reader = MultipartReader(boundary)
    parts: list[Part] = []
    headers: dict[str, str] = {}
    content = b""
    events = [event for start in range(0, len(body), size) for event in reader.feed(body[start : start + size])]
    for event in [*events, *reader.close()]:
        if isinstance(event, PartStart):
            headers, content = event.headers, b""
        elif isinstance(event, PartData):
            content += bytes(event.data)
        elif isinstance(event, PartEnd):
            parts.append((headers, content, event.complete))
    return parts


def test_reads_parts_and_headers_in_any_case() -> None:
    body = b"--b\r\nCONTENT-type: application/dicom\r\nX:1\r\n\r\nfirst\r\n--b\r\n\r\nsecond\r\n--b--\r\n"
    assert read(body) == [({"content-type": "application/dicom", "x": "1"}, b"first", True), ({}, b"second", True)]


@pytest.mark.parametrize(
    "body",
    [
        b"\r\n--b\r\n\r\ncontent\r\n--b--\r\n",
        b"a preamble\r\n--b\r\n\r\ncontent\r\n--b--\r\nan epilogue\r\n--b\r\n\r\nno part\r\n--b--",
        b"--b  \t\r\n\r\ncontent\r\n--b--",
        b"--b\r\n\r\ncontent\r\n--b",
        b"--b\r\n\r\ncontent\r\n--b-",
        b"--b\r\n\r\ncontent\r\n--b\r\n",
    ],
)
def test_tolerates_what_senders_write_around_parts(body: bytes) -> None:
    for size in (1, 2, 3, 1000):
        assert read(body, size=size) == [({}, b"content", True)]


def test_a_longer_boundary_is_content() -> None:
    assert read(b"--b\r\n\r\none\r\n--bb\r\ntwo\r\n--b--") == [({}, b"one\r\n--bb\r\ntwo", True)]


def test_a_body_without_its_last_delimiter_has_an_incomplete_part() -> None:
    assert read(b"--b\r\n\r\none\r\n--b\r\n\r\ntw", size=5) == [({}, b"one", True), ({}, b"tw", False)]


def test_line_breaks_and_half_delimiters_stay_in_the_content() -> None:
    content = b"\r\r\n-\r\n--\r\n--c\r\n\r\n--\r\n"
    for size in (1, 7, 1000):
        assert read(b"--b\r\n\r\n" + content + b"\r\n--b--", size=size) == [({}, content, True)]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from([b"\r\n", b"--", b"b", b"-", b"x", b"\0" * 9, b" "])).map(b"".join), max_size=4),
    st.integers(1, 40),
)
def test_parts_come_out_as_they_went_in_whatever_the_pieces(contents: list[bytes], size: int) -> None:
    boundary = "a boundary:1"
    body = b"".join(b"--a boundary:1\r\n\r\n" + content + b"\r\n" for content in contents) + b"--a boundary:1--\r\n"
    assert read(body, boundary, size) == [({}, content, True) for content in contents]


def test_damaged_bodies_raise_nothing_else_than_errors_of_requests() -> None:
    chance = random.Random(5)
    whole = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + bytes(range(256)) + b"\r\n--b--\r\n"
    for _ in range(2000):
        body = bytearray(whole * 2)
        for _ in range(chance.randrange(1, 6)):
            body[chance.randrange(len(body))] = chance.choice(b"\r\n-b\0: ")
        del body[chance.randrange(len(body)) :]
        pieces = chance.randrange(1, 300)
        assert all(len(content) <= len(body) for _, content, _ in read(bytes(body), size=pieces))


@pytest.mark.parametrize("boundary", ["", "x" * 201, "ends with space ", "line\r\nbreak", "ä"])
def test_refuses_boundaries_that_may_not_be(boundary: str) -> None:
    with pytest.raises(BadRequest):
        MultipartReader(boundary)


def test_refuses_endless_preambles_headers_and_parts() -> None:
    with pytest.raises(BadRequest):
        read(b"x" * (1 << 20), size=1000)
    with pytest.raises(BadRequest):
        read(b"--b\r\nX: " + b"x" * (1 << 20), size=1000)
    with pytest.raises(TooLarge):
        read(b"--b\r\n\r\n\r\n" * (MAX_PARTS + 1))
