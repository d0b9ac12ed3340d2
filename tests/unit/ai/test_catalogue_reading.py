"""A model folder is read strictly, and what is wrong is named with file and line."""

import os
import random
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dicomsvc.ai.catalogue import onnx_graph
from dicomsvc.ai.catalogue.coded import is_sctid
from dicomsvc.ai.catalogue.onnx_graph import GraphTensor, read_graph
from dicomsvc.ai.catalogue.reading import read_manifest
from dicomsvc.ai.catalogue.toml_lines import key_lines, line_of
from dicomsvc.errors import InvalidModel

MODELS = Path(__file__).parents[3] / "triton_models"
SHIPPED = sorted(path.parent for path in MODELS.glob("*/config.pbtxt"))


@pytest.fixture
def tissue(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MODELS / "tissue", tmp_path / "tissue"))


def replaced(path: Path, old: str, new: str) -> int:
    """Put ``new`` for ``old``, and return the line where that is."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) >= 1, old
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return text[: text.index(old)].count("\n") + 1


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_models_that_come_with_dicomsvc_are_right(folder: Path) -> None:
    [manifest] = read_manifest(folder)
    written = tomllib.loads((folder / "model.toml").read_text(encoding="utf-8"))
    assert manifest.name == folder.name
    assert manifest.weights_sha256 == written["weights_sha256"]
    assert manifest.title == written["title"]
    assert manifest.input.max_batch >= 1


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("mpp = 8.0", "mpp = 0", "input.mpp must be a number above 0"),
        ("mpp = 8.0", "mpp = true", "input.mpp must be a number above 0"),
        ("mpp = 8.0", "mpp = nan", "input.mpp must be a number above 0"),
        ("coarsest_mpp = 16.0", "coarsest_mpp = 4.0", "input.coarsest_mpp must not be finer than mpp, 8"),
        ("tile_size = 512", "tile_size = 512.0", "input.tile_size must be a whole number"),
        ("overlap = 32", "overlap = 256", "input.overlap must be a whole number from 0 to 255"),
        ("overlap = 32", "overlap = 32\ncolour = 3", "input.colour is not known here"),
        ('stain = "brightfield"', 'stain = "purple"', "input.stain must be one of H&E"),
        ("only_tissue = false", "only_tissue = 0", "input.only_tissue must be true or false"),
        ("only_tissue = false", "mean = [1, 2, 3]", "input.mean is for datatype FP32"),
        ("only_tissue = false", 'statistics = ["mood"]', "input.statistics"),
        ("only_tissue = false", 'steps = [{ name = "bleach" }]', "input.steps[0].name"),
        ('kind = "segmentation"', 'kind = "poetry"', "output.kind must be one of segmentation"),
        ('kind = "segmentation"', 'kind = "segmentation"\nstride = 3', "output.stride must divide tile_size"),
        ("{ probability =", "{ mask =", "output.tensors.probability is missing"),
        ('"TISSUE" }', '"TISSUE", mask = "X" }', "output.tensors.mask is no tensor of segmentation"),
        ('"TISSUE" }', '"FOG" }', "output.tensors.probability names 'FOG', which config.pbtxt does not have"),
        ('"TISSUE" }', '"TISSUE" }\nsettings = { speed = 1 }', "output.settings.speed is not known for segmentation"),
        ('"TISSUE" }', '"TISSUE" }\nsettings = { threshold = 7 }', "output.settings.threshold must be a number from 0"),
        ('tensor = "IMAGE"', 'tensor = "PICTURE"', "input.tensor names 'PICTURE', which config.pbtxt does not have"),
        ('value = "123108"', 'value = "123999"', "family.value is no code of DCM"),
        ("Multispectral Processing", "Guessing", "family.meaning of DCM 123108 is 'Multispectral Processing'"),
        ('type = { value = "85756007"', 'type = { value = "85756008"', "classes[0].type.value is no SNOMED CT"),
        ("colour = [255, 160, 0]", "colour = [255, 160]", "classes[0].colour must be red, green and blue"),
        ("[[classes]]", "[classes]", "classes must be one or more tables"),
        ('objects = ["SEG", "SR"]', 'objects = ["ANN"]', "objects of segmentation can be SEG, SR"),
        ('licence = "Apache-2.0"', 'licence = ""', "licence must not be empty"),
        ('version = "1.0.0"', 'version = "../1"', "version must be letters"),
        ('title = "Tissue', 'title = "\\u0000Tissue', "title has control characters"),
    ],
)
def test_a_wrong_value_is_named_with_its_line(tissue: Path, old: str, new: str, expected: str) -> None:
    line = replaced(tissue / "model.toml", old, new)
    with pytest.raises(InvalidModel) as caught:
        read_manifest(tissue)
    file, number, problem = str(caught.value).split(":", 2)
    assert file == str(tissue / "model.toml")
    assert line <= int(number) <= line + new.count("\n"), caught.value
    assert expected in problem


def test_a_missing_key_is_named(tissue: Path) -> None:
    replaced(tissue / "model.toml", 'training_data = "none"\n', "")
    with pytest.raises(InvalidModel, match=r"model\.toml:\d+: training_data is missing"):
        read_manifest(tissue)


def test_fluorescence_names_its_channels(tissue: Path) -> None:
    replaced(tissue / "model.toml", 'stain = "brightfield"', 'stain = "fluorescence"')
    with pytest.raises(InvalidModel, match=r"model\.toml:\d+: input\.channels is missing: name the optical paths"):
        read_manifest(tissue)


def test_toml_that_does_not_parse_is_named_with_its_line(tissue: Path) -> None:
    line = replaced(tissue / "model.toml", "mpp = 8.0", "mpp 8.0")
    with pytest.raises(InvalidModel, match=rf"model\.toml:{line}: Expected '='"):
        read_manifest(tissue)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a = " + b"[" * 5000, b"", b"\x00"])
def test_bytes_that_are_no_manifest_are_refused(tissue: Path, content: bytes) -> None:
    (tissue / "model.toml").write_bytes(content)
    with pytest.raises(InvalidModel, match=r"model\.toml:"):
        read_manifest(tissue)


def test_other_weights_than_the_manifest_says_are_refused(tissue: Path) -> None:
    with (tissue / "1" / "model.onnx").open("ab") as file:
        file.write(b"\x08\x08")
    with pytest.raises(InvalidModel, match=r"model\.toml:\d+: weights_sha256 is not that of 1/model\.onnx"):
        read_manifest(tissue)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("dims: [ 512, 512, 3 ]", "dims: [ 512, 512, 4 ]", "input IMAGE is UINT8 [512, 512, 4], but model.toml says"),
        ("TYPE_UINT8 dims: [ 512, 512, 1", "TYPE_FP16 dims: [ 512, 512, 1", "output TISSUE is FP16; it must be"),
        ("512, 512, 1 ]", "512, 512, 4 ]", "classes are 1, but output TISSUE has 4 channels"),
        ("512, 512, 1 ]", "256, 256, 1 ]", "output TISSUE has shape [256, 256, 1]; it must be [512, 512, channels]"),
        ('backend: "python"', 'backend: "shell"', 'backend must be "python"'),
        ('name: "tissue"', 'name: "other"', "name is 'other', but the folder is called 'tissue'"),
        ("max_batch_size: 16", "max_batch_size: 0", "max_batch_size must be from 1"),
        ("max_batch_size: 16", "max_batch_sighs: 16", 'no field named "max_batch_sighs"'),
        ("max_batch_size: 16", 'max_batch_size: 16 default_model_filename: "../../x.py"', "is not allowed here"),
        (
            "max_batch_size: 16",
            'max_batch_size: 16 parameters { key: "EXECUTION_ENV_PATH" value { string_value: "/x" } }',
            "parameter 'EXECUTION_ENV_PATH' is not allowed here",
        ),
    ],
)
def test_a_wrong_configuration_is_named_with_its_line(tissue: Path, old: str, new: str, expected: str) -> None:
    line = replaced(tissue / "config.pbtxt", old, new)
    with pytest.raises(InvalidModel) as caught:
        read_manifest(tissue)
    assert expected in str(caught.value)
    if "model.toml" not in str(caught.value).split(":")[0]:
        assert str(caught.value).startswith(f"{tissue / 'config.pbtxt'}:{line}: ")


def test_links_are_refused(tissue: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    for file in ("config.pbtxt", "model.toml", "1/model.onnx"):
        kept = (tissue / file).read_bytes()
        secret.write_bytes(kept)
        (tissue / file).unlink()
        (tissue / file).symlink_to(secret)
        with pytest.raises(InvalidModel, match="is a link"):
            read_manifest(tissue)
        (tissue / file).unlink()
        (tissue / file).write_bytes(kept)
    read_manifest(tissue)


def test_things_that_are_no_files_do_not_block(tissue: Path) -> None:
    (tissue / "model.toml").unlink()
    os.mkfifo(tissue / "model.toml")
    with pytest.raises(InvalidModel, match="is no plain file"):
        read_manifest(tissue)


def test_a_huge_text_is_refused(tissue: Path) -> None:
    with (tissue / "model.toml").open("ab") as file:
        file.truncate(300 << 10)
    with pytest.raises(InvalidModel, match="bytes; from 1 to"):
        read_manifest(tissue)


def test_versions_have_manifests_of_their_own(tissue: Path) -> None:
    shutil.copytree(tissue / "1", tissue / "12")
    with pytest.raises(InvalidModel, match=r"is version 1\.0\.0, as 1 is"):
        read_manifest(tissue)
    shutil.copy(tissue / "model.toml", tissue / "12" / "model.toml")
    replaced(tissue / "12" / "model.toml", 'version = "1.0.0"', 'version = "1.1.0"')
    assert [(each.number, each.version) for each in read_manifest(tissue)] == [(1, "1.0.0"), (12, "1.1.0")]


def graph_file(
    folder: Path,
    *,
    size: int = 512,
    batch: int | str = "batch",
    kind: int = TensorProto.UINT8,
    domain: str = "",
    elsewhere: bool = False,
) -> Path:
    """Write an ONNX file with tissue's tensors, apart from what is asked for."""
    weight = numpy_helper.from_array(np.array([1], np.float32), "weight")
    if elsewhere:
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value="../../../etc/passwd")
    graph = helper.make_graph(
        [
            helper.make_node("Slice" if not domain else "Evil", ["IMAGE", "a", "b", "c"], ["TISSUE"], domain=domain),
        ],
        "g",
        [helper.make_tensor_value_info("IMAGE", TensorProto.UINT8, [batch, size, size, 3])],
        [helper.make_tensor_value_info("TISSUE", kind, [batch, size, size, 1])],
        [
            weight,
            *(numpy_helper.from_array(np.array([n], np.int64), name) for n, name in ((0, "a"), (1, "b"), (3, "c"))),
        ],
    )
    path = folder / "1" / "model.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("evil", 1)])
    path.write_bytes(model.SerializeToString())
    replaced(folder / "model.toml", "weights_sha256", "# weights_sha256")
    return path


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"size": 256}, r"input IMAGE has shape \[\?, 256, 256, 3\], but config.pbtxt says \[batch, 512, 512, 3\]"),
        ({"batch": 1}, "has a fixed batch of 1"),
        ({"kind": TensorProto.FLOAT}, "output TISSUE is FP32, but config.pbtxt says UINT8"),
        ({"domain": "evil"}, "wants operators of 'evil'"),
        ({"elsewhere": True}, "keeps weights in other files"),
    ],
)
def test_a_graph_that_does_not_fit_is_refused(tissue: Path, wrong: dict[str, object], expected: str) -> None:
    graph_file(tissue)
    read_manifest(tissue)
    replaced(tissue / "model.toml", "# weights_sha256", "weights_sha256")
    graph_file(tissue, **wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidModel, match=expected):
        read_manifest(tissue)


def test_weights_elsewhere_are_found_in_graphs_within_graphs(tmp_path: Path) -> None:
    hidden = numpy_helper.from_array(np.array([1], np.float32), "hidden")
    hidden.ClearField("raw_data")
    hidden.data_location = TensorProto.EXTERNAL
    hidden.external_data.add(key="location", value="x")
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["y"], value=hidden)],
        "inner",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    outer = helper.make_graph(
        [helper.make_node("If", ["x"], ["z"], then_branch=inner, else_branch=inner)],
        "outer",
        [helper.make_tensor_value_info("x", TensorProto.BOOL, [1])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1])],
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(outer).SerializeToString())
    with pytest.raises(InvalidModel, match="keeps weights in other files"):
        read_graph(path)


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_the_reader_sees_what_the_onnx_package_sees(folder: Path) -> None:
    path = folder / "1" / "model.onnx"
    graph = onnx.load(path).graph

    def seen(values: object) -> dict[str, GraphTensor]:
        names = {TensorProto.UINT8: "UINT8", TensorProto.FLOAT: "FP32"}
        return {
            value.name: GraphTensor(
                names[value.type.tensor_type.elem_type],
                tuple(size.dim_value or None for size in value.type.tensor_type.shape.dim),
            )
            for value in values  # type: ignore[attr-defined]
        }

    found = read_graph(path)
    assert found.inputs == seen(graph.input)
    assert found.outputs == seen(graph.output)


def test_a_graph_of_millions_of_empty_parts_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_graph, "_MOST_FIELDS", 1000)
    inputs = b"\x5a\x00" * 2000
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x3a\xa0\x1f" + inputs)
    with pytest.raises(InvalidModel, match="too many parts"):
        read_graph(path)


def test_damaged_weights_are_refused_and_nothing_else_happens(tmp_path: Path) -> None:
    content = (MODELS / "tissue" / "1" / "model.onnx").read_bytes()
    path = tmp_path / "model.onnx"
    chance = random.Random(3)
    refused = 0
    for _ in range(400):
        damaged = bytearray(content[: chance.randrange(1, len(content) + 1)])
        for _ in range(chance.randrange(4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            read_graph(path)
        except InvalidModel:
            refused += 1
    assert refused > 200


@pytest.mark.parametrize("file", ["model.toml", "config.pbtxt"])
def test_damaged_texts_are_refused_with_a_line_and_nothing_else_happens(tissue: Path, file: str) -> None:
    content = (tissue / file).read_bytes()
    chance = random.Random(4)
    refused = 0
    for _ in range(200):
        damaged = bytearray(content)
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(damaged))
            damaged[at : at + chance.randrange(3)] = bytes(
                chance.choices(b'[]{}"=.#\n\\x0\xff,', k=chance.randrange(3))
            )
        (tissue / file).write_bytes(damaged)
        try:
            read_manifest(tissue)
        except InvalidModel as error:
            refused += 1
            assert re.match(rf"{re.escape(str(tissue))}/(model.toml|config.pbtxt):\d+: .", str(error)), error
    assert refused > 100


def test_lines_are_found_for_all_ways_to_write_a_key() -> None:
    text = """# comment with [brackets] and = signs
title = "a # b"
text = '''
[not.a.table]
key = 1'''
more = \"\"\"x \\\"\"\" \\
y\"\"\"
a.b . "c d" = [
  1, # one
  { inner = 2 },
]
[table."x.y"]
key = { deep = [ 'a', "b" ],
  } # end
[[list]]
n = 1
[list.sub]
m = 1979-05-27 07:32:00
[[list]]
n = 2
[[list.inner]]
k = 3
"""
    text = text.replace("],\n  } # end", "] } # end")
    tomllib.loads(text)
    lines = key_lines(text)
    expected = {
        ("title",): "title =",
        ("text",): "text =",
        ("more",): "more =",
        ("a", "b", "c d"): "a.b .",
        ("a", "b", "c d", 0): "1, # one",
        ("a", "b", "c d", 1, "inner"): "{ inner",
        ("table", "x.y"): "[table",
        ("table", "x.y", "key", "deep", 1): "key = { deep",
        ("list",): "[[list]]",
        ("list", 0, "n"): "n = 1",
        ("list", 0, "sub", "m"): "m = 1979",
        ("list", 1, "n"): "n = 2",
        ("list", 1, "inner", 0, "k"): "k = 3",
    }
    for path, mark in expected.items():
        assert lines[path] == text[: text.index(mark)].count("\n") + 1, path
    assert line_of(lines, ("list", 1, "inner", 0, "missing")) == lines["list", 1, "inner", 0]
    assert line_of(lines, ("nothing",)) == 1


@pytest.mark.parametrize("code", ["84640000", "85756007", "91723000", "108369006", "6574001", "254915003"])
def test_snomed_identifiers_are_known_by_their_check_digit(code: str) -> None:
    assert is_sctid(code)
    assert not is_sctid(code[:-1] + str((int(code[-1]) + 1) % 10))
    swapped = code[:-3] + code[-2] + code[-3] + code[-1]
    assert swapped == code or not is_sctid(swapped)
    assert not is_sctid(code + "x")


def paths(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of everything in a parsed document."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield (*path, key)
        yield from paths(inner, (*path, key))


def test_everything_in_a_document_has_a_line_however_it_is_written() -> None:
    text = (MODELS / "nuclei-classical" / "model.toml").read_text(encoding="utf-8")
    text += 'a."c.d" = [1, {x = 1, y.z = [2, [3, "]"]]}, """m\n\\""" """]\n"q\\"uote" = \'lit#\'\n[t."u v".w]\nk = 1\n'
    text += "[[l.m]]\nn = 1\n[[l.m.o]]\np = '''x\n'''''\n[l.m.q]\nr = -inf"
    chance = random.Random(5)
    seen = 0
    for _ in range(600):
        changed = list(text)
        for _ in range(chance.randrange(3)):
            at = chance.randrange(len(changed))
            changed[at : at + chance.randrange(3)] = chance.choices("[]{}\"'=.# \n\\0,a", k=chance.randrange(3))
        try:
            values = tomllib.loads("".join(changed))
        except tomllib.TOMLDecodeError:
            continue
        seen += 1
        assert set(paths(values)) <= set(key_lines("".join(changed)))
    assert seen > 100
