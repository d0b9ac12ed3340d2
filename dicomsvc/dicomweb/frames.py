"""WADO-RS frames (PS3.18 10.4.1.1.6): a bare ASGI application, because a viewer asks for thousands of tiles.

One frame as it is stored costs an entry of a cache, a look at the file, one read, one write. Anything else (lists,
transcoding, frames of several fragments or of loose bits) is read in a thread, in pieces.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Final

import anyio
import anyio.to_thread

from dicomsvc.config import Settings
from dicomsvc.dicom.uids import is_valid_uid
from dicomsvc.dicomweb.body import (
    PIECE_BYTES,
    Body,
    Headers,
    Receive,
    Scope,
    Send,
    closing,
    coalesce,
    new_boundary,
    send_body,
)
from dicomsvc.dicomweb.frame_cache import FrameCache
from dicomsvc.dicomweb.frame_media import FrameNegotiation, Representation
from dicomsvc.dicomweb.urls import DICOMWEB_PATH
from dicomsvc.errors import BadRequest
from dicomsvc.store import Store
from dicomsvc.store.blocks import BLOCK_BYTES
from dicomsvc.wsi.frame_reader import FrameReader, open_frames

_STUDIES: Final = f"{DICOMWEB_PATH}/studies/"
# /dicomweb/studies/{}/series/{}/instances/{}/frames/{}
_SLASHES: Final = 9
_MAX_FRAMES: Final = 10_000
_MAX_DIGITS: Final = 12
_ALLOWED: Final = b"GET, HEAD, OPTIONS"


class FrameApp:
    """ASGI application of ``/dicomweb/studies/{}/series/{}/instances/{}/frames/{list}``; for one event loop.

    Raises `DicomsvcError` before it sends anything; an error after the first byte breaks the response off.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._cache = FrameCache(self._open, settings.http.frame_cache_mb << 20)
        self._negotiation = FrameNegotiation()
        # Where the file system supports it, a read that would wait for the disk is left to a thread.
        self._read_flags = getattr(os, "RWF_NOWAIT", 0)
        self._buffer = memoryview(bytearray(PIECE_BYTES + 2 * BLOCK_BYTES))
        self._decoding = anyio.CapacityLimiter(max(2, os.cpu_count() or 1))

    def matches(self, path: str) -> bool:
        """Whether this application serves the path."""
        return "/frames/" in path and path.startswith(_STUDIES) and path.count("/") == _SLASHES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await _refuse_method(scope, send)
            return
        path, _, listed = scope["path"].rpartition("/frames/")
        reader = self._cache.get(path) or await self._cache.open(path)
        accept = b""
        for name, value in scope["headers"]:
            if name == b"accept":
                accept = accept + b"," + value if accept else value
        numbers = frame_numbers(listed)
        chosen = self._negotiation.choose(scope, accept, reader.syntax, len(numbers) == 1)
        if len(numbers) == 1 and not chosen.transcoded and not reader.is_packed and scope["method"] == "GET":
            ranges = reader.index.ranges(numbers[0])
            if len(ranges) == 1 and ranges[0][1] <= PIECE_BYTES:
                await self._send_one(send, reader, ranges[0], chosen)
                return
        await self._send_list(scope, receive, send, reader, numbers, chosen)

    async def _send_one(self, send: Send, reader: FrameReader, where: tuple[int, int], chosen: Representation) -> None:
        offset, length = where
        data: bytes | memoryview | None = self._read_now(reader, offset, length)
        if data is None:
            data = await anyio.to_thread.run_sync(reader.read, offset, length)
        content_type = chosen.content_type
        # Nothing is awaited between the read and this copy: the buffer is every request's.
        if chosen.media.multipart:
            boundary = new_boundary().encode()
            content_type += boundary
            body = b"".join((b"--", boundary, chosen.part_head, data, b"\r\n--", boundary, b"--\r\n"))
        else:
            body = bytes(data)
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", content_type), (b"content-length", b"%d" % len(body))],
            }
        )
        await send({"type": "http.response.body", "body": body})

    def _read_now(self, reader: FrameReader, offset: int, length: int) -> memoryview | None:
        """Return what the operating system has in memory, in a buffer that the next call overwrites."""
        if not self._read_flags:
            return None
        begin, end = reader.around(offset, length)
        data = self._buffer[: end - begin]
        try:
            if os.preadv(reader.fd, (data,), begin, self._read_flags) != end - begin:
                return None
        except OSError:
            # It would wait for the disk, or the file system has no such reads. A fault is named by the thread.
            return None
        # Damage too: it is to be written down.
        return data[offset - begin : offset - begin + length] if reader.holds(begin, data) else None

    async def _send_list(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        reader: FrameReader,
        numbers: Sequence[int],
        chosen: Representation,
    ) -> None:
        boundary = new_boundary() if chosen.media.multipart else ""
        lengths = [frame_length(reader, number, chosen) for number in numbers]
        total = sum(lengths)
        if boundary:
            total += len(numbers) * (len("\r\n--") + len(boundary) + len(chosen.part_head))
            total += len(closing(boundary)) - len("\r\n")
        pieces = coalesce(_pieces(reader, numbers, chosen, boundary))
        headers: Headers = [(b"content-type", chosen.content_type + boundary.encode())]
        limiter = self._decoding if chosen.transcoded else None
        await send_body(scope, receive, send, 200, headers, Body(pieces, total, limiter))

    def _open(self, path: str) -> FrameReader:
        parts = path.split("/")
        if (parts[4], parts[6]) != ("series", "instances") or not all(map(is_valid_uid, parts[3::2])):
            raise BadRequest("the path does not name a study, a series and an instance by their UIDs")
        (record,) = self._store.instances.find(*parts[3::2])
        return open_frames(self._store, record)


def frame_numbers(listed: str) -> list[int]:
    """Return the numbers of a comma-separated frame list.

    Raises
    ------
    BadRequest
        When it is something else, or too long.
    """
    if len(listed) < _MAX_DIGITS and listed.isascii() and listed.isdigit():
        return [int(listed)]
    pieces = listed.split(",")
    if len(pieces) > _MAX_FRAMES:
        raise BadRequest(f"more than {_MAX_FRAMES} frames are asked for at once")
    try:
        return [_frame_number(piece) for piece in pieces]
    except ValueError:
        raise BadRequest("the frame list is no list of numbers separated by commas") from None


def _frame_number(text: str) -> int:
    # Conversion of many digits takes quadratic time.
    if len(text) < _MAX_DIGITS and text.isascii() and text.isdigit():
        return int(text)
    raise ValueError


def frame_length(reader: FrameReader, frame_number: int, chosen: Representation) -> int:
    """Return how many bytes the content of a frame has in a representation.

    Raises
    ------
    NotFound
        When there is no such frame.
    """
    ranges = reader.index.ranges(frame_number)
    if chosen.transcoded or reader.is_packed:
        return reader.native_bytes
    return sum(length for _, length in ranges)


def _pieces(reader: FrameReader, numbers: Sequence[int], chosen: Representation, boundary: str) -> Iterator[bytes]:
    delimiter = b"--" + boundary.encode()
    for position, number in enumerate(numbers):
        if boundary:
            yield (b"\r\n" if position else b"") + delimiter + chosen.part_head
        if chosen.transcoded:
            yield reader.native(number)
        elif reader.is_packed:
            yield reader.encoded(number)
        else:
            for offset, length in reader.index.ranges(number):
                yield from _chunks(reader, offset, length)
    if boundary:
        yield closing(boundary)


def _chunks(reader: FrameReader, offset: int, length: int) -> Iterator[bytes]:
    for start in range(offset, offset + length, PIECE_BYTES):
        yield reader.read(start, min(PIECE_BYTES, offset + length - start))


async def _refuse_method(scope: Scope, send: Send) -> None:
    options = scope["method"] == "OPTIONS"
    status, headers = (204, []) if options else (405, [(b"content-length", b"0")])
    headers.append((b"allow", _ALLOWED))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
