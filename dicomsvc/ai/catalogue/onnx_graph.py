"""Looks at an ONNX file without running it and without the onnx package: its inputs, its outputs, what it leans on.

The file is a protocol buffer (``onnx.proto3``, ModelProto); only the fields that are asked for are read. A graph that
keeps weights in other files, or wants operators that ONNX Runtime does not have itself, is refused: the first could
name any file of the machine, the second is code.
"""

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dicomsvc.ai.catalogue.files import LARGEST_WEIGHTS, require_plain
from dicomsvc.errors import InvalidModel

# TensorProto.DataType as Triton's names.
_DATATYPES = {
    1: "FP32", 2: "UINT8", 3: "INT8", 4: "UINT16", 5: "INT16", 6: "INT32", 7: "INT64", 9: "BOOL", 10: "FP16",
    11: "FP64", 12: "UINT32", 13: "UINT64",
}  # fmt: skip
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
_DEEPEST = 16
_MOST_NODES = 200_000
_MOST_FIELDS = 3_000_000


@dataclass(frozen=True, slots=True)
class GraphTensor:
    """Type in Triton's words; ``shape`` has None where the graph leaves a size open, and is None when not given."""

    datatype: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True, slots=True)
class OnnxGraph:
    """What goes in and comes out, by name."""

    inputs: Mapping[str, GraphTensor]
    outputs: Mapping[str, GraphTensor]


def read_graph(path: Path) -> OnnxGraph:
    """Read a graph's inputs and outputs.

    Raises
    ------
    InvalidModel
        When the file is no ONNX model, or leans on other files or foreign operators.
    """
    require_plain(path, LARGEST_WEIGHTS)
    with path.open("rb") as file:
        # Not closed by hand: slices of it may still be known to an exception. It goes with the last of them.
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        return _model(path, _Message(memoryview(content), _Effort(path)))
    except (ValueError, IndexError):
        raise InvalidModel(f"{path}: is no ONNX model, or a damaged one") from None


def _model(path: Path, model: "_Message") -> OnnxGraph:
    graphs: list[_Message] = []
    for number, part in model.parts():
        if number == 25:
            raise InvalidModel(f"{path}: defines functions of its own, which is not supported")
        if number == 7:
            graphs.append(part)
    if len(graphs) != 1:
        raise InvalidModel(f"{path}: is no ONNX model: it has {len(graphs)} graphs")
    _Checker(path).graph(graphs[0], 0)
    weights = set(_names(graphs[0], 5, 8))
    inputs = {name: tensor for name, tensor in _values(graphs[0], 11) if name not in weights}
    return OnnxGraph(inputs, dict(_values(graphs[0], 12)))


class _Effort:
    """Counts the fields that are read of a file, so that one made of millions of empty ones is given up."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left = _MOST_FIELDS

    def take(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise InvalidModel(f"{self._path}: is a graph of too many parts")


class _Message:
    """The fields of one protocol buffer message."""

    def __init__(self, view: memoryview, effort: _Effort) -> None:
        self._view = view
        self._effort = effort

    def text(self) -> str:
        """Return the content of a field that is a text."""
        return bytes(self._view).decode("utf-8")

    def parts(self) -> "Iterator[tuple[int, _Message]]":
        """Yield number and content of the fields that have a length: messages, texts, packed numbers."""
        for number, value in self.fields():
            if isinstance(value, memoryview):
                yield number, _Message(value, self._effort)

    def numbers(self, wanted: int) -> list[int]:
        """Return the whole numbers of one field."""
        return [value for number, value in self.fields() if number == wanted and isinstance(value, int)]

    def fields(self) -> Iterator[tuple[int, "memoryview | int"]]:
        at, end = 0, len(self._view)
        while at < end:
            self._effort.take()
            key, at = self._varint(at)
            number, kind = key >> 3, key & 7
            if number == 0:
                raise ValueError("field 0")
            if kind == 0:
                value, at = self._varint(at)
                yield number, value
            elif kind == 2:
                length, at = self._varint(at)
                if at + length > end:
                    raise ValueError("cut short")
                yield number, self._view[at : at + length]
                at += length
            elif kind in (1, 5):
                at += 8 if kind == 1 else 4
            else:
                raise ValueError("unknown wire type")
        if at != end:
            raise ValueError("cut short")

    def _varint(self, at: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._view[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
        raise ValueError("endless number")


class _Checker:
    """Goes through nodes, attributes and weights of a graph and of those inside of it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._nodes = 0

    def graph(self, graph: _Message, depth: int) -> None:
        if depth > _DEEPEST:
            raise InvalidModel(f"{self._path}: has graphs within graphs, deeper than {_DEEPEST}")
        for number, value in graph.parts():
            if number == 1:
                self._node(value, depth)
            elif number == 5:
                self._weights(value)
            elif number == 15:
                raise InvalidModel(f"{self._path}: has sparse weights, which are not supported")

    def _node(self, node: _Message, depth: int) -> None:
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise InvalidModel(f"{self._path}: has more than {_MOST_NODES} operators")
        for number, value in node.parts():
            if number == 7 and (domain := value.text()) not in _DOMAINS:
                raise InvalidModel(
                    f"{self._path}: wants operators of {domain[:64]!r}, which ONNX Runtime does not have"
                )
            if number == 5:
                self._attribute(value, depth)

    def _attribute(self, attribute: _Message, depth: int) -> None:
        for number, value in attribute.parts():
            if number in (5, 10):
                self._weights(value)
            elif number in (6, 11):
                self.graph(value, depth + 1)
            elif number in (22, 23):
                raise InvalidModel(f"{self._path}: has sparse weights, which are not supported")

    def _weights(self, tensor: _Message) -> None:
        kept_elsewhere = any(number == 13 for number, _ in tensor.parts()) or any(tensor.numbers(14))
        if kept_elsewhere:
            raise InvalidModel(f"{self._path}: keeps weights in other files; save it as one file")


def _names(graph: _Message, field: int, name_field: int) -> Iterator[str]:
    for number, value in graph.parts():
        if number == field:
            for inner, text in value.parts():
                if inner == name_field:
                    yield text.text()


def _values(graph: _Message, field: int) -> Iterator[tuple[str, GraphTensor]]:
    """Yield name and type of each ValueInfoProto."""
    for number, value in graph.parts():
        if number == field:
            name, tensor = "", GraphTensor("unknown", None)
            for inner, content in value.parts():
                if inner == 1:
                    name = content.text()
                elif inner == 2:
                    tensor = _type(content)
            yield name, tensor


def _type(message: _Message) -> GraphTensor:
    for number, value in message.parts():
        if number == 1:
            datatype = _DATATYPES.get(next(iter(value.numbers(1)), 0), "unknown")
            shapes = [_shape(content) for inner, content in value.parts() if inner == 2]
            return GraphTensor(datatype, shapes[0] if shapes else None)
    return GraphTensor("unknown", None)


def _shape(message: _Message) -> tuple[int | None, ...]:
    sizes = [value.numbers(1) for number, value in message.parts() if number == 1]
    return tuple(size[0] if size and size[0] > 0 else None for size in sizes)
