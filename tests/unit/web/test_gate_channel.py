import asyncio
from typing import Any

import pytest
from pydantic import SecretStr

from dicomsvc.auth import Authenticator, hash_token
from dicomsvc.config import AuthSettings
from dicomsvc.web.cors import Cors
from dicomsvc.web.gate import Gate, Traffic


class NoFrames:
    def matches(self, path: str) -> bool:
        return False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("no channel is for frames")


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["path"] == "/broken":
        raise ValueError("Doe^John is secret")
    await send({"type": "websocket.accept", "user": scope["user"]})
    if scope["path"] == "/breaks":
        raise ValueError("Doe^John is secret")


def open_channel(
    path: str = "/x", headers: tuple[tuple[bytes, bytes], ...] = (), tokens: tuple[str, ...] = (), answers: bool = False
) -> list[Any]:
    """Return what the server is told to send."""
    users = {f"user{number}": SecretStr(hash_token(token)) for number, token in enumerate(tokens)}
    cors = Cors(["https://viewer.example.org"])
    gate = Gate(application, NoFrames(), Authenticator(AuthSettings(tokens=users)), cors, Traffic())
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    extensions = {"websocket.http.response": {}} if answers else {}
    listed = [(b"host", b"slides.example.org:8080"), *headers]
    scope = {"type": "websocket", "path": path, "headers": listed, "extensions": extensions}
    asyncio.run(gate(scope, None, send))  # type: ignore[arg-type]
    return sent


def test_a_channel_without_authentication_is_closed_before_it_is_open() -> None:
    assert open_channel(tokens=("secret",)) == [{"type": "websocket.close", "code": 1008}]
    start = open_channel(tokens=("secret",), answers=True)[0]
    assert start["status"] == 401 and b"www-authenticate" in dict(start["headers"])


def test_the_application_learns_the_user_of_a_channel() -> None:
    [accepted] = open_channel(headers=((b"authorization", b"Bearer secret"),), tokens=("secret",))
    assert accepted["user"] == "user0"


@pytest.mark.parametrize(
    ("origin", "opens"),
    [
        (b"http://slides.example.org:8080", True),
        (b"https://viewer.example.org", True),
        (b"http://slides.example.org", False),
        (b"https://elsewhere.example.org", False),
        (b"null", False),
    ],
)
def test_only_known_pages_open_channels(origin: bytes, opens: bool) -> None:
    [sent] = open_channel(headers=((b"origin", origin),))
    assert (sent["type"] == "websocket.accept") == opens


def test_a_surprise_closes_a_channel_without_what_it_says() -> None:
    assert open_channel("/broken") == [{"type": "websocket.close", "code": 1008}]
    assert b"Doe" not in open_channel("/broken", answers=True)[1]["body"]
    assert open_channel("/breaks")[-1] == {"type": "websocket.close", "code": 1011}
