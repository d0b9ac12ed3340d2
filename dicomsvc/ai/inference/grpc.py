"""The gRPC client of a Triton server: how it connects, and what its errors mean."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from dicomsvc.ai.inference.endpoint import Endpoint
from dicomsvc.errors import ConfigurationError, ModelFailure, ServerUnavailable

# A server that comes back is found within a second; batches of tiles are larger than gRPC's 4 MiB.
_CHANNEL: Final = (
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
)
_MESSAGE_CHARACTERS = 300


def open_client(endpoint: Endpoint) -> Any:
    """Return a `tritonclient.grpc.InferenceServerClient`; it connects with its first call."""
    import tritonclient.grpc as triton

    return triton.InferenceServerClient(endpoint.address, ssl=endpoint.tls, channel_args=_CHANNEL)


class UnknownModel(ModelFailure):
    """The server has no such model, or not in this version."""


class DeadModel(ServerUnavailable):
    """The process that runs the model is dead; unloading and loading heals it."""


class TooLate(ServerUnavailable):
    """No answer within the time that it may take."""


@contextmanager
def triton_errors(what: str) -> Iterator[None]:
    """Turn what tritonclient raises into our errors; ``what`` is done, e.g. ``model nuclei``.

    Raises
    ------
    ServerUnavailable
        When the server cannot be reached, does not answer in time, or its model's process died.
    ModelFailure
        When the model refuses the input or fails on it; `UnknownModel` when there is none.
    ConfigurationError
        When the server does not accept the secret.
    """
    from tritonclient.utils import InferenceServerException

    try:
        yield
    except InferenceServerException as error:
        raise _translate(what, error) from error


def _translate(what: str, error: Any) -> Exception:
    status = str(error.status() or "").removeprefix("StatusCode.")
    message = str(error.message() or "")[:_MESSAGE_CHARACTERS]
    if status == "UNAVAILABLE" and "protocol is restricted" in message:
        return ConfigurationError(f"{what}: the model server wants a secret for this call: {message}")
    if "is not healthy" in message:
        return DeadModel(f"{what}: {message}")
    if status in ("UNAVAILABLE", "CANCELLED", "UNKNOWN"):
        return ServerUnavailable(f"{what}: {message}")
    if status == "DEADLINE_EXCEEDED":
        return TooLate(f"{what}: the model server did not answer in time")
    if status == "NOT_FOUND":
        return UnknownModel(f"{what}: {message}")
    return ModelFailure(f"{what}: {message}")
