"""A reader of multipart bodies (RFC 2046 5.1, RFC 2387) that is fed pieces and never holds more than one.

Tolerant where senders differ: a line break or a preamble before the first delimiter, white space after a delimiter,
header names in any case, no line break at the end. Bounded everywhere: preamble, header blocks, number of parts.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from dicomsvc.errors import BadRequest, TooLarge

MAX_PARTS: Final = 100_000
_MAX_PREAMBLE: Final = 64 << 10
_MAX_HEADERS: Final = 16 << 10
_MAX_PADDING: Final = 64
# RFC 2046 5.1.1 allows 70 characters; some senders go further.
_BOUNDARY = re.compile(r"[\x20-\x7e]{0,199}[\x21-\x7e]\Z")
# What follows a boundary: the end, or padding and a line break. Anything else makes it ordinary content.
_AFTER = re.compile(rb"(--)|[ \t]*(?=\r\n)")


@dataclass(frozen=True, slots=True)
class PartStart:
    """Headers of a part, names in lower case."""

    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class PartData:
    data: memoryview


@dataclass(frozen=True, slots=True)
class PartEnd:
    """A part is over; ``complete``: its delimiter came."""

    complete: bool


Event = PartStart | PartData | PartEnd


class _State(Enum):
    PREAMBLE = auto()
    HEADERS = auto()
    CONTENT = auto()
    EPILOGUE = auto()


class MultipartReader:
    """Turns pieces of a body into events.

    Raises
    ------
    BadRequest
        When the boundary is none that may be used.
    """

    def __init__(self, boundary: str) -> None:
        if not _BOUNDARY.match(boundary):
            raise BadRequest("the boundary of the multipart body is missing or malformed (RFC 2046 5.1.1)")
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        self._state = _State.PREAMBLE
        # The first delimiter needs no line break before it.
        self._rest = b"\r\n"
        self._skipped = 0
        self._parts = 0

    @property
    def ended(self) -> bool:
        """Whether the closing delimiter came."""
        return self._state is _State.EPILOGUE

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Yield the events of the next piece; all of them must be taken.

        Raises
        ------
        BadRequest
            When the preamble or a header block is longer than allowed, or is none.
        TooLarge
            When there are more parts than allowed.
        """
        buffer = self._rest + piece if self._rest else piece
        view = memoryview(buffer)
        position = 0
        while True:
            if self._state is _State.EPILOGUE:
                self._rest = b""
                return
            if self._state is _State.HEADERS:
                end = self._header_end(buffer, position)
                if end < 0:
                    break
                yield self._start_part(buffer[position:end])
                position = end
            found, following = self._find_delimiter(buffer, position)
            if found > position:
                yield from self._content(view[position:found])
            position = found
            if following < 0:
                break
            if self._state is _State.CONTENT:
                yield PartEnd(complete=True)
            position = following
            self._state = _State.EPILOGUE if buffer[following - 2 : following] == b"--" else _State.HEADERS
        self._rest = buffer[position:]

    def close(self) -> Iterator[Event]:
        """Yield the last events; no further piece comes."""
        if self._state is _State.CONTENT:
            cut_in_delimiter = self._rest.rstrip(b"-\r\n \t") == self._delimiter.rstrip(b"-")
            if self._rest and not cut_in_delimiter:
                yield PartData(memoryview(self._rest))
            yield PartEnd(complete=cut_in_delimiter)
        elif self._state is _State.HEADERS and self._rest.strip(b"\r\n- \t"):
            yield PartEnd(complete=False)
        self._state = _State.EPILOGUE

    def _content(self, view: memoryview) -> Iterator[Event]:
        if self._state is _State.CONTENT:
            yield PartData(view)
            return
        self._skipped += len(view)
        if self._skipped > _MAX_PREAMBLE:
            raise BadRequest("the boundary that Content-Type names does not occur in the body")

    def _find_delimiter(self, buffer: bytes, position: int) -> tuple[int, int]:
        """Return where content ends and where what follows the delimiter begins.

        The second is -1 when more has to be read; content is then known up to the first.
        """
        while True:
            found = buffer.find(self._delimiter, position)
            if found < 0:
                # A delimiter may begin in the last bytes.
                start = max(position, len(buffer) - len(self._delimiter) + 1)
                maybe = buffer.find(b"\r", start)
                return (len(buffer) if maybe < 0 else maybe), -1
            after = found + len(self._delimiter)
            match = _AFTER.match(buffer, after)
            if match is not None:
                return found, match.end()
            tail = buffer[after : after + _MAX_PADDING]
            if after + len(tail) == len(buffer) and not tail.lstrip(b" \t").strip(b"-\r"):
                return found, -1
            position = after

    def _header_end(self, buffer: bytes, position: int) -> int:
        """Return where the content begins, behind the empty line; -1 when more has to be read."""
        end = buffer.find(b"\r\n\r\n", position, position + _MAX_HEADERS)
        if end < 0 and len(buffer) - position >= _MAX_HEADERS:
            raise BadRequest("the headers of a part are too long")
        return end + 4 if end >= 0 else -1

    def _start_part(self, block: bytes) -> PartStart:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise TooLarge(f"the body has more than {MAX_PARTS} parts; send the rest in another request")
        self._state = _State.CONTENT
        headers: dict[str, str] = {}
        for line in block.decode("latin-1").split("\r\n"):
            name, separator, value = line.partition(":")
            if separator:
                headers.setdefault(name.strip().lower(), value.strip())
        return PartStart(headers)
