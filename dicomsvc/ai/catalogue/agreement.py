"""Whether ``model.toml``, ``config.pbtxt`` and the ONNX graph of a model speak of the same tensors."""

from collections.abc import Mapping
from pathlib import Path

from dicomsvc.ai.catalogue.channels import check_channels
from dicomsvc.ai.catalogue.fields import Document, Fields
from dicomsvc.ai.catalogue.manifest import Manifest, OutputKind
from dicomsvc.ai.catalogue.onnx_graph import GraphTensor, OnnxGraph
from dicomsvc.ai.catalogue.triton_config import ConfigTensor, TritonConfig
from dicomsvc.ai.decoding.settings import ROLES
from dicomsvc.errors import InvalidModel

_OUTPUT_DATATYPES = ("UINT8", "FP32")


def check_tensors(
    document: Document, manifest: Manifest, config: TritonConfig, weights: Path, graph: OnnxGraph
) -> None:
    """Compare all tensors by name, type and shape.

    Raises
    ------
    InvalidModel
        Naming the file and the line that does not fit.
    """
    _check_inputs(document, manifest, config)
    _check_outputs(document, manifest, config)
    check_channels(document, manifest, config)
    _check_graph(config, weights, config.inputs, graph.inputs, "input")
    _check_graph(config, weights, config.outputs, graph.outputs, "output")
    for name in graph.inputs:
        if name not in config.inputs:
            config.fail("input", f"input lacks {name!r}, which {weights.parent.name}/{weights.name} wants")


def _check_inputs(document: Document, manifest: Manifest, config: TritonConfig) -> None:
    spec = manifest.input
    table = Fields.top(document).table("input")
    size, channels = spec.tile_size, len(spec.channels)
    shape = (size, size, channels) if spec.layout == "NHWC" else (channels, size, size)
    wanted = {spec.tensor: ("tensor", ConfigTensor(spec.datatype, shape))}
    if spec.statistics:
        key = "statistics_tensor" if "statistics_tensor" in table else "statistics"
        wanted[spec.statistics_tensor] = (key, ConfigTensor("FP32", (len(spec.statistics),)))
    if spec.guides:
        key = "guides_tensor" if "guides_tensor" in table else "guides"
        planes = (size, size, len(spec.guides)) if spec.layout == "NHWC" else (len(spec.guides), size, size)
        wanted[spec.guides_tensor] = (key, ConfigTensor(spec.datatype, planes))
    for name, (key, tensor) in wanted.items():
        if name not in config.inputs:
            table.fail(key, f"names {name!r}, which config.pbtxt does not have as input")
        found = config.inputs[name]
        if found != tensor:
            config.fail(f'"{name}"', f"input {name} is {_said(found)}, but model.toml says {_said(tensor)}")
    for name in config.inputs:
        if name not in wanted:
            config.fail(f'"{name}"', f"input {name!r} is not in model.toml")


def _check_outputs(document: Document, manifest: Manifest, config: TritonConfig) -> None:
    spec = manifest.output
    top = Fields.top(document)
    tensors = top.table("output").table("tensors", {})
    for role, name in spec.tensors.items():
        if name not in config.outputs:
            tensors.fail(role, f"names {name!r}, which config.pbtxt does not have as output")
        found = config.outputs[name]
        if found.datatype not in _OUTPUT_DATATYPES:
            config.fail(f'"{name}"', f"output {name} is {found.datatype}; it must be {' or '.join(_OUTPUT_DATATYPES)}")
        plane = () if spec.kind is OutputKind.CLASSIFICATION else (manifest.input.tile_size // spec.stride,) * 2
        if found.shape[:-1] != plane:
            shape = (*plane, "channels")
            config.fail(f'"{name}"', f"output {name} has shape {_shape(found.shape)}; it must be {_shape(shape)}")
        _check_channels(top, manifest, config, role, name)
    _check_classes(top, manifest)


def _check_classes(top: Fields, manifest: Manifest) -> None:
    if manifest.output.kind is not OutputKind.INSTANCES:
        return
    if "positive" in manifest.output.tensors:
        if "class" in manifest.output.tensors or len(manifest.classes) != 2:
            top.fail("classes", "must be two, the second the positive one, and `positive` stands in place of `class`")
    elif len(manifest.classes) > 1 and "class" not in manifest.output.tensors:
        top.fail("classes", "are several, but output.tensors has no `class` to tell them apart")


def _check_channels(top: Fields, manifest: Manifest, config: TritonConfig, role: str, name: str) -> None:
    channels = config.outputs[name].shape[-1]
    if role == "image" and manifest.output.channels:
        return
    wanted = ROLES[manifest.output.kind][role].channels
    if wanted and channels != wanted:
        config.fail(f'"{name}"', f"output {name} has {channels} channels; {role} has {wanted}")
    classes = len(manifest.classes)
    if not wanted and channels not in (classes, classes + 1):
        expected = "one a class, or a background first"
        top.fail("classes", f"are {classes}, but output {name} has {channels} channels ({expected})")


def _check_graph(
    config: TritonConfig,
    weights: Path,
    promised: Mapping[str, ConfigTensor],
    graph: Mapping[str, GraphTensor],
    kind: str,
) -> None:
    for name, tensor in promised.items():
        if name not in graph:
            config.fail(f'"{name}"', f"{kind} {name!r} is not in {weights.parent.name}/{weights.name}")
        found = graph[name]
        if found.datatype != tensor.datatype:
            raise InvalidModel(f"{weights}: {kind} {name} is {found.datatype}, but config.pbtxt says {tensor.datatype}")
        if found.shape is None:
            continue
        if len(found.shape) != len(tensor.shape) + 1 or any(
            there is not None and there != here for there, here in zip(found.shape[1:], tensor.shape, strict=True)
        ):
            raise InvalidModel(
                f"{weights}: {kind} {name} has shape {_shape(found.shape)}, "
                f"but config.pbtxt says {_shape(('batch', *tensor.shape))}"
            )
        if found.shape[0] is not None and config.max_batch_size > 1:
            raise InvalidModel(f"{weights}: {kind} {name} has a fixed batch of {found.shape[0]}; leave that size open")


def _said(tensor: ConfigTensor) -> str:
    return f"{tensor.datatype} {_shape(tensor.shape)}"


def _shape(shape: tuple[int | str | None, ...]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"
