"""Where the own model server answers: a file in the data folder that the server's keeper writes and all clients read.

A server that starts again answers elsewhere; whoever loses it reads the file again.
"""

import contextlib
import json
import os
import secrets
import socket
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dicomsvc.config import TritonSettings
from dicomsvc.errors import ServerUnavailable

_HEADER = "triton-grpc-protocol-x-dicomsvc-secret"
HEADER_KEY = _HEADER.removeprefix("triton-grpc-protocol-")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A gRPC target (``unix:/path`` or ``HOST:PORT``), and the secret that its restricted calls ask for."""

    address: str
    secret: str = field(default="", repr=False)
    tls: bool = False
    pid: int = 0
    host: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """What a call of a restricted protocol must carry."""
        return {_HEADER: self.secret} if self.secret else {}


def endpoint_file(data: Path) -> Path:
    """Return where the address of the own server of a data folder is written."""
    return data.absolute() / "triton" / "endpoint.json"


def write_endpoint(data: Path, endpoint: Endpoint) -> None:
    """Replace the file at once; only this user can read it."""
    file = endpoint_file(data)
    draft = file.with_name(f".endpoint-{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        json.dump(asdict(endpoint), opened)
    draft.replace(file)


def remove_endpoint(data: Path) -> None:
    """Say that no server answers."""
    with contextlib.suppress(FileNotFoundError):
        endpoint_file(data).unlink()


def read_endpoint(data: Path) -> Endpoint | None:
    """Return what the file says, or None where there is none that can be read."""
    try:
        return Endpoint(**json.loads(endpoint_file(data).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def find_endpoint(settings: TritonSettings, data: Path) -> Endpoint:
    """Return the configured server, or else the own one of the data folder.

    Raises
    ------
    ServerUnavailable
        When no server is configured and none runs here.
    """
    if settings.url is not None:
        return Endpoint(settings.url, tls=settings.tls)
    endpoint = read_endpoint(data)
    if endpoint is None:
        raise ServerUnavailable(
            "no model server runs for this data folder; start `dicomsvc serve` or `dicomsvc triton up`, "
            "or set triton.url"
        )
    if endpoint.host != socket.gethostname():
        raise ServerUnavailable(
            f"the model server of this data folder runs on {endpoint.host} and answers there alone; "
            "for several machines run one that all can reach and set triton.url"
        )
    return endpoint
