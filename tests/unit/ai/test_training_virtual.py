# ruff: noqa: E402 - torch is an extra; without it nothing of this can be imported
"""A virtual stain is learned from aligned pictures, measured beside baselines, and becomes a model folder."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from dicomsvc.ai.catalogue.reading import read_manifest
from dicomsvc.ai.training.tasks import read_task
from dicomsvc.ai.training.virtual import cells, pictures
from dicomsvc.ai.training.virtual.blocks import read_blocks
from dicomsvc.ai.training.virtual.cells import Cells
from dicomsvc.ai.training.virtual.crops import turned
from dicomsvc.ai.training.virtual.losses import loss, similarity
from dicomsvc.cli import app
from dicomsvc.errors import BadRequest

RECIPE = """
task = "virtual-if"
side = 64
batch = 2
steps = 2
mpp = 1.0
nuclei = "dna"
blocks = 2
[[channel]]
name = "dna"
label = "DNA"
[[channel]]
name = "half"
label = "Right half"
[[pair]]
file = "he.png"
channels = { dna = "dna.png", half = "half.png" }
training = [0.0, 0.4]
validation = [0.4, 0.6]
test = [0.6, 1.0]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Nuclei on pink; one picture shows all of them, the other those of every second row."""
    root = tmp_path_factory.mktemp("pair")
    dna, half = np.zeros((320, 960), np.uint8), np.zeros((320, 960), np.uint8)
    for y in range(14, 310, 20):
        for x in range(12, 950, 18):
            cv2.circle(dna, (x, y), 5, 200, -1)
            cv2.circle(half, (x, y), 5, 150 if y % 40 == 14 else 10, -1)
    he = np.where(dna[..., None] > 0, np.uint8([90, 60, 150]), np.uint8([230, 160, 200]))
    for name, pixels in (("he", he), ("dna", dna), ("half", half)):
        Image.fromarray(pixels).save(root / f"{name}.png")
    (root / "recipe.toml").write_text(RECIPE)
    return root


def test_training_writes_a_model_with_figures_of_the_part_that_was_held_out(folder):
    model = folder / "stain"
    command = ["train", str(folder / "recipe.toml"), str(folder / "run"), "--model", str(model), "--workers", "0"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    [manifest] = read_manifest(model)
    assert [each.name for each in manifest.output.channels] == ["dna", "half"]
    assert manifest.objects == ("SM",)
    assert {figure.n for figure in manifest.accuracy} == {1}
    report = json.loads((folder / "stain.report.json").read_text())["channels"]
    baseline = report["dna"]["hematoxylin"]
    # What is dark is a nucleus here, so that the amount of hematoxylin is the picture of DNA.
    assert baseline["pearson"]["value"] > 0.97
    assert baseline["ssim"]["value"] > report["dna"]["mean"]["ssim"]["value"]
    assert report["dna"]["mean"]["pearson"] is None
    assert report["half"]["hematoxylin"]["cells"] == pytest.approx(15 * 21, rel=0.1)
    assert report["half"]["hematoxylin"]["positive"] == pytest.approx(8 / 15, abs=0.05)
    assert report["half"]["hematoxylin"]["cell_auc"]["value"] == pytest.approx(0.5, abs=0.1)


def test_blocks_are_of_their_part_only(folder):
    recipe = read_task(folder / "recipe.toml").recipe
    blocks = read_blocks(recipe, [recipe.pair[0].test], 9)
    assert [block.place[0] for block in blocks] == [576]
    assert blocks[0].image.shape == (320, 384, 3)
    assert blocks[0].stains.shape == (320, 384, 2)
    one = turned(blocks[0], np.random.default_rng(4))
    dark = one.image[:, :, 0] == 90
    assert np.array_equal(dark, one.stains[:, :, 0] == 200)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("[0.4, 0.6]", "[0.3, 0.6]", "must not share pixels"),
        ("[0.6, 1.0]", "[1.0, 0.6]", "the smaller first"),
        ('half = "half.png"', 'other = "half.png"', "a picture for each of dna, half"),
        ('nuclei = "dna"', 'nuclei = "no"', "which is no channel"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(folder, tmp_path, old, new, problem):
    (tmp_path / "recipe.toml").write_text(RECIPE.replace(old, new))
    with pytest.raises(BadRequest, match=problem):
        read_task(tmp_path / "recipe.toml")


def test_pictures_of_another_size_are_refused(folder, tmp_path):
    for name in ("he", "dna", "half"):
        Image.open(folder / f"{name}.png").resize((960, 300 if name == "half" else 320)).save(tmp_path / f"{name}.png")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    with pytest.raises(BadRequest, match="same pixel grid"):
        read_task(tmp_path / "recipe.toml").examples(0, 2)


def test_the_loss_is_least_where_the_stain_is_right():
    wanted = torch.rand(1, 2, 32, 32, generator=torch.Generator().manual_seed(1)) * 0.8 + 0.1
    right = torch.logit(wanted)
    assert loss(right, wanted, [4, 4]).item() == pytest.approx(0, abs=1e-4)
    assert loss(right + 0.5, wanted, [4, 4]) < loss(right + 1.0, wanted, [4, 4])
    assert loss(right + 0.5, wanted, [0, 0]) < loss(right + 0.5, wanted, [4, 4])
    assert similarity(wanted, wanted).min().item() == pytest.approx(1, abs=1e-3)


def test_measures_are_those_of_worked_examples():
    plane = np.random.default_rng(2).random((40, 50)).astype(np.float32)
    same, turned_over = pictures.likeness(plane, plane), pictures.likeness(1 - plane, plane)
    assert pictures.correlation([same]) == pytest.approx(1)
    assert pictures.correlation([turned_over]) == pytest.approx(-1)
    assert same.similarity == pytest.approx(1, abs=1e-4)
    assert turned_over.similarity < 0
    known = np.array([True, True, False, False])
    found = Cells(
        np.array([0.9, 0.8, 0.2, 0.1]), np.array([0.7, 0.3, 0.4, 0.1]), known, np.array([True, False, True, False])
    )
    assert cells.area_under_curve([found]) == pytest.approx(0.75)
    assert cells.agreement([found]) == pytest.approx(0)
    assert cells.agreement([Cells(found.true, found.true, known, known)]) == pytest.approx(1)


def test_touching_nuclei_are_cells_of_their_own():
    plane = np.zeros((60, 60), np.float32)
    for x in (20, 28):
        y, across = np.mgrid[:60, :60]
        plane = np.maximum(plane, np.exp(-((y - 30) ** 2 + (across - x) ** 2) / 12)).astype(np.float32)
    labels = cells.find_cells(plane, 0.3, 1.0)
    assert labels.max() == 2
    assert labels[30, 20] != labels[30, 28]
