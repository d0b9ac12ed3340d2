"""Triton's ``config.pbtxt``: read, checked, and written anew for the repository that our own server runs on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from dicomsvc.ai.catalogue.files import read_text_file
from dicomsvc.errors import InvalidModel

# Other fields can name code, files or other models; a folder that comes from elsewhere may not.
_FIELDS = (
    "name", "backend", "max_batch_size", "input", "output", "version_policy", "instance_group", "dynamic_batching",
    "parameters",
)  # fmt: skip
_PARAMETERS = ("threads",)
_MOST_THREADS = 64
_LARGEST_BATCH = 1024


@dataclass(frozen=True, slots=True)
class ConfigTensor:
    """Shape without the batch axis; -1 is open."""

    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TritonConfig:
    """What the configuration says that we rely on. ``message`` is tritonclient's ``ModelConfig``."""

    path: Path
    text: str
    message: Any
    inputs: Mapping[str, ConfigTensor]
    outputs: Mapping[str, ConfigTensor]

    @property
    def max_batch_size(self) -> int:
        return int(self.message.max_batch_size)

    def fail(self, word: str, problem: str) -> NoReturn:
        """Raise `InvalidModel` that names the first line with ``word``."""
        for number, line in enumerate(self.text.splitlines(), 1):
            if word in line.partition("#")[0]:
                raise InvalidModel(f"{self.path}:{number}: {problem}")
        raise InvalidModel(f"{self.path}:1: {problem}")


def read_config(path: Path, name: str) -> TritonConfig:
    """Read ``config.pbtxt`` of the model ``name``.

    Raises
    ------
    InvalidModel
        When it is not in protocol buffer text format, or has what the models here may not have.
    """
    from google.protobuf import text_format  # type: ignore[import-untyped]
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    message = ModelConfig()
    try:
        text = read_text_file(path).decode("utf-8")
        text_format.Parse(text, message)
    except UnicodeDecodeError:
        raise InvalidModel(f"{path}:1: is not UTF-8") from None
    except text_format.ParseError as error:
        problem = str(error).rpartition(" : ")[2] if " : " in str(error) else str(error)
        raise InvalidModel(f"{path}:{error.GetLine() or 1}: {problem[:200]}") from None
    config = TritonConfig(path, text, message, _tensors(message.input), _tensors(message.output))
    _check(config, name)
    return config


def _tensors(tensors: Any) -> dict[str, ConfigTensor]:
    from tritonclient.grpc.model_config_pb2 import DataType

    return {
        tensor.name: ConfigTensor(DataType.Name(tensor.data_type).removeprefix("TYPE_"), tuple(tensor.dims))
        for tensor in tensors
    }


def _check(config: TritonConfig, name: str) -> None:
    message = config.message
    for field, _ in message.ListFields():
        if field.name not in _FIELDS:
            config.fail(field.name, f"{field.name} is not allowed here; allowed are {', '.join(_FIELDS)}")
    if message.name and message.name != name:
        config.fail("name", f"name is {message.name[:64]!r}, but the folder is called {name!r}")
    if message.backend != "python":
        config.fail("backend", 'backend must be "python": model.py runs model.onnx')
    if not 1 <= message.max_batch_size <= _LARGEST_BATCH:
        config.fail("max_batch_size", f"max_batch_size must be from 1 to {_LARGEST_BATCH}")
    for key, parameter in message.parameters.items():
        if key not in _PARAMETERS:
            config.fail(key, f"parameter {key[:64]!r} is not allowed here; allowed are {', '.join(_PARAMETERS)}")
        value = parameter.string_value
        if not (value.isascii() and value.isdecimal() and len(value) < 4 and 1 <= int(value) <= _MOST_THREADS):
            config.fail(key, f"parameter threads must be from 1 to {_MOST_THREADS}")
    for kind, tensors, listed in (("input", config.inputs, message.input), ("output", config.outputs, message.output)):
        if not tensors or len(tensors) != len(listed) or "" in tensors:
            config.fail(kind, f"{kind} must list tensors of different names")


def served_text(config: TritonConfig, name: str, instances: int) -> str:
    """Return the configuration for our own server: all versions, so many instances on the CPU."""
    from google.protobuf import text_format

    message = type(config.message)()
    message.CopyFrom(config.message)
    message.name = name
    message.ClearField("version_policy")
    message.version_policy.all.SetInParent()
    message.ClearField("instance_group")
    group = message.instance_group.add()
    group.count = instances
    group.kind = group.KIND_CPU
    return str(text_format.MessageToString(message))
