import asyncio
import json
from typing import Any

import pytest
from pydantic import SecretStr

from dicomsvc.auth import Authenticator, hash_token
from dicomsvc.config import AuthSettings
from dicomsvc.errors import NotFound, OutOfResources
from dicomsvc.web.cors import Cors
from dicomsvc.web.gate import Gate, Traffic

VIEWER = b"https://viewer.example.org"
SECRET = "Doe^John"


class Frames:
    def matches(self, path: str) -> bool:
        return path.startswith("/frames")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a frame"})


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["path"] == "/missing":
        raise NotFound("nothing is stored under 1.2.3")
    if scope["path"] == "/full":
        raise OutOfResources("the store's disk is full")
    if scope["path"] == "/broken":
        raise ValueError(SECRET)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/half":
        raise NotFound("gone in the middle")
    await send({"type": "http.response.body", "body": scope.get("user", "nobody").encode()})


def ask(
    path: str, headers: tuple[tuple[bytes, bytes], ...] = (), method: str = "GET", tokens: tuple[str, ...] = ()
) -> tuple[int, dict[bytes, bytes], bytes]:
    users = {f"user{number}": SecretStr(hash_token(token)) for number, token in enumerate(tokens)}
    gate = Gate(application, Frames(), Authenticator(AuthSettings(tokens=users)), Cors([VIEWER.decode()]), Traffic())
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": list(headers)}
    asyncio.run(gate(scope, None, send))  # type: ignore[arg-type]
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], dict(sent[0]["headers"]), body


def test_errors_become_their_status_and_a_short_document() -> None:
    status, headers, body = ask("/missing")
    assert (status, json.loads(body)) == (404, {"error": "nothing is stored under 1.2.3"})
    assert int(headers[b"content-length"]) == len(body)


def test_an_exhausted_service_says_when_to_try_again() -> None:
    status, headers, _ = ask("/full")
    assert status == 503
    assert b"retry-after" in headers


def test_a_surprise_is_answered_without_what_it_says(caplog: pytest.LogCaptureFixture) -> None:
    status, _, body = ask("/broken")
    assert status == 500
    assert b"Doe" not in body
    assert "failed" in caplog.text
    assert "ValueError" in caplog.text
    assert "Doe" not in caplog.text


def test_an_answer_that_breaks_in_the_middle_does_not_look_whole() -> None:
    with pytest.raises(NotFound):
        ask("/half")


def test_frames_go_past_the_framework_but_not_past_authentication() -> None:
    assert ask("/frames/1")[2] == b"a frame"
    status, headers, _ = ask("/frames/1", tokens=("secret",))
    assert status == 401
    assert b"www-authenticate" in headers
    assert ask("/frames/1", ((b"authorization", b"Bearer secret"),), tokens=("secret",))[0] == 200


def test_the_application_learns_the_user() -> None:
    assert ask("/x", ((b"authorization", b"Bearer secret"),), tokens=("other", "secret"))[2] == b"user1"


def test_health_needs_no_authentication_and_metrics_does() -> None:
    assert ask("/healthz", tokens=("secret",))[0] == 200
    assert ask("/metrics", tokens=("secret",))[0] == 401


def test_a_preflight_is_answered_without_credentials_and_may_be_remembered() -> None:
    asked = (
        (b"origin", VIEWER),
        (b"access-control-request-method", b"GET"),
        (b"access-control-request-headers", b"accept,authorization"),
    )
    status, headers, _ = ask("/dicomweb/studies", asked, "OPTIONS", tokens=("secret",))
    assert status == 204
    assert headers[b"access-control-allow-origin"] == VIEWER
    assert headers[b"access-control-allow-headers"] == b"accept,authorization"
    assert int(headers[b"access-control-max-age"]) > 0


def test_a_page_of_another_origin_may_not_read() -> None:
    _, headers, _ = ask("/x", ((b"origin", b"https://elsewhere.example.org"),))
    assert b"access-control-allow-origin" not in headers


def test_errors_too_may_be_read_by_the_viewer() -> None:
    _, headers, _ = ask("/missing", ((b"origin", VIEWER),))
    assert headers[b"access-control-allow-origin"] == VIEWER
