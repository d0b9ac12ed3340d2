"""A click model that can be read at a glance: its mask is what is dark, less the exclusion map."""

import hashlib
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

SIDE = 64
_TEXT = """
title = "Made clicks"
version = "1.0.0"
summary = "s"
intended_use = "Tests."
licence = "CC0-1.0"
training_data = "none"
family = {{ value = "123110", scheme = "DCM", meaning = "Artificial Intelligence" }}
weights_sha256 = "{digest}"
[input]
tensor = "IMAGE"
guides = ["inclusion", "exclusion"]
guide_um = 1.0
mpp = 0.5
coarsest_mpp = 1.0
tile_size = {side}
overlap = 0
stain = "H&E"
[output]
kind = "clicks"
tensors = {{ mask = "MASK" }}
[[classes]]
label = "Blob"
category = {{ value = "91723000", scheme = "SCT", meaning = "Anatomical Structure" }}
type = {{ value = "84640000", scheme = "SCT", meaning = "Nucleus" }}
colour = [0, 176, 255]
"""


def click_model(folder: Path) -> Path:
    """Write the model folder."""
    constants = {
        "axis": np.array([3], np.int64),
        "half": np.array(150, np.float32),
        "white": np.array(255, np.float32),
        "one": np.array([1], np.int64),
        "two": np.array([2], np.int64),
    }
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, name))
        for name, value in constants.items()
    ]
    for operator, inputs, output, attributes in (
        ("Cast", ["IMAGE"], "image", {"to": TensorProto.FLOAT}),
        ("ReduceMean", ["image", "axis"], "bright", {"keepdims": 1}),
        ("Less", ["bright", "half"], "is_dark", {}),
        ("Cast", ["is_dark"], "dark", {"to": TensorProto.FLOAT}),
        ("Slice", ["GUIDES", "one", "two", "axis"], "others", {}),
        ("Cast", ["others"], "shown", {"to": TensorProto.FLOAT}),
        ("Div", ["shown", "white"], "share", {}),
        ("Sub", ["dark", "share"], "MASK", {}),
    ):
        nodes.append(helper.make_node(operator, inputs, [output], **attributes))
    graph = helper.make_graph(
        nodes,
        "clicks",
        [
            helper.make_tensor_value_info("IMAGE", TensorProto.UINT8, ["N", SIDE, SIDE, 3]),
            helper.make_tensor_value_info("GUIDES", TensorProto.UINT8, ["N", SIDE, SIDE, 2]),
        ],
        [helper.make_tensor_value_info("MASK", TensorProto.FLOAT, ["N", SIDE, SIDE, 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    weights = model.SerializeToString()
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.onnx").write_bytes(weights)
    (folder / "config.pbtxt").write_text(
        f'name: "{folder.name}"\nbackend: "python"\nmax_batch_size: 8\n'
        f'input [ {{ name: "IMAGE" data_type: TYPE_UINT8 dims: [ {SIDE}, {SIDE}, 3 ] }},\n'
        f'{{ name: "GUIDES" data_type: TYPE_UINT8 dims: [ {SIDE}, {SIDE}, 2 ] }} ]\n'
        f'output [ {{ name: "MASK" data_type: TYPE_FP32 dims: [ {SIDE}, {SIDE}, 1 ] }} ]\n'
    )
    text = _TEXT.format(digest=hashlib.sha256(weights).hexdigest(), side=SIDE)
    (folder / "model.toml").write_text(text, encoding="utf-8")
    return folder
