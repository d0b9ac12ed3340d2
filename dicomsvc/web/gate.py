"""The outermost ASGI layer: cheap for a frame, complete for everything else."""

import json
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from dicomsvc.auth.tokens import CHALLENGE, Authenticator
from dicomsvc.errors import DicomsvcError, NotAuthenticated, OutOfResources
from dicomsvc.web.cors import Cors

_log = logging.getLogger(__name__)
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]
_OPEN_PATHS = frozenset({"/healthz", "/readyz"})


class FrameHandler(Protocol):
    def matches(self, path: str) -> bool: ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class Traffic:
    """Counts of answers by (route group, status) and the seconds they took."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        self.seconds: Counter[str] = Counter()

    def count(self, group: str, status: int, started: float) -> None:
        self.answers[group, status] += 1
        self.seconds[group] += time.perf_counter() - started  # type: ignore[assignment]


class Gate:
    """Authenticates, routes frames past the framework, turns errors into answers, counts."""

    def __init__(
        self, app: AsgiApp, frames: FrameHandler, authenticator: Authenticator, cors: Cors, traffic: Traffic
    ) -> None:
        self._app = app
        self._frames = frames
        self._authenticator = authenticator
        self._cors = cors
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        path: str = scope["path"]
        frames = self._frames.matches(path)
        status = 0

        async def counted_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if cross_origin:
                    message["headers"] = [*message.get("headers", ()), *cross_origin]
            await send(message)

        authorization = origin = None
        preflight = False
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value
            elif name == b"origin":
                origin = value
            elif name == b"access-control-request-method":
                preflight = scope["method"] == "OPTIONS"
        cross_origin = self._cors.headers(origin) if origin else []
        try:
            if preflight:
                await _answer(counted_send, 204, self._cors.preflight(scope["headers"]), b"")
            else:
                if path not in _OPEN_PATHS:
                    scope["user"] = self._authenticator.user(authorization)
                await (self._frames if frames else self._app)(scope, receive, counted_send)
        except DicomsvcError as error:
            await self._answer_error(counted_send, error, answered=status)
        except Exception:  # noqa: BLE001
            # The border: whatever went wrong, the client gets an answer without a trace of its data.
            _log.exception("%s of a %s failed", scope["method"], _group(path, frames))
            if not status:
                await _answer(counted_send, 500, _JSON, _body("internal error; see the service's log"))
        finally:
            self._traffic.count(_group(path, frames), status, started)

    async def _answer_error(self, send: Send, error: DicomsvcError, answered: int) -> None:
        if answered:
            # The status line is out: breaking the connection is all that keeps a half answer from looking whole.
            raise error
        headers, body = error_answer(error)
        await _answer(send, error.http_status, headers, body)


_JSON = [(b"content-type", b"application/json")]


def error_answer(error: DicomsvcError) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return headers and body that tell a client of an error."""
    headers = list(_JSON)
    if isinstance(error, NotAuthenticated):
        headers.append((b"www-authenticate", CHALLENGE))
    if isinstance(error, OutOfResources):
        headers.append((b"retry-after", b"30"))
    return headers, _body(error.message)


def _body(message: str) -> bytes:
    return json.dumps({"error": message}, ensure_ascii=False).encode()


def _group(path: str, frames: bool) -> str:
    if frames:
        return "frames"
    first, _, rest = path.removeprefix("/").partition("/")
    return first + "/" + rest.partition("/")[0] if first == "api" else (first or "pages")


async def _answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    length = [(b"content-length", str(len(body)).encode())] if body or status != 204 else []
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *length]})
    await send({"type": "http.response.body", "body": body})
