"""Model folders for tests: real ONNX graphs of every kind of output, small enough to be read at a glance."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TILE = 256
_TRITON = {TensorProto.UINT8: "TYPE_UINT8", TensorProto.FLOAT: "TYPE_FP32"}
_CLASS = """
[[classes]]
label = "{label}"
category = {{ value = "91723000", scheme = "SCT", meaning = "Anatomical Structure" }}
type = {{ value = "84640000", scheme = "SCT", meaning = "Nucleus" }}
colour = [200, {green}, 40]
"""


def graph(nodes: Sequence[tuple[str, Sequence[str], str, Mapping[str, object]]], **constants: np.ndarray) -> list:
    """Return ONNX nodes, constants first; a node is operator, inputs, output, attributes."""
    made = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, name))
        for name, value in constants.items()
    ]
    return made + [
        helper.make_node(op, list(inputs), [output], **attributes) for op, inputs, output, attributes in nodes
    ]


DARKNESS = [
    ("Cast", ["IMAGE"], "image", {"to": TensorProto.FLOAT}),
    ("ReduceMean", ["image", "axis"], "bright", {"keepdims": 1}),
    ("Sub", ["white", "bright"], "dark", {}),
]
CONSTANTS = {"axis": np.array([3], np.int64), "white": np.array(255, np.float32)}


def write_folder(
    folder: Path,
    kind: str,
    nodes: list,
    output: tuple[str, str, int, Sequence[int]],
    *,
    classes: int = 1,
    objects: Sequence[str] = ("SR",),
    settings: str = "",
    only_tissue: bool = True,
    mpp: float = 1.0,
    more_input: str = "",
) -> Path:
    """Write a model folder; ``output`` is role, tensor, type and shape without the batch."""
    role, tensor, datatype, dims = output
    (folder / "1").mkdir(parents=True)
    model = helper.make_model(
        helper.make_graph(
            nodes,
            folder.name,
            [helper.make_tensor_value_info("IMAGE", TensorProto.UINT8, ["N", TILE, TILE, 3])],
            [helper.make_tensor_value_info(tensor, datatype, ["N", *dims])],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    weights = model.SerializeToString()
    (folder / "1" / "model.onnx").write_bytes(weights)
    (folder / "config.pbtxt").write_text(
        f'name: "{folder.name}"\nbackend: "python"\nmax_batch_size: 8\n'
        f'input [ {{ name: "IMAGE" data_type: TYPE_UINT8 dims: [ {TILE}, {TILE}, 3 ] }} ]\n'
        f'output [ {{ name: "{tensor}" data_type: {_TRITON[datatype]} dims: [ {", ".join(map(str, dims))} ] }} ]\n'
        "instance_group [ { kind: KIND_CPU count: 1 } ]\n"
    )
    listed = ", ".join(f'"{each}"' for each in objects)
    (folder / "model.toml").write_text(
        f'title = "Made {kind}"\nversion = "1.0.0"\nsummary = "For a test."\nintended_use = "Tests."\n'
        f'licence = "Apache-2.0"\ntraining_data = "none"\nobjects = [{listed}]\n'
        'family = { value = "123101", scheme = "DCM", meaning = "Neighborhood Analysis" }\n'
        f'weights_sha256 = "{hashlib.sha256(weights).hexdigest()}"\n'
        f'[input]\ntensor = "IMAGE"\nmpp = {mpp}\ncoarsest_mpp = {2 * mpp}\ntile_size = {TILE}\n'
        'overlap = 32\nstain = "H&E"\n'
        f"only_tissue = {str(only_tissue).lower()}\n{more_input}"
        f'[output]\nkind = "{kind}"\ntensors = {{ {role} = "{tensor}" }}\n{settings}'
        + "".join(_CLASS.format(label=f"Class {number}", green=50 * number) for number in range(1, classes + 1))
    )
    return folder


def darkness_map(folder: Path) -> Path:
    """A MAP: how dark each pixel is, 0 to 1."""
    nodes = graph([*DARKNESS, ("Div", ["dark", "white"], "VALUE", {})], **CONSTANTS)
    return write_folder(
        folder, "map", nodes, ("value", "VALUE", TensorProto.FLOAT, [TILE, TILE, 1]), objects=["PM", "SR"]
    )


def not_a_number(folder: Path) -> Path:
    """A MAP that is 0 / 0 everywhere."""
    nodes = graph(
        [*DARKNESS, ("Sub", ["dark", "dark"], "none", {}), ("Div", ["none", "none"], "VALUE", {})], **CONSTANTS
    )
    return write_folder(folder, "map", nodes, ("value", "VALUE", TensorProto.FLOAT, [TILE, TILE, 1]), objects=["PM"])


def same_picture(folder: Path) -> Path:
    """An IMAGE: the tile as it came."""
    nodes = graph([("Identity", ["IMAGE"], "PICTURE", {})])
    return write_folder(
        folder, "image", nodes, ("image", "PICTURE", TensorProto.UINT8, [TILE, TILE, 3]), objects=["SM"]
    )


def two_stains(folder: Path) -> Path:
    """An IMAGE of two named channels: darkness, and the red of the tile."""
    nodes = graph(
        [
            *DARKNESS,
            ("Cast", ["dark"], "first", {"to": TensorProto.UINT8}),
            ("Gather", ["IMAGE", "zero"], "second", {"axis": 3}),
            ("Concat", ["first", "second"], "STAINS", {"axis": 3}),
        ],
        zero=np.array([0], np.int64),
        **CONSTANTS,
    )
    channels = "".join(
        f'[[output.channels]]\nname = "{name}"\nlabel = "{label}"\nchannel = {number}\ncolour = {colour}\n'
        f'stands_for = "{label} of the tile"\n'
        for number, (name, label, colour) in enumerate(
            [("dark", "Darkness", [0, 0, 255]), ("red", "Red light", [255, 0, 0])]
        )
    )
    output = ("image", "STAINS", TensorProto.UINT8, [TILE, TILE, 2])
    return write_folder(folder, "image", nodes, output, objects=["SM"], settings=channels)


def dark_or_bright(folder: Path) -> Path:
    """A CLASSIFICATION of tiles: share of darkness against brightness."""
    nodes = graph(
        [
            *DARKNESS,
            ("Div", ["dark", "white"], "share", {}),
            ("ReduceMean", ["share", "plane"], "first", {"keepdims": 0}),
            ("Sub", ["one", "first"], "second", {}),
            ("Concat", ["first", "second"], "PROBABILITY", {"axis": 1}),
        ],
        plane=np.array([1, 2], np.int64),
        one=np.array(1, np.float32),
        **CONSTANTS,
    )
    output = ("probability", "PROBABILITY", TensorProto.FLOAT, [2])
    return write_folder(folder, "classification", nodes, output, classes=2, objects=["SEG", "SR"])


def dark_spots(folder: Path) -> Path:
    """POINTS: peaks of darkness after smoothing."""
    nodes = graph(
        [
            *DARKNESS,
            ("Transpose", ["dark"], "planes", {"perm": [0, 3, 1, 2]}),
            ("AveragePool", ["planes"], "smooth", {"kernel_shape": [9, 9], "pads": [4, 4, 4, 4]}),
            ("Transpose", ["smooth"], "rows", {"perm": [0, 2, 3, 1]}),
            ("Div", ["rows", "white"], "HEAT", {}),
        ],
        **CONSTANTS,
    )
    output = ("heat", "HEAT", TensorProto.FLOAT, [TILE, TILE, 1])
    return write_folder(folder, "points", nodes, output, objects=["ANN", "SR"])


def dark_and_bright(folder: Path) -> Path:
    """A SEGMENTATION of two classes: pixels darker and brighter than grey."""
    nodes = graph(
        [
            *DARKNESS,
            ("Div", ["dark", "white"], "first", {}),
            ("Sub", ["one", "first"], "second", {}),
            ("Concat", ["first", "second"], "PROBABILITY", {"axis": 3}),
        ],
        one=np.array(1, np.float32),
        **CONSTANTS,
    )
    output = ("probability", "PROBABILITY", TensorProto.FLOAT, [TILE, TILE, 2])
    return write_folder(folder, "segmentation", nodes, output, classes=2, objects=["SEG", "SR"])


def too_small(folder: Path) -> Path:
    """A MAP whose graph gives fewer rows than its configuration promises."""
    nodes = graph(
        [*DARKNESS, ("Slice", ["dark", "from", "to", "rows"], "VALUE", {})],
        **{"from": np.array([0], np.int64), "to": np.array([100], np.int64), "rows": np.array([1], np.int64)},
        **CONSTANTS,
    )
    folder = write_folder(folder, "map", nodes, ("value", "VALUE", TensorProto.FLOAT, [TILE, TILE, 1]), objects=["PM"])
    model = onnx.load(folder / "1" / "model.onnx")
    # What a graph says of its output is not what it does.
    for number, name in ((1, "rows"), (2, "columns")):
        model.graph.output[0].type.tensor_type.shape.dim[number].dim_param = name
    weights = model.SerializeToString()
    (folder / "1" / "model.onnx").write_bytes(weights)
    manifest = (folder / "model.toml").read_text().splitlines()
    digest = f'weights_sha256 = "{hashlib.sha256(weights).hexdigest()}"'
    lines = [digest if line.startswith("weights_sha256") else line for line in manifest]
    (folder / "model.toml").write_text("\n".join(lines) + "\n")
    return folder


def slow_map(folder: Path) -> Path:
    """A MAP by forty convolutions of 64 channels: a batch of tiles takes many seconds."""
    chance = np.random.default_rng(3)
    constants = {f"w{n}": chance.normal(0, 0.05, (64, 3 if n == 0 else 64, 3, 3)).astype(np.float32) for n in range(40)}
    steps = [
        ("Cast", ["IMAGE"], "image", {"to": TensorProto.FLOAT}),
        ("Transpose", ["image"], "x0", {"perm": [0, 3, 1, 2]}),
        *(("Conv", [f"x{n}", f"w{n}"], f"x{n + 1}", {"pads": [1, 1, 1, 1]}) for n in range(40)),
        ("ReduceMean", ["x40", "channel"], "mean", {"keepdims": 1}),
        ("Sigmoid", ["mean"], "share", {}),
        ("Transpose", ["share"], "VALUE", {"perm": [0, 2, 3, 1]}),
    ]
    nodes = graph(steps, channel=np.array([1], np.int64), **constants)
    return write_folder(folder, "map", nodes, ("value", "VALUE", TensorProto.FLOAT, [TILE, TILE, 1]), objects=["PM"])
