#!/usr/bin/env python3
"""Build the models that come with dicomsvc: ONNX graphs of classical rules, written down operator by operator.

usage: python scripts/build_models.py [FOLDER]

Writes below FOLDER (``triton_models``) each model's ``1/model.onnx``, ``1/model.py`` and ``configs/gpu.pbtxt``, and the
weights' digest into its ``model.toml``. The same source gives the same bytes. Needs numpy and onnx.
"""

import hashlib
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

REPOSITORY = Path(__file__).parents[1]
TEMPLATE = REPOSITORY / "dicomsvc" / "ai" / "triton" / "model_template.py"
OPSET = 17
IR_VERSION = 8

# Optical densities of hematoxylin, eosin and DAB in red, green and blue: Ruifrok and Johnston, Anal Quant Cytol Histol
# 2001;23:291-299, as published (rows are made unit vectors before the matrix is inverted).
HED = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))

NUCLEI_TILE = 1024
NUCLEI_SIGMA = 1.5
NUCLEI_OTSU_FACTOR = 0.95
NUCLEI_LOWEST_OD = 0.1
NUCLEI_WINDOW = 151
NUCLEI_DEVIATIONS = 0.3
NUCLEI_CONTRAST_OD = 0.02
NUCLEI_SPREAD = 0.1
NUCLEI_POOL = 4

IHC_TILE = 512
IHC_SIGMA = 0.9
IHC_OTSU_FACTOR = 0.75
IHC_LOWEST_OD = 0.12
IHC_WINDOW = 75
IHC_DEVIATIONS = 0.05
IHC_CONTRAST_OD = 0.03
IHC_SPREAD = 0.1
IHC_POSITIVE_OD = 0.3
IHC_POSITIVE_HAZE = 0.7
IHC_POSITIVE_HEMATOXYLIN = 0.3
IHC_FULL_OD = 2 * float(np.log(10))

IHC_OUTPUTS = ("MASK", "DISTANCE", "CENTRE", "BOUNDARY", "POSITIVE", "HEMATOXYLIN", "MARKER", "DAPI", "LAP2")

TISSUE_TILE = 512
TISSUE_SIGMA = 1.5
TISSUE_SPREAD = 0.03


class Graph:
    """Collects the nodes and constants of one ONNX graph; each method returns the name of its output."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, values: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def node(self, operator: str, *inputs: str, output: str = "", **attributes: object) -> str:
        output = output or f"{operator.lower()}{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def add(self, value: str, number: float) -> str:
        return self.node("Add", value, self.constant(number))

    def times(self, value: str, number: float) -> str:
        return self.node("Mul", value, self.constant(number))

    def least(self, *values: str) -> str:
        return self.node("Min", *values)

    def planes(self, image: str) -> str:
        """Return an NHWC UINT8 image as NCHW FP32."""
        return self.node("Cast", self.node("Transpose", image, perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)

    def blurred(self, value: str, sigma: float, channels: int = 1) -> str:
        """Gaussian of radius 4 sigma, one axis after the other; outside of the tile counts as 0."""
        kernel = gaussian(sigma)
        radius = len(kernel) // 2
        along_x = np.tile(kernel.reshape(1, 1, 1, -1), (channels, 1, 1, 1))
        along_y = np.tile(kernel.reshape(1, 1, -1, 1), (channels, 1, 1, 1))
        value = self.node("Conv", value, self.constant(along_x), pads=[0, radius, 0, radius], group=channels)
        return self.node("Conv", value, self.constant(along_y), pads=[radius, 0, radius, 0], group=channels)

    def probability(self, margin: str, spread: float, output: str) -> None:
        """Make the UINT8 NHWC output: 128 and more where the margin is 0 and more."""
        self.fraction(self.node("Sigmoid", self.times(margin, 1 / spread)), output)

    def fraction(self, value: str, output: str) -> None:
        """Make the UINT8 NHWC output of 0 to 1."""
        value = self.node("Floor", self.add(self.times(value, 255.0), 0.5))
        value = self.node("Cast", value, to=TensorProto.UINT8)
        self.node("Transpose", value, output=output, perm=[0, 2, 3, 1])

    def model(self, name: str, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]) -> bytes:
        graph = helper.make_graph(self._nodes, name, inputs, outputs, self._constants)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="dicomsvc"
        )
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))


def gaussian(sigma: float) -> npt.NDArray[np.float32]:
    """Return weights of sum 1 from -4 sigma to 4 sigma."""
    radius = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return (weights / weights.sum()).astype(np.float32)


def hematoxylin_weights() -> npt.NDArray[np.float32]:
    """Return what each channel's optical density adds to the amount of hematoxylin."""
    vectors = np.array(HED)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.linalg.inv(vectors)[:, 0].astype(np.float32)


def window_weights(size: int, window: float) -> npt.NDArray[np.float32]:
    """Return the matrix ``(size, size)`` of a moving sum over ``window`` (any real) entries, to multiply from right."""
    distance = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    return np.clip(window / 2 - distance + 0.5, 0, 1).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Window:
    """``tile`` and ``width`` in pixels, ``contrast`` in optical density."""

    tile: int
    width: float
    deviations: float
    contrast: float


NUCLEI_AROUND = Window(NUCLEI_TILE, NUCLEI_WINDOW, NUCLEI_DEVIATIONS, NUCLEI_CONTRAST_OD)
IHC_AROUND = Window(IHC_TILE, IHC_WINDOW, IHC_DEVIATIONS, IHC_CONTRAST_OD)


def surroundings(graph: Graph, values: str, density: str, window: Window) -> str:
    """Return what a pixel must exceed to stand out of the window around it."""
    small = window.tile // NUCLEI_POOL
    darkest = graph.node("ReduceMin", values, axes=[1], keepdims=1)
    inside = graph.node("Cast", graph.node("Less", darkest, graph.constant(255.0)), to=TensorProto.FLOAT)
    counted = graph.node("Mul", density, inside)
    parts = graph.node("Concat", counted, graph.node("Mul", counted, density), inside, axis=1)
    parts = graph.node("AveragePool", parts, kernel_shape=[NUCLEI_POOL] * 2, strides=[NUCLEI_POOL] * 2)
    band = graph.constant(window_weights(small, window.width / NUCLEI_POOL))
    parts = graph.node("MatMul", band, graph.node("MatMul", parts, band))
    total, squares, count = (
        graph.node("Slice", parts, *(graph.constant([n], np.int64) for n in (channel, channel + 1, 1)))
        for channel in range(3)
    )
    count = graph.node("Max", count, graph.constant(1e-3))
    mean = graph.node("Div", total, count)
    variance = graph.node("Sub", graph.node("Div", squares, count), graph.node("Mul", mean, mean))
    deviation = graph.node("Sqrt", graph.node("Max", variance, graph.constant(0.0)))
    around = graph.node("Add", mean, graph.add(graph.times(deviation, window.deviations), window.contrast))
    scales = graph.constant([1, 1, NUCLEI_POOL, NUCLEI_POOL])
    return graph.node("Resize", around, "", scales, mode="linear")


def nuclei() -> bytes:
    """Nuclei are darker in hematoxylin than most of the slide and than their surroundings.

    Means are taken over blocks of 4 x 4 pixels that are then summed over the window and interpolated: the surroundings
    change slowly. Pure white, which is what lies outside of a slide, is no surrounding.
    """
    size = NUCLEI_TILE
    graph = Graph()
    values = graph.planes("IMAGE")
    logarithm = graph.node("Log", graph.add(values, 1.0))
    weights = hematoxylin_weights()
    offset = graph.constant([np.log(256) * weights.sum()])
    density = graph.node("Conv", logarithm, graph.constant(-weights.reshape(1, 3, 1, 1)), offset)
    density = graph.blurred(density, NUCLEI_SIGMA)

    around = surroundings(graph, values, density, NUCLEI_AROUND)
    threshold = graph.times("STATISTICS", NUCLEI_OTSU_FACTOR)
    threshold = graph.node("Max", threshold, graph.constant(NUCLEI_LOWEST_OD))
    threshold = graph.node("Reshape", threshold, graph.constant([-1, 1, 1, 1], np.int64))
    margin = graph.node("Sub", density, graph.node("Max", around, threshold))
    graph.probability(margin, NUCLEI_SPREAD, "MASK")
    return graph.model(
        "nuclei",
        [image("IMAGE", size), helper.make_tensor_value_info("STATISTICS", TensorProto.FLOAT, ["batch", 1])],
        [helper.make_tensor_value_info("MASK", TensorProto.UINT8, ["batch", size, size, 1])],
    )


def dye_weights() -> npt.NDArray[np.float32]:
    """Return what each channel's optical density adds to hematoxylin and to DAB; a third dye takes what is neither."""
    hematoxylin, _, dab = (row / np.linalg.norm(row) for row in np.array(HED))
    other = np.cross(hematoxylin, dab)
    vectors = np.stack([hematoxylin, dab, other / np.linalg.norm(other)])
    return np.linalg.inv(vectors)[:, :2].T.astype(np.float32)


def ihc() -> bytes:
    """Nuclei are darker in hematoxylin and DAB than most of the slide and than their surroundings.

    They are positive by DAB above the slide's haze, and more so on a brown slide and in a dark nucleus. The rule knows
    nothing of boundaries between nuclei: BOUNDARY is 0.
    """
    size, graph = IHC_TILE, Graph()
    values = graph.planes("IMAGE")
    weights = dye_weights()
    logarithm = graph.node("Log", graph.add(values, 1.0))
    dyes = graph.node(
        "Conv",
        logarithm,
        graph.constant(-weights.reshape(2, 3, 1, 1)),
        graph.constant(np.log(256) * weights.sum(axis=1)),
    )
    dyes = graph.node("Max", graph.blurred(dyes, IHC_SIGMA, channels=2), graph.constant(0.0))
    hematoxylin, dab = (
        graph.node("Slice", dyes, *(graph.constant([n], np.int64) for n in (channel, channel + 1, 1)))
        for channel in range(2)
    )
    threshold, haze = (
        graph.node(
            "Reshape",
            graph.node("Slice", "STATISTICS", *(graph.constant([n], np.int64) for n in (at, at + 1, 1))),
            graph.constant([-1, 1, 1, 1], np.int64),
        )
        for at in range(2)
    )
    above = graph.node("Max", graph.node("Sub", dab, haze), graph.constant(0.0))
    nuclear = graph.node("Add", hematoxylin, above)
    around = surroundings(graph, values, nuclear, IHC_AROUND)
    lowest = graph.node("Max", graph.times(threshold, IHC_OTSU_FACTOR), graph.constant(IHC_LOWEST_OD))
    margin = graph.node("Sub", nuclear, graph.node("Max", around, lowest))
    graph.probability(margin, IHC_SPREAD, "MASK")
    needed = graph.node("Add", graph.times(haze, IHC_POSITIVE_HAZE), graph.times(hematoxylin, IHC_POSITIVE_HEMATOXYLIN))
    needed = graph.add(needed, IHC_POSITIVE_OD)
    graph.probability(graph.node("Sub", above, needed), IHC_SPREAD, "POSITIVE")

    mask = graph.node("Sigmoid", graph.times(margin, 1 / IHC_SPREAD))
    outside = graph.add(graph.times(mask, -1.0), 1.0)
    rim = graph.node("Mul", mask, graph.node("MaxPool", outside, kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
    for name, plane in {
        "DISTANCE": graph.blurred(mask, 2.0),
        "CENTRE": graph.blurred(mask, 3.5),
        "BOUNDARY": graph.times(mask, 0.0),
        "HEMATOXYLIN": graph.times(hematoxylin, 1 / IHC_FULL_OD),
        "MARKER": graph.times(dab, 1 / IHC_FULL_OD),
        "DAPI": graph.node("Mul", mask, graph.times(nuclear, 0.7)),
        "LAP2": rim,
    }.items():
        graph.fraction(graph.least(plane, graph.constant(1.0)), name)
    return graph.model(
        "ihc-classical",
        [image("IMAGE", size), helper.make_tensor_value_info("STATISTICS", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info(name, TensorProto.UINT8, ["batch", size, size, 1]) for name in IHC_OUTPUTS],
    )


def tissue() -> bytes:
    """Tissue has colour or density, is neither grey nor black, and lets more green through than blue ink lets red.

    Each rule gives a margin in optical density; the least decides.
    """
    size = TISSUE_TILE
    graph = Graph()
    logarithm = graph.node("Log", graph.add(graph.planes("IMAGE"), 1.0))
    density = graph.add(graph.times(logarithm, -1.0), float(np.log(256)))
    density = graph.blurred(density, TISSUE_SIGMA, channels=3)
    most = graph.node("ReduceMax", density, axes=[1], keepdims=1)
    least = graph.node("ReduceMin", density, axes=[1], keepdims=1)
    dark = graph.node("ReduceMean", density, axes=[1], keepdims=1)
    chroma = graph.node("Sub", most, least)
    red, green = (
        graph.node("Slice", density, *(graph.constant([n], np.int64) for n in (channel, channel + 1, 1)))
        for channel in range(2)
    )
    stained = graph.add(graph.node("Add", chroma, graph.times(dark, 0.5)), -0.14)
    not_grey = graph.node("Sub", chroma, graph.times(dark, 0.15))
    not_black = graph.add(graph.node("Sub", graph.times(chroma, 2.0), dark), 1.4)
    not_ink = graph.add(graph.node("Sub", green, graph.times(red, 0.82)), 0.02)
    graph.probability(graph.least(stained, not_grey, not_black, not_ink), TISSUE_SPREAD, "TISSUE")
    return graph.model(
        "tissue",
        [image("IMAGE", size)],
        [helper.make_tensor_value_info("TISSUE", TensorProto.UINT8, ["batch", size, size, 1])],
    )


def image(name: str, size: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.UINT8, ["batch", size, size, 3])


MODELS = {"nuclei-classical": nuclei, "ihc-classical": ihc, "tissue": tissue}


def write_model(folder: Path, weights: bytes) -> None:
    """Put weights, runner, GPU configuration and digest into a model folder that has its two texts."""
    version = folder / "1"
    version.mkdir(parents=True, exist_ok=True)
    (version / "model.onnx").write_bytes(weights)
    shutil.copyfile(TEMPLATE, version / "model.py")
    (folder / "configs").mkdir(exist_ok=True)
    config = (folder / "config.pbtxt").read_text(encoding="utf-8")
    (folder / "configs" / "gpu.pbtxt").write_text(config.replace("KIND_CPU", "KIND_GPU"), encoding="utf-8")
    manifest = folder / "model.toml"
    digest = f'weights_sha256 = "{hashlib.sha256(weights).hexdigest()}"'
    text = re.sub(r"(?m)^weights_sha256 = .*$", digest, manifest.read_text(encoding="utf-8"))
    manifest.write_text(text, encoding="utf-8")


def main() -> None:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY / "triton_models"
    for name, build in MODELS.items():
        weights = build()
        write_model(root / name, weights)
        print(f"{root / name}: {len(weights)} bytes")


if __name__ == "__main__":
    main()
