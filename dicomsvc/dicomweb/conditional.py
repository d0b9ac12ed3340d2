"""Conditional and partial requests (RFC 9110 13 and 14)."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from starlette.datastructures import Headers

_RANGE = re.compile(r"bytes=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*\Z", re.IGNORECASE)
_ENCODING = re.compile(r"\s*([a-z0-9*-]+)\s*(?:;\s*q\s*=\s*([0-9.]{1,5})\s*)?\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ByteRange:
    offset: int
    length: int


class Unsatisfiable(ValueError):
    """A range that lies beyond the end: 416."""


def etag(*parts: bytes | str, weak: bool = False) -> str:
    """Return an entity tag that stands for all ``parts``."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return f'{"W/" if weak else ""}"{digest.hexdigest()[:40]}"'


def is_not_modified(headers: Headers, tag: str) -> bool:
    """Whether the client has what ``tag`` stands for (weak comparison, RFC 9110 13.1.2)."""
    asked = headers.get("if-none-match", "")
    return bool(asked) and (asked.strip() == "*" or _opaque(tag) in map(_opaque, asked.split(",")))


def _opaque(tag: str) -> str:
    return tag.strip().removeprefix("W/")


def requested_range(headers: Headers, size: int, tag: str) -> ByteRange | None:
    """Return the range that is asked for; None for the whole, also when several or malformed ones are asked for.

    Raises
    ------
    Unsatisfiable
    """
    match = _RANGE.match(headers.get("range", ""))
    condition = headers.get("if-range", "").strip()
    if match is None or match.groups() == ("", "") or (condition and condition != tag):
        return None
    first, last = match.groups()
    if not first:
        length = min(int(last), size)
        if length == 0:
            raise Unsatisfiable
        return ByteRange(size - length, length)
    offset = int(first)
    end = min(int(last), size - 1) if last else size - 1
    if last and int(last) < offset:
        return None
    if offset >= size:
        raise Unsatisfiable
    return ByteRange(offset, end - offset + 1)


def accepts_gzip(headers: Headers) -> bool:
    """Whether the client takes gzip (RFC 9110 12.5.3)."""
    quality = dict(_encodings(headers.get("accept-encoding", "").split(",")))
    return quality.get("gzip", quality.get("x-gzip", quality.get("*", 0.0))) > 0


def _encodings(elements: Iterable[str]) -> Iterable[tuple[str, float]]:
    for element in elements:
        match = _ENCODING.match(element)
        if match is not None:
            try:
                yield match[1].lower(), float(match[2] or "1")
            except ValueError:
                continue
