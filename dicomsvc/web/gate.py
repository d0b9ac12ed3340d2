"""The outermost ASGI layer: cheap for a frame, complete for everything else."""

import json
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Protocol

from dicomsvc.audit.web import WebTrail
from dicomsvc.auth.tokens import CHALLENGE, Authenticator
from dicomsvc.errors import DicomsvcError, NotAllowed, NotAuthenticated, OutOfResources
from dicomsvc.logs import places
from dicomsvc.web.cors import Cors, Headers

_log = logging.getLogger(__name__)
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]
# What answers are counted by: a fixed list, since clients choose paths.
_GROUPS = (
    *("dicomweb/studies", "dicomweb/series", "dicomweb/instances", "dicomweb/workitems", "dicomweb/subscribers"),
    "dicomweb",
    *("api/jobs", "api/uploads", "api/upload-sets", "api/slides", "api/changes", "api/status"),
    *("api/reports", "api/analyses", "api/models", "api/infer", "api/postprocess", "api/ihc", "api/images"),
    "api/peers",
    *("metrics", "healthz", "readyz", "docs", "pages"),
)
_INTERNAL_ERROR = 1011
_POLICY_VIOLATION = 1008
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


def _nothing(*_: object) -> None:
    """Stand for a trail that is not kept."""


class Gate:
    """Authenticates, routes frames past the framework, turns errors into answers, counts."""

    def __init__(
        self,
        app: AsgiApp,
        frames: FrameHandler,
        authenticator: Authenticator,
        cors: Cors,
        traffic: Traffic,
        trail: WebTrail | None = None,
    ) -> None:
        self._app = app
        self._frames = frames
        self._authenticator = authenticator
        self._cors = cors
        self._traffic = traffic
        self._saw = _nothing if trail is None else trail.saw
        self._locate = _nothing if trail is None else trail.locate
        self._refused = _nothing if trail is None else trail.refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._serve_channel(scope, receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._locate(scope)
        authorization = origin = None
        preflight = False
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value
            elif name == b"origin":
                origin = value
            elif name == b"access-control-request-method":
                preflight = scope["method"] == "OPTIONS"
        frames = self._frames.matches(scope["path"])
        if frames and origin is None and scope["method"] == "GET":
            await self._serve_frames(scope, receive, send, authorization)
        elif preflight and origin is not None:
            headers = self._cors.headers(origin) + self._cors.preflight(scope["headers"])
            await _answer(send, 204, headers, b"")
        else:
            application = self._frames if frames else self._app
            cross_origin = self._cors.headers(origin) if origin else []
            await self._serve(application, scope, receive, send, authorization, cross_origin)

    async def _serve_channel(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket (RFC 6455): refused before it is accepted, closed when something goes wrong after."""
        status = 101
        accepted = False

        async def watched_send(message: Message) -> None:
            nonlocal accepted
            accepted = accepted or message["type"] == "websocket.accept"
            await send(message)

        try:
            headers = dict(scope["headers"])
            scope["user"] = self._authenticator.user(headers.get(b"authorization"))
            self._require_known_page(headers)
            await self._app(scope, receive, watched_send)
        except DicomsvcError as error:
            status = error.http_status
            self._refused(scope, error)
            await _refuse_channel(scope, send, status, *error_answer(error), accepted=accepted)
        except Exception as error:  # noqa: BLE001 - the border
            status = 500
            _log.error("a WebSocket of %s failed\n%s", _group(scope["path"]), places(error))
            await _refuse_channel(scope, send, status, *_surprise(), accepted=accepted)
        finally:
            # How long it was open says nothing of how long answers take.
            self._traffic.count(_group(scope["path"]), status, time.perf_counter())

    def _require_known_page(self, headers: Mapping[bytes, bytes]) -> None:
        """Raise `NotAllowed` for a page of another origin: browsers let any page open a WebSocket (RFC 6455 10.2)."""
        origin = headers.get(b"origin")
        if origin is None or origin.rpartition(b"//")[2] == headers.get(b"host") or self._cors.headers(origin):
            return
        raise NotAllowed("a page of this origin may not open a channel; http.cors_origins lists those that may")

    async def _serve_frames(self, scope: Scope, receive: Receive, send: Send, authorization: bytes | None) -> None:
        # Nothing stands between the frames and the server.
        started = time.perf_counter()
        status = 200
        try:
            scope["user"] = self._authenticator.user(authorization)
            await self._frames(scope, receive, send)
            self._saw(scope)
        except DicomsvcError as error:
            status = error.http_status
            self._refused(scope, error)
            await _answer_unless_begun(send, error)
        except Exception as error:  # noqa: BLE001 - the border
            status = 500
            _log.error("a request for frames failed\n%s", places(error))
            await _answer(send, status, *_surprise())
        finally:
            self._traffic.count("frames", status, started)

    async def _serve(
        self,
        application: AsgiApp,
        scope: Scope,
        receive: Receive,
        send: Send,
        authorization: bytes | None,
        cross_origin: Headers,
    ) -> None:
        started = time.perf_counter()
        path: str = scope["path"]
        status = 0

        async def counted_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *cross_origin]
            await send(message)

        try:
            if path not in _OPEN_PATHS:
                scope["user"] = self._authenticator.user(authorization)
            await application(scope, receive, counted_send)
            if application is self._frames:
                self._saw(scope)
        except DicomsvcError as error:
            self._refused(scope, error)
            if status:
                # The status line is out: breaking the connection is all that keeps a half answer from looking whole.
                status = error.http_status
                raise
            await _answer(counted_send, error.http_status, *error_answer(error))
        except Exception as error:  # noqa: BLE001
            # The border: whatever went wrong, neither the answer nor the log has a trace of the client's data.
            known = error.__cause__
            if status and isinstance(known, DicomsvcError):
                # Starlette has wrapped it. The server breaks the connection, since the answer has no end.
                _log.warning("%s of %s was broken off: %s", scope["method"], _group(path), known)
                status = known.http_status
                return
            _log.error("%s of %s failed\n%s", scope["method"], _group(path), places(error))
            if not status:
                await _answer(counted_send, 500, *_surprise())
        finally:
            self._traffic.count(_group(path), status, started)


_JSON: Headers = [(b"content-type", b"application/json")]


def error_answer(error: DicomsvcError) -> tuple[Headers, bytes]:
    """Return headers and body that tell a client of an error."""
    headers = list(_JSON)
    if isinstance(error, NotAuthenticated):
        headers.append((b"www-authenticate", CHALLENGE))
    if isinstance(error, OutOfResources):
        headers.append((b"retry-after", b"30"))
    return headers, _body(error.message)


def _body(message: str) -> bytes:
    return json.dumps({"error": message}, ensure_ascii=False).encode()


def _surprise() -> tuple[Headers, bytes]:
    return _JSON, _body("internal error; see the service's log")


def _group(path: str) -> str:
    return next((group for group in _GROUPS if path.startswith(group, 1)), "other")


async def _refuse_channel(
    scope: Scope, send: Send, status: int, headers: Headers, body: bytes, *, accepted: bool
) -> None:
    """Answer a handshake with a status where the server can, else close."""
    if accepted:
        await send({"type": "websocket.close", "code": _INTERNAL_ERROR})
    elif "websocket.http.response" in scope.get("extensions", {}):
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "websocket.http.response.start", "status": status, "headers": [*headers, length]})
        await send({"type": "websocket.http.response.body", "body": body})
    else:
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION})


async def _answer_unless_begun(send: Send, error: DicomsvcError) -> None:
    try:
        await _answer(send, error.http_status, *error_answer(error))
    except RuntimeError:
        # The server takes no second answer. It breaks the connection, since the first one has no end.
        _log.warning("an answer with frames was broken off: %s", error)


async def _answer(send: Send, status: int, headers: Headers, body: bytes) -> None:
    length = [(b"content-length", str(len(body)).encode())] if body or status != 204 else []
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *length]})
    await send({"type": "http.response.body", "body": body})
