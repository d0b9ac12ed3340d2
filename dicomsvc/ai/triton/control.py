"""What the keeper of a server asks of it: is it ready, which models has it, do they live."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from dicomsvc.ai.inference.endpoint import Endpoint
from dicomsvc.ai.inference.grpc import open_client, triton_errors
from dicomsvc.ai.inference.promises import DATATYPES
from dicomsvc.errors import ModelFailure, ServerUnavailable

_CALL_SECONDS: Final = 5
_LOAD_SECONDS: Final = 300
_CANARY_SIZE: Final = 64


@dataclass(frozen=True, slots=True)
class Served:
    """A version of a model as the server sees it. ``state`` is Triton's word, ``READY`` when it can be called."""

    name: str
    number: int
    state: str
    reason: str

    @property
    def ready(self) -> bool:
        return self.state == "READY"


class Control:
    """Calls of one server, each with a short limit of time."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._headers = endpoint.headers
        self._client = open_client(endpoint)
        self._configurations: dict[tuple[str, int], Any] = {}

    def close(self) -> None:
        self._client.close()

    def version(self) -> str:
        """Return the server's version; raises `ServerUnavailable` while it is not ready."""
        with triton_errors("model server"):
            if not self._client.is_server_ready(client_timeout=_CALL_SECONDS):
                raise ServerUnavailable("the model server is not ready yet")
            return str(self._client.get_server_metadata(client_timeout=_CALL_SECONDS).version)

    def models(self) -> list[Served]:
        """Return all models of the repository, those that are not loaded with state ``""`` and number 0."""
        with triton_errors("model server"):
            index = self._client.get_model_repository_index(headers=self._headers, client_timeout=_CALL_SECONDS)
        return [
            Served(model.name, int(model.version or 0), str(model.state), str(model.reason)) for model in index.models
        ]

    def load(self, model: str) -> None:
        """Load a model, or load what has changed of it."""
        self._forget(model)
        with triton_errors(f"model {model}"):
            self._client.load_model(model, headers=self._headers, client_timeout=_LOAD_SECONDS)

    def unload(self, model: str) -> None:
        self._forget(model)
        with triton_errors(f"model {model}"):
            self._client.unload_model(model, headers=self._headers, client_timeout=_LOAD_SECONDS)

    def successes(self) -> Mapping[tuple[str, int], int]:
        """Return how many requests each loaded version has answered."""
        with triton_errors("model server"):
            statistics = self._client.get_inference_statistics(client_timeout=_CALL_SECONDS)
        return {
            (model.name, int(model.version)): int(model.inference_stats.success.count)
            for model in statistics.model_stats
        }

    def canary(self, model: str, number: int, seconds: float) -> None:
        """Run a small inference on zeros; a model that refuses it lives, since its process has answered.

        Raises
        ------
        DeadModel, TooLate
            When its process is dead, or did not answer within ``seconds``.
        """
        import tritonclient.grpc as triton

        with triton_errors(f"model {model}:{number}"):
            inputs = []
            for name, datatype, shape in self._inputs(model, number):
                tensor = triton.InferInput(name, list(shape), datatype)
                tensor.set_data_from_numpy(np.zeros(shape, DATATYPES[datatype]))
                inputs.append(tensor)
        try:
            with triton_errors(f"model {model}:{number}"):
                self._client.infer(model, inputs, model_version=str(number), client_timeout=seconds)
        except ModelFailure:
            return

    def processes(self, model: str, number: int) -> int:
        """Return how many processes of its own the model should have."""
        with triton_errors(f"model {model}:{number}"):
            configuration = self._configuration(model, number)
        if configuration.backend != "python":
            return 0
        return sum(int(group.count) * max(1, len(group.gpus)) for group in configuration.instance_group)

    def _inputs(self, model: str, number: int) -> list[tuple[str, str, tuple[int, ...]]]:
        configuration = self._configuration(model, number)
        batch = (1,) if configuration.max_batch_size > 0 else ()
        found = []
        for tensor in configuration.input:
            datatype = _datatype(tensor.data_type)
            shape = tuple(_CANARY_SIZE if size < 0 else int(size) for size in tensor.dims)
            found.append((tensor.name, datatype, (*batch, *shape)))
        return found

    def _configuration(self, model: str, number: int) -> Any:
        key = (model, number)
        if key not in self._configurations:
            answer = self._client.get_model_config(model, str(number), client_timeout=_CALL_SECONDS)
            self._configurations[key] = answer.config
        return self._configurations[key]

    def _forget(self, model: str) -> None:
        for key in [key for key in self._configurations if key[0] == model]:
            del self._configurations[key]


def _datatype(number: int) -> str:
    from tritonclient.grpc import model_config_pb2

    return str(model_config_pb2.DataType.Name(number)).removeprefix("TYPE_")
