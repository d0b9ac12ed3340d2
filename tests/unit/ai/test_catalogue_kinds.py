"""Folders of every kind of output are understood, in all the ways a tensor can be laid out."""

from pathlib import Path

import pytest
from onnx import TensorProto, helper

from dicomsvc.ai.catalogue.card import describe_manifest, manifest_document
from dicomsvc.ai.catalogue.manifest import Manifest
from dicomsvc.ai.catalogue.reading import read_manifest
from dicomsvc.errors import InvalidModel

CODE = '{ value = "84640000", scheme = "SCT", meaning = "Nucleus" }'
ONNX = {"UINT8": TensorProto.UINT8, "FP32": TensorProto.FLOAT}
Tensor = tuple[str, str, tuple[int, ...]]


def folder_of(root: Path, inputs: list[Tensor], outputs: list[Tensor], words: str, output: str, classes: int) -> Path:
    """Write a model folder whose graph has these tensors; each is name, type and shape."""
    folder = root / "made"
    (folder / "1").mkdir(parents=True)

    def listed(tensors: list[Tensor]) -> str:
        return ", ".join(
            f'{{ name: "{name}" data_type: TYPE_{kind} dims: {list(dims)} }}' for name, kind, dims in tensors
        )

    def values(tensors: list[Tensor]) -> list[object]:
        return [helper.make_tensor_value_info(name, ONNX[kind], ["batch", *dims]) for name, kind, dims in tensors]

    nodes = [helper.make_node("Identity", [inputs[0][0]], [name]) for name, _, _ in outputs]
    graph = helper.make_graph(nodes, "g", values(inputs), values(outputs))
    (folder / "1" / "model.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    config = f'backend: "python"\nmax_batch_size: 4\ninput [ {listed(inputs)} ]\noutput [ {listed(outputs)} ]\n'
    (folder / "config.pbtxt").write_text(config, encoding="utf-8")
    text = f"""
title = "Made"
version = "1"
summary = "s"
intended_use = "u"
licence = "CC0-1.0"
training_data = "none"
family = {{ value = "123110", scheme = "DCM", meaning = "Artificial Intelligence" }}
[input]
tensor = "IMAGE"
mpp = 0.5
coarsest_mpp = 0.5
tile_size = 64
overlap = 8
{words}
[output]
{output}
"""
    for number in range(classes):
        text += f'[[classes]]\nlabel = "c{number}"\ncategory = {CODE}\ntype = {CODE}\ncolour = [1, 2, {number}]\n'
    (folder / "model.toml").write_text(text, encoding="utf-8")
    return folder


RGB: Tensor = ("IMAGE", "UINT8", (64, 64, 3))
HE = 'stain = "H&E"'


def read(root: Path, inputs: list[Tensor], outputs: list[Tensor], words: str, output: str, classes: int) -> Manifest:
    [manifest] = read_manifest(folder_of(root, inputs, outputs, words, output, classes))
    return manifest


def test_things_with_classes(tmp_path: Path) -> None:
    outputs: list[Tensor] = [("M", "FP32", (32, 32, 1)), ("C", "UINT8", (32, 32, 3)), ("D", "UINT8", (32, 32, 1))]
    output = 'kind = "instances"\ntensors = { mask = "M", class = "C", distance = "D" }\nstride = 2'
    manifest = read(tmp_path, [RGB], outputs, HE, output + "\nsettings = { threshold = 0.4 }", 3)
    assert manifest.output.stride == 2
    assert manifest.output.settings == {"threshold": 0.4}
    assert manifest.objects == ("ANN", "SEG", "SR")
    assert manifest.input.max_batch == 4


def test_things_of_several_classes_need_a_class_tensor(tmp_path: Path) -> None:
    output = 'kind = "instances"\ntensors = { mask = "M" }'
    with pytest.raises(InvalidModel, match=r"classes are several, but output\.tensors has no `class`"):
        read(tmp_path, [RGB], [("M", "UINT8", (64, 64, 1))], HE, output, 2)


def test_patches_in_classes_from_normalised_planes(tmp_path: Path) -> None:
    words = HE + '\ndatatype = "FP32"\nlayout = "NCHW"\nscale = 0.00392\nmean = [0.5, 0.5, 0.5]\nstd = [0.2, 0.2, 0.2]'
    words += '\n[[input.steps]]\nname = "macenko"'
    manifest = read(
        tmp_path,
        [("IMAGE", "FP32", (3, 64, 64))],
        [("P", "FP32", (9,))],
        words,
        'kind = "classification"\ntensors = { probability = "P" }',
        9,
    )
    assert manifest.input.std == (0.2, 0.2, 0.2)
    assert [step.name for step in manifest.input.steps] == ["macenko"]


def test_optical_paths_of_fluorescence(tmp_path: Path) -> None:
    words = 'stain = "fluorescence"\nchannels = ["DAPI", "CD3"]'
    image: Tensor = ("IMAGE", "UINT8", (64, 64, 2))
    manifest = read(
        tmp_path, [image], [("H", "FP32", (64, 64, 1))], words, 'kind = "points"\ntensors = { heat = "H" }', 1
    )
    assert manifest.input.channels == ("DAPI", "CD3")


@pytest.mark.parametrize(
    ("kind", "role", "channels", "objects"), [("map", "value", 1, ("PM", "SR")), ("image", "image", 3, ("SM",))]
)
def test_maps_and_pictures(tmp_path: Path, kind: str, role: str, channels: int, objects: tuple[str, ...]) -> None:
    outputs: list[Tensor] = [("O", "FP32", (64, 64, channels))]
    manifest = read(tmp_path, [RGB], outputs, HE, f'kind = "{kind}"\ntensors = {{ {role} = "O" }}', 1)
    assert manifest.objects == objects


STAINS = (
    'kind = "image"\ntensors = { image = "S" }\n'
    '[[output.channels]]\nname = "dna"\nlabel = "Hoechst"\nstands_for = "DNA"\ncolour = [0, 0, 255]\n'
    '[[output.channels]]\nname = "ki67"\nchannel = 1'
)


def test_an_image_of_named_channels(tmp_path: Path) -> None:
    manifest = read(tmp_path, [RGB], [("S", "UINT8", (64, 64, 2))], HE, STAINS, 1)
    first, second = manifest.output.channels
    assert (first.tensor, first.channel, first.label, first.stands_for) == ("S", 0, "Hoechst", "DNA")
    assert (second.tensor, second.channel, second.label, second.colour) == ("S", 1, "ki67", (255, 255, 255))
    assert manifest_document(manifest)["output"]["channels"][0]["colour"] == [0, 0, 255]
    assert "Hoechst (dna) DNA" in describe_manifest(manifest)


def test_channels_beside_things_are_written_only_where_that_is_said(tmp_path: Path) -> None:
    outputs: list[Tensor] = [("M", "UINT8", (64, 64, 1)), ("H", "UINT8", (64, 64, 1))]
    output = 'kind = "instances"\ntensors = { mask = "M" }\n[[output.channels]]\nname = "h"\ntensor = "H"'
    assert read(tmp_path, [RGB], outputs, HE, output, 1).objects == ("ANN", "SEG", "SR")


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        (STAINS + "\n[[output.channels]]\nname = 'no'\nchannel = 2", r"is 2, but S has 2 channels"),
        (STAINS + "\n[[output.channels]]\nname = 'no'\ntensor = 'T'", r"names 'T', which config\.pbtxt does not have"),
        (STAINS + "\n[[output.channels]]\nname = 'DNA'", "different names"),
        (STAINS + "\n[[output.channels]]\nname = '../x'", "letters, digits"),
        (STAINS.replace("image", "map", 1).replace("image", "value"), "not for map"),
    ],
)
def test_a_channel_that_cannot_be_is_refused(tmp_path: Path, output: str, problem: str) -> None:
    with pytest.raises(InvalidModel, match=problem):
        read(tmp_path, [RGB], [("S", "UINT8", (64, 64, 2))], HE, output, 1)


def test_a_statistic_wants_its_tensor(tmp_path: Path) -> None:
    words = HE + '\nstatistics = ["hematoxylin_otsu", "hematoxylin_median"]'
    output = 'kind = "segmentation"\ntensors = { probability = "P" }'
    outputs: list[Tensor] = [("P", "UINT8", (64, 64, 2))]
    with pytest.raises(InvalidModel, match=r"names 'STATISTICS', which config\.pbtxt does not have as input"):
        read(tmp_path / "without", [RGB], outputs, words, output, 1)
    manifest = read(tmp_path / "with", [RGB, ("STATISTICS", "FP32", (2,))], outputs, words, output, 1)
    assert manifest.input.statistics == ("hematoxylin_otsu", "hematoxylin_median")


def test_an_input_that_nobody_fills_is_refused(tmp_path: Path) -> None:
    output = 'kind = "segmentation"\ntensors = { probability = "P" }'
    with pytest.raises(InvalidModel, match=r"input 'CLICKS' is not in model\.toml"):
        read(tmp_path, [RGB, ("CLICKS", "FP32", (2,))], [("P", "UINT8", (64, 64, 1))], HE, output, 1)
