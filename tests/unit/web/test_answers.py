"""What a client gets for bodies that are too large, not what a route takes, or half of a character."""

import asyncio
import json
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from dicomsvc.auth import Authenticator
from dicomsvc.config import AuthSettings
from dicomsvc.web.answers import tell_http, tell_invalid
from dicomsvc.web.bodies import SmallBodies
from dicomsvc.web.cors import Cors
from dicomsvc.web.gate import Gate, Traffic


class Order(BaseModel):
    person_name: str = Field(max_length=10)


class NoFrames:
    def matches(self, path: str) -> bool:
        return False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("nothing here is for frames")


def application() -> Gate:
    app = FastAPI()
    app.add_exception_handler(RequestValidationError, tell_invalid)
    app.add_exception_handler(HTTPException, tell_http)

    @app.post("/api/analyses")
    def create(order: Order) -> int:
        return len(order.person_name)

    return Gate(SmallBodies(app), NoFrames(), Authenticator(AuthSettings()), Cors([]), Traffic())


def post(path: str, *pieces: bytes) -> tuple[int, Any]:
    """Return status and document of the answer."""
    left = [*pieces]
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "query_string": b""}
    asyncio.run(application()(scope, receive, send))
    return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent[1:]))


def test_a_body_in_pieces_arrives_whole() -> None:
    assert post("/api/analyses", b'{"person_', b'name": "Doe"}') == (200, 3)


def test_a_body_that_no_order_has_is_refused_before_it_is_read() -> None:
    pieces = [b" " * (1 << 19)] * 1000
    status, document = post("/api/analyses", *pieces)
    assert (status, document) == (413, {"error": "the body is larger than 1 MiB"})


@pytest.mark.parametrize("name", ['"Doe^John^Longer"', '"Doe\\ud800"', "5"])
def test_what_a_route_does_not_take_is_named_but_not_repeated(name: str, caplog: pytest.LogCaptureFixture) -> None:
    status, document = post("/api/analyses", b'{"person_name": %s}' % name.encode())
    assert status == 422
    assert document["error"].startswith("body.person_name: Input should be") or "at most 10" in document["error"]
    assert "Doe" not in document["error"] + caplog.text


def test_unknown_paths_and_methods_are_told_as_all_errors_are() -> None:
    assert post("/api/nothing", b"") == (404, {"error": "Not Found"})
