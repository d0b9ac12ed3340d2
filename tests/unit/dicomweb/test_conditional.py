import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from dicomsvc.dicomweb.conditional import (
    ByteRange,
    Unsatisfiable,
    accepts_gzip,
    etag,
    is_not_modified,
    requested_range,
)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("bytes=0-0", ByteRange(0, 1)),
        ("bytes=5-", ByteRange(5, 95)),
        ("bytes=-5", ByteRange(95, 5)),
        ("bytes=-500", ByteRange(0, 100)),
        ("bytes=10-500", ByteRange(10, 90)),
        ("BYTES=1-2", ByteRange(1, 2)),
        ("bytes=2-1", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("items=0-1", None),
        ("bytes=a-b", None),
        ("", None),
    ],
)
def test_ranges(asked: str, expected: ByteRange | None) -> None:
    assert requested_range(Headers({"range": asked}), 100, '"t"') == expected


@pytest.mark.parametrize(("asked", "size"), [("bytes=100-", 100), ("bytes=-0", 100), ("bytes=0-", 0), ("bytes=-1", 0)])
def test_ranges_beyond_the_end_cannot_be_satisfied(asked: str, size: int) -> None:
    with pytest.raises(Unsatisfiable):
        requested_range(Headers({"range": asked}), size, '"t"')


@given(st.text(max_size=30), st.integers(0, 1000))
def test_any_range_lies_within_the_content(asked: str, size: int) -> None:
    try:
        part = requested_range(Headers(raw=[(b"range", b"bytes=" + asked.encode("utf-8", "replace"))]), size, '"t"')
    except Unsatisfiable:
        return
    assert part is None or (part.length > 0 and part.offset >= 0 and part.offset + part.length <= size)


def test_tags_tell_parts_apart_and_weak_ones_match_too() -> None:
    assert etag("ab", "c") != etag("a", "bc")
    tag = etag("a", weak=True)
    assert is_not_modified(Headers({"if-none-match": tag}), tag)
    assert is_not_modified(Headers({"if-none-match": f'"x", {etag("a")}'}), tag)
    assert is_not_modified(Headers({"if-none-match": "*"}), tag)
    assert not is_not_modified(Headers({"if-none-match": '"x"'}), tag)
    assert not is_not_modified(Headers({}), tag)


@pytest.mark.parametrize(
    ("header", "expected"),
    [("gzip", True), ("br, gzip;q=0.5", True), ("*", True), ("gzip;q=0", False), ("", False), ("identity", False)],
)
def test_gzip_is_used_when_it_is_accepted(header: str, expected: bool) -> None:
    assert accepts_gzip(Headers({"accept-encoding": header})) is expected
