"""Models on a Triton server, over gRPC."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dicomsvc.ai.inference.backend import Tensor
from dicomsvc.ai.inference.deaths import DeathRecord
from dicomsvc.ai.inference.endpoint import Endpoint, find_endpoint
from dicomsvc.ai.inference.grpc import DeadModel, UnknownModel, open_client, triton_errors
from dicomsvc.ai.inference.promises import check_answer
from dicomsvc.config import Settings, TritonSettings
from dicomsvc.errors import ModelFailure, ServerUnavailable

_LOAD_SECONDS = 300


@dataclass(frozen=True, slots=True, eq=False)
class _Connection:
    """A client and what it has learned of its server. ``datatypes``: of outputs, by model and version."""

    endpoint: Endpoint
    client: Any
    datatypes: dict[tuple[str, int], dict[str, str]] = field(default_factory=dict)


class TritonBackend:
    """Runs models on the configured server, or on the own one of the data folder.

    The own server may start again elsewhere at any time; the call that notices fails with `ServerUnavailable`, or
    goes to the new one if that answers by then.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings: TritonSettings = settings.triton
        self._data: Path = settings.data
        self._lock = threading.Lock()
        self._connection: _Connection | None = None
        self._description = "Triton"
        self._deaths = DeathRecord()

    @property
    def description(self) -> str:
        """Name and version of the server, once it has answered."""
        try:
            connection = self._connect()
            with triton_errors("model server"):
                metadata = connection.client.get_server_metadata(client_timeout=self._settings.timeout_seconds)
        except ServerUnavailable:
            return self._description
        self._description = f"Triton {metadata.version}"
        return self._description

    def infer(self, model: str, number: int, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> dict[str, Tensor]:
        """Run one batch; see `Backend.infer`."""
        connection = self._connect()
        loaded = False
        while True:
            try:
                answer = self._infer(connection, model, number, inputs, outputs)
                self._deaths.forget(model, inputs)
                return answer
            except DeadModel as error:
                if self._deaths.is_deadly(model, inputs):
                    raise ModelFailure(f"model {model}:{number}: its process dies of this input each time") from error
                raise
            except ServerUnavailable:
                fresh = self._connect(instead_of=connection)
                if fresh is connection:
                    raise
                connection = fresh
            except UnknownModel:
                # A server that has just come back is still loading.
                if loaded:
                    raise
                self._load(connection, model)
                loaded = True

    def load(self, model: str) -> None:
        """Have the model ready; see `Backend.load`."""
        connection = self._connect()
        try:
            self._load(connection, model)
        except ServerUnavailable:
            fresh = self._connect(instead_of=connection)
            if fresh is connection:
                raise
            self._load(fresh, model)

    def reload(self, model: str) -> None:
        """Have the server look at the model's folder again: new versions are loaded, changed ones replaced."""
        connection = self._connect()
        connection.datatypes.clear()
        with triton_errors(f"model {model}"):
            connection.client.load_model(model, headers=connection.endpoint.headers, client_timeout=_LOAD_SECONDS)

    def unload(self, model: str) -> None:
        """Have the server let the model go."""
        connection = self._connect()
        with triton_errors(f"model {model}"):
            connection.client.unload_model(model, headers=connection.endpoint.headers, client_timeout=_LOAD_SECONDS)

    def close(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.client.close()

    def _connect(self, instead_of: _Connection | None = None) -> _Connection:
        """Return the connection; after a failure of ``instead_of`` a new one if the server has moved."""
        with self._lock:
            current = self._connection
            if current is not None and current is not instead_of:
                return current
            endpoint = find_endpoint(self._settings, self._data)
            if current is None or current.endpoint != endpoint:
                # A client that others are calling is left to them; it is closed when the last one lets go.
                self._connection = current = _Connection(endpoint, open_client(endpoint))
            return current

    def _load(self, connection: _Connection, model: str) -> None:
        with triton_errors(f"model {model}"):
            if not connection.client.is_model_ready(model, client_timeout=_LOAD_SECONDS):
                connection.client.load_model(model, headers=connection.endpoint.headers, client_timeout=_LOAD_SECONDS)

    def _infer(
        self,
        connection: _Connection,
        model: str,
        number: int,
        inputs: Mapping[str, Tensor],
        outputs: Sequence[str],
    ) -> dict[str, Tensor]:
        import tritonclient.grpc as triton

        with triton_errors(f"model {model}:{number}"):
            promised = self._datatypes(connection, model, number)
            answer = connection.client.infer(
                model,
                [_input(name, value) for name, value in inputs.items()],
                model_version=str(number),
                outputs=[triton.InferRequestedOutput(name) for name in outputs],
                client_timeout=self._settings.timeout_seconds,
            )
            tensors = {name: answer.as_numpy(name) for name in outputs}
        return check_answer(f"model {model}:{number}", inputs, tensors, promised)

    def _datatypes(self, connection: _Connection, model: str, number: int) -> Mapping[str, str]:
        key = (model, number)
        if key not in connection.datatypes:
            metadata = connection.client.get_model_metadata(
                model, str(number), client_timeout=self._settings.timeout_seconds
            )
            connection.datatypes[key] = {output.name: output.datatype for output in metadata.outputs}
        return connection.datatypes[key]


def _input(name: str, value: Tensor) -> Any:
    import tritonclient.grpc as triton
    from tritonclient.utils import np_to_triton_dtype

    tensor = triton.InferInput(name, list(value.shape), np_to_triton_dtype(value.dtype))
    tensor.set_data_from_numpy(np.ascontiguousarray(value))
    return tensor
