"""The models that come with dicomsvc do what is written down, wherever a tile is cut."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from scipy import ndimage

from dicomsvc.ai.catalogue.runner import TEMPLATE

REPOSITORY = Path(__file__).parents[3]
MODELS = REPOSITORY / "triton_models"
SHIPPED = sorted(folder.name for folder in MODELS.iterdir() if folder.is_dir())
Image = npt.NDArray[np.uint8]
VECTORS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])


def session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def nuclei() -> Any:
    return session(MODELS / "nuclei-classical" / "1" / "model.onnx")


@pytest.fixture(scope="module")
def tissue() -> Any:
    return session(MODELS / "tissue" / "1" / "model.onnx")


def mask(model: Any, image: Image, otsu: float) -> Image:
    result: Image = model.run(["MASK"], {"IMAGE": image[None], "STATISTICS": np.array([[otsu]], np.float32)})[0]
    return result[0, :, :, 0]


def stained(size: int, seed: int = 5) -> tuple[Image, npt.NDArray[np.bool_]]:
    """Return a picture of round nuclei in uneven eosin, and where the nuclei are."""
    chance = np.random.default_rng(seed)
    truth = np.zeros((size, size), bool)
    rows, columns = np.ogrid[:size, :size]
    for row, column in chance.integers(0, size, (size * size // 4000, 2)):
        radius = chance.uniform(9, 15)
        top, left = max(0, row - 20), max(0, column - 20)
        part = np.s_[top : row + 21, left : column + 21]
        truth[part] |= (rows[top : row + 21] - row) ** 2 + (columns[:, left : column + 21] - column) ** 2 < radius**2
    eosin = 0.35 + 0.15 * ndimage.gaussian_filter(chance.normal(size=(size, size)), 60, mode="wrap") * 150
    hematoxylin = 0.1 + 0.5 * truth + 0.03 * chance.normal(size=(size, size))
    unit = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    density = hematoxylin[..., None] * unit[0] + eosin[..., None] * unit[1]
    return np.clip(256 * np.exp(-density) - 1, 0, 255).astype(np.uint8), truth


def nuclei_reference(image: Image, otsu: float) -> npt.NDArray[np.float64]:
    """Return the margin of each pixel, written down a second time: sums over windows, no matrices."""
    unit = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    density = -np.log((image.astype(np.float64) + 1) / 256) @ np.linalg.inv(unit)[:, 0]
    density = ndimage.gaussian_filter(density, 1.5, truncate=4, mode="constant")
    inside = (image.min(axis=2) < 255).astype(np.float64)
    small = len(image) // 4

    def pooled(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return values.reshape(small, 4, small, 4).mean(axis=(1, 3))

    window = np.ones(39)
    window[[0, -1]] = 151 / 8 - 18.5
    sums = [
        ndimage.convolve1d(ndimage.convolve1d(pooled(values), window, 0, mode="constant"), window, 1, mode="constant")
        for values in (density * inside, density**2 * inside, inside)
    ]
    count = np.maximum(sums[2], 1e-3)
    mean = sums[0] / count
    around = mean + 0.3 * np.sqrt(np.maximum(sums[1] / count - mean**2, 0)) + 0.02
    places = np.clip((np.arange(len(image)) + 0.5) / 4 - 0.5, 0, small - 1)
    grid = np.meshgrid(places, places, indexing="ij")
    around = ndimage.map_coordinates(around, grid, order=1, mode="nearest")
    return np.asarray(density - np.maximum(around, max(0.95 * otsu, 0.1)))


def tissue_reference(image: Image) -> npt.NDArray[np.float64]:
    density = -np.log((image.astype(np.float64) + 1) / 256)
    density = ndimage.gaussian_filter(density, (1.5, 1.5, 0), truncate=4, mode="constant")
    dark = density.mean(axis=2)
    chroma = density.max(axis=2) - density.min(axis=2)
    rules = (
        chroma + 0.5 * dark - 0.14,
        chroma - 0.15 * dark,
        2 * chroma - dark + 1.4,
        density[..., 1] - 0.82 * density[..., 0] + 0.02,
    )
    return np.asarray(np.min(rules, axis=0))


def as_byte(margin: npt.NDArray[np.float64], spread: float) -> npt.NDArray[np.float64]:
    return np.floor(255 / (1 + np.exp(-margin / spread)) + 0.5)


def assert_same(found: Image, expected: npt.NDArray[np.float64]) -> None:
    difference = np.abs(found.astype(np.float64) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def test_nuclei_gives_what_its_rule_says(nuclei: Any) -> None:
    image, _ = stained(1024)
    image[:, 900:] = 255
    assert_same(mask(nuclei, image, 0.4), as_byte(nuclei_reference(image, 0.4), 0.1))


def test_tissue_gives_what_its_rule_says(tissue: Any) -> None:
    image = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    [found] = tissue.run(["TISSUE"], {"IMAGE": image[None]})
    assert_same(found[0, :, :, 0], as_byte(tissue_reference(image), 0.03))


def test_nuclei_finds_round_nuclei(nuclei: Any) -> None:
    image, truth = stained(1024)
    found = mask(nuclei, image, 0.4) > 127
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.93


def test_where_a_tile_is_cut_does_not_change_what_is_found_in_it(nuclei: Any) -> None:
    image, _ = stained(1024 + 768)
    pieces = {
        (y, x): mask(nuclei, np.ascontiguousarray(image[y : y + 1024, x : x + 1024]), 0.4).astype(int)
        for y in (0, 768)
        for x in (0, 768)
    }
    reach = 82
    for (y, x), (v, u) in (((0, 0), (0, 768)), ((0, 0), (768, 0)), ((0, 0), (768, 768))):
        top, left = max(y, v) + reach * (y != v), max(x, u) + reach * (x != u)
        bottom, right = min(y, v) + 1024 - reach * (y != v), min(x, u) + 1024 - reach * (x != u)
        one = pieces[y, x][top - y : bottom - y, left - x : right - x]
        other = pieces[v, u][top - v : bottom - v, left - u : right - u]
        assert one.size > 8000
        assert np.abs(one - other).max() <= 1


@pytest.mark.parametrize("grey", [0, 128, 200, 255])
def test_empty_tiles_have_neither_nuclei_nor_tissue(nuclei: Any, tissue: Any, grey: int) -> None:
    assert mask(nuclei, np.full((1024, 1024, 3), grey, np.uint8), 0.0)[82:-82, 82:-82].max() < 128
    [found] = tissue.run(["TISSUE"], {"IMAGE": np.full((1, 512, 512, 3), grey, np.uint8)})
    assert found.max() < 128


@pytest.mark.parametrize(
    ("colour", "is_tissue"),
    [
        ((240, 240, 243), False),
        ((40, 40, 45), False),
        ((30, 50, 150), False),
        ((20, 120, 60), False),
        ((180, 180, 182), False),
        ((235, 170, 205), True),
        ((110, 80, 150), True),
        ((120, 75, 45), True),
    ],
    ids=["glass", "black ink", "blue ink", "green ink", "shadow", "eosin", "hematoxylin", "DAB"],
)
def test_tissue_tells_stains_from_glass_and_ink(tissue: Any, colour: tuple[int, int, int], is_tissue: bool) -> None:
    [found] = tissue.run(["TISSUE"], {"IMAGE": np.full((1, 512, 512, 3), colour, np.uint8)})
    assert bool(found[0, 256, 256, 0] > 127) is is_tissue


def test_the_same_tile_in_a_batch_gives_the_same(nuclei: Any) -> None:
    image, _ = stained(1024)
    alone = mask(nuclei, image, 0.4)
    batch = np.stack([255 - image, image])
    [both] = nuclei.run(["MASK"], {"IMAGE": batch, "STATISTICS": np.array([[0.1], [0.4]], np.float32)})
    assert np.abs(both[1, :, :, 0].astype(int) - alone).max() <= 1


@pytest.mark.parametrize("name", SHIPPED)
def test_models_run_the_runner_that_comes_with_dicomsvc(name: str) -> None:
    assert (MODELS / name / "1" / "model.py").read_bytes() == TEMPLATE.read_bytes()
    config = (MODELS / name / "config.pbtxt").read_text(encoding="utf-8")
    gpu = (MODELS / name / "configs" / "gpu.pbtxt").read_text(encoding="utf-8")
    assert gpu == config.replace("KIND_CPU", "KIND_GPU")


def test_the_weights_are_those_that_the_script_builds(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("build_models", REPOSITORY / "scripts" / "build_models.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for name, build in script.MODELS.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(build())
        built, kept = session(path), session(MODELS / name / "1" / "model.onnx")
        shape = built.get_inputs()[0].shape[1:]
        image = np.random.default_rng(2).integers(0, 256, (1, *shape), dtype=np.uint8)
        feeds = {"IMAGE": image}
        if len(built.get_inputs()) > 1:
            feeds["STATISTICS"] = np.full((1, built.get_inputs()[1].shape[1]), 0.3, np.float32)
        difference = built.run(None, feeds)[0].astype(int) - kept.run(None, feeds)[0]
        assert np.abs(difference).max() <= 1


def test_the_script_writes_a_folder_that_can_be_read(tmp_path: Path) -> None:
    for name in ("nuclei-classical", "ihc-classical", "tissue"):
        (tmp_path / name).mkdir()
        for file in ("config.pbtxt", "model.toml"):
            (tmp_path / name / file).write_bytes((MODELS / name / file).read_bytes())
    subprocess.run([sys.executable, REPOSITORY / "scripts" / "build_models.py", tmp_path], check=True)
    from dicomsvc.ai.catalogue.reading import read_manifest

    for name in ("nuclei-classical", "ihc-classical", "tissue"):
        assert read_manifest(tmp_path / name)[0].name == name
