"""``dicomsvc infer``: plain pictures through a shipped model, on a real Triton and in process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dicomsvc.ai.triton.runtime import find_runtime
from dicomsvc.config import TritonSettings
from dicomsvc.errors import ConfigurationError
from tests.accuracy.made_tissue import make_tissue


def infer(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "dicomsvc", "infer", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two pictures of nuclei, a white one, and a file that is no picture."""
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(2):
        Image.fromarray(make_tissue(seed, 300, 25).picture).save(folder / f"tissue{seed}.png")
    Image.fromarray(np.full((200, 150, 3), 255, np.uint8)).save(folder / "white.jpg")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    return folder


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_one_line_an_image_in_their_order_and_a_bad_one_stops_nobody(pictures):
    names = ["tissue1.png", "broken.png", "white.jpg", "tissue0.png", "missing.png"]
    ended = infer(pictures, "nuclei", *names, "--mpp", "0.25", "--out", "out.jsonl", "--in-process", "--json")
    assert ended.returncode == 1
    assert [failure["image"] for failure in json.loads(ended.stdout)["failed"]] == ["broken.png", "missing.png"]
    assert "broken.png: cannot be read as a picture" in ended.stderr
    assert "Traceback" not in ended.stderr
    found = lines(pictures / "out.jsonl")
    assert [line["image"] for line in found] == ["tissue1.png", "white.jpg", "tissue0.png"]
    assert [len(line["instances"]) > 15 for line in found] == [True, False, True]
    assert found[1]["instances"] == []
    first = found[0]
    assert (first["width"], first["height"], first["mpp"], first["model"]) == (300, 300, 0.25, "nuclei")
    assert first["backend"].startswith("ONNX Runtime")
    assert len(first["weights_sha256"]) == 64
    instance = first["instances"][0]
    assert set(instance) == {"centroid", "contour", "class", "probability", "measurements"}
    assert instance["class"] == "Nucleus"
    assert {"area_um2", "eccentricity", "mean_hematoxylin_od"} <= set(instance["measurements"])
    assert not (pictures / "data").exists()


def test_a_segmentation_tells_areas_and_draws_them(pictures):
    half = np.full((400, 400, 3), 255, np.uint8)
    half[:, :200] = (190, 90, 160)
    Image.fromarray(half).save(pictures / "half.png")
    ended = infer(pictures, "tissue:1", "half.png", "--mpp", "8", "--out", "-", "--pictures", "maps", "--in-process")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["areas"]["Tissue"] == pytest.approx(0.5, abs=0.02)
    drawn = np.asarray(Image.open(pictures / "maps" / "half.png"))
    assert drawn.shape == (400, 400)
    assert (drawn[:, :190] == 1).all()
    assert (drawn[:, 210:] == 0).all()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("nothing", "tissue0.png", "--mpp", "0.25", "--out", "x"), 1, "there is no model nothing"),
        (("nuclei:9", "tissue0.png", "--mpp", "0.25", "--out", "x"), 1, "no version 9"),
        (("nuclei", "tissue0.png", "--mpp", "2", "--out", "x", "--in-process"), 1, "takes up to 0.55"),
        (("nuclei", "tissue0.png", "--out", "x"), 2, "--mpp"),
        (("nuclei", "tissue0.png", "--mpp", "0.25", "--out", "-", "--json"), 2, "standard output"),
        (("nuclei", "tissue0.png", "--mpp", "0.25", "--out", "none/x", "--in-process"), 1, "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_said(pictures, arguments, status, message):
    ended = infer(pictures, *arguments)
    assert ended.returncode == status
    assert message in " ".join(ended.stderr.split())
    assert "Traceback" not in ended.stderr


def test_a_triton_of_its_own_gives_what_the_same_model_gives_in_process(pictures):
    try:
        find_runtime(TritonSettings())
    except ConfigurationError as error:
        pytest.skip(str(error))
    for extra, name in (((), "triton.jsonl"), (("--in-process",), "inside.jsonl")):
        ended = infer(pictures, "nuclei", "tissue0.png", "--mpp", "0.25", "--out", name, *extra)
        assert ended.returncode == 0, ended.stderr
    (there,), (here,) = lines(pictures / "triton.jsonl"), lines(pictures / "inside.jsonl")
    assert there["backend"].startswith("Triton ")
    assert there["instances"] == here["instances"]
    assert not (pictures / "data").exists()
