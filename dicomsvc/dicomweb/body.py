"""Response bodies that are read piece by piece: blocking iterators sent from an event loop in bounded memory."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

import anyio
import anyio.to_thread
from starlette.responses import Response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

PIECE_BYTES: Final = 1 << 20
_COALESCE_BYTES: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Body:
    """Bytes to send; ``length`` in bytes where it is known before.

    ``pieces`` may block and may raise; ``limiter`` says how many such pieces are made at the same time.
    """

    pieces: Iterator[bytes]
    length: int | None = None
    limiter: anyio.CapacityLimiter | None = None

    async def next_piece(self) -> bytes | None:
        return await anyio.to_thread.run_sync(next, self.pieces, None, limiter=self.limiter)


def new_boundary() -> str:
    """Return a boundary that no content can know (RFC 2046 5.1.1)."""
    return os.urandom(16).hex()


def part_head(boundary: str, content_type: str, *, first: bool, location: str = "") -> bytes:
    """Return what stands before the content of a part of a multipart body (PS3.18 8.6.1.2)."""
    lines = f"--{boundary}\r\nContent-Type: {content_type}\r\n"
    if not first:
        lines = "\r\n" + lines
    if location:
        lines += f"Content-Location: {location}\r\n"
    return f"{lines}\r\n".encode("latin-1", "replace")


def closing(boundary: str) -> bytes:
    """Return what stands behind the last part."""
    return f"\r\n--{boundary}--\r\n".encode("ascii")


def coalesce(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Join small pieces, so that each hop between threads carries enough."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= _COALESCE_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


async def send_body(scope: Scope, receive: Receive, send: Send, status: int, headers: Headers, body: Body) -> None:
    """Send a response; what the first piece raises is raised before anything is sent.

    An error after that is raised too: the server breaks the connection then, so that no client takes a part for all.
    """
    if body.length is not None:
        headers = [*headers, (b"content-length", str(body.length).encode())]
    start: Message = {"type": "http.response.start", "status": status, "headers": headers}
    if scope["method"] == "HEAD":
        await send(start)
        await send({"type": "http.response.body", "body": b""})
        return
    piece = await body.next_piece()
    await send(start)
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        while piece is not None and not gone.done():
            # The next piece is read and compared while this one goes out.
            upcoming = asyncio.ensure_future(body.next_piece())
            try:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            finally:
                piece = await upcoming
        if not gone.done():
            await send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class BodyResponse(Response):
    """A Starlette response with a `Body`."""

    def __init__(self, body: Body, *, headers: dict[str, str], status_code: int = 200) -> None:
        self._content = body
        self.background = None
        self.status_code = status_code
        self.raw_headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()
        ]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send_body(scope, receive, send, self.status_code, self.raw_headers, self._content)
