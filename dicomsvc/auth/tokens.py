"""Bearer tokens (RFC 6750) and HTTP Basic (RFC 7617) against digests in the settings."""

import base64
import binascii
import hashlib
import secrets

from dicomsvc.config import AuthSettings
from dicomsvc.errors import NotAuthenticated

LOCAL_USER = "local"
CHALLENGE = b'Bearer realm="dicomsvc", Basic realm="dicomsvc"'


def new_token() -> str:
    """Return a fresh random token, 256 bits."""
    return secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """Return what the settings hold of a token; a random one needs no salt and no slow hash."""
    return hashlib.sha256(token.encode()).hexdigest()


class Authenticator:
    """Tells the user of a request from its ``Authorization`` header."""

    def __init__(self, settings: AuthSettings) -> None:
        self._users = {digest.get_secret_value().lower(): name for name, digest in settings.tokens.items()}

    def user(self, authorization: bytes | None) -> str:
        """Return the user's name.

        Raises
        ------
        NotAuthenticated
            When tokens are configured and none, or a wrong one, was sent.
        """
        if not self._users:
            return LOCAL_USER
        if authorization is None:
            raise NotAuthenticated("authentication is needed: send a bearer token")
        scheme, _, credentials = authorization.decode("latin-1").partition(" ")
        token = credentials.strip() if scheme.lower() == "bearer" else _basic_password(scheme, credentials)
        name = self._users.get(hash_token(token))
        if name is None:
            raise NotAuthenticated("the token is not known")
        return name


def _basic_password(scheme: str, credentials: str) -> str:
    if scheme.lower() != "basic":
        raise NotAuthenticated("authentication by bearer token or HTTP Basic only")
    try:
        decoded = base64.b64decode(credentials, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise NotAuthenticated("the Authorization header is malformed") from None
    return decoded.partition(":")[2]
