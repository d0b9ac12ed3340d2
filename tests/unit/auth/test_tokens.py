import base64

import pytest
from pydantic import SecretStr

from dicomsvc.auth import Authenticator, hash_token, new_token
from dicomsvc.config import AuthSettings
from dicomsvc.errors import NotAuthenticated

TOKEN = new_token()
AUTHENTICATOR = Authenticator(AuthSettings(tokens={"ana": SecretStr(hash_token(TOKEN))}))


def test_without_tokens_everybody_is_the_local_user() -> None:
    assert Authenticator(AuthSettings()).user(None) == "local"


def test_a_bearer_token_names_its_user() -> None:
    assert AUTHENTICATOR.user(f"Bearer {TOKEN}".encode()) == "ana"


def test_a_token_as_password_of_http_basic_names_its_user() -> None:
    credentials = base64.b64encode(f"anybody:{TOKEN}".encode()).decode()
    assert AUTHENTICATOR.user(f"Basic {credentials}".encode()) == "ana"


@pytest.mark.parametrize(
    "header", [None, b"", b"Bearer", b"Bearer wrong", b"Basic !!!", b"Basic /w==", b"Digest x", b"\xff\xfe"]
)
def test_anything_else_is_refused(header: bytes | None) -> None:
    with pytest.raises(NotAuthenticated):
        AUTHENTICATOR.user(header)


def test_a_digest_is_no_token() -> None:
    with pytest.raises(NotAuthenticated):
        AUTHENTICATOR.user(f"Bearer {hash_token(TOKEN)}".encode())
