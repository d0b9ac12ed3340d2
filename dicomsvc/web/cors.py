"""Cross-origin requests (Fetch standard): which viewers served elsewhere may read our answers."""

from collections.abc import Iterable, Sequence

Headers = list[tuple[bytes, bytes]]
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_EXPOSED = (
    b"Content-Location, Content-Range, ETag, Location, Tus-Extension, Tus-Max-Size, Tus-Resumable, Tus-Version, "
    b"Upload-Length, Upload-Offset, Warning"
)
_ONE_DAY = b"86400"


class Cors:
    """Answers for the configured ``origins`` (or ``*``)."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._any = "*" in origins
        self._origins = frozenset(origin.encode().rstrip(b"/") for origin in origins)

    def headers(self, origin: bytes) -> Headers:
        """Return the headers that let a page of ``origin`` read an answer; none when it may not."""
        if not self._any and origin not in self._origins:
            return []
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSED),
            (b"vary", b"Origin"),
        ]

    def preflight(self, request_headers: Iterable[tuple[bytes, bytes]]) -> Headers:
        """Return what a preflight asks for beyond `headers`; it comes without credentials and may be remembered."""
        asked = next((value for name, value in request_headers if name == b"access-control-request-headers"), b"*")
        return [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", asked),
            (b"access-control-max-age", _ONE_DAY),
        ]
