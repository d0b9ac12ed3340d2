# ruff: noqa: E402 - torch is an extra; without it nothing of this can be imported
"""Training on clicks: what a click is taught, and that a run ends in a model folder that answers clicks."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from dicomsvc.ai.catalogue.manifest import OutputKind
from dicomsvc.ai.catalogue.reading import read_manifest
from dicomsvc.ai.clicks.answering import Clicker
from dicomsvc.ai.clicks.ground import ground_of_picture
from dicomsvc.ai.inference import InProcessBackend
from dicomsvc.ai.training.fitting import Run
from dicomsvc.ai.training.nuclick.clicking import Aim, aimed, crop_at, drawn_click
from dicomsvc.ai.training.nuclick.losses import loss
from dicomsvc.ai.training.nuclick.measuring import by_watershed, measure
from dicomsvc.ai.training.nuclick.task import NuclickTask
from dicomsvc.ai.training.tasks import read_task
from tests.accuracy.made_tissue import make_tissue
from tests.unit.ai.made_training import Labelled, fluorescence, write

RECIPE = """
task = "nuclick"
fluorescence = "fluorescence"
labelled = [{ folder = "fluorescence", validation_fold = 4, weight = 2 }]
side = 64
batch = 2
steps = 2
seed = 3
"""


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    root = tmp_path_factory.mktemp("recipe")
    write(root / "fluorescence", [fluorescence(seed, 96) for seed in range(4)])
    (root / "recipe.toml").write_text(RECIPE)
    return read_task(root / "recipe.toml")


def test_a_click_is_taught_the_nucleus_under_it_and_no_other():
    sample = fluorescence(1)
    chance = np.random.default_rng(0)
    for _ in range(30):
        click = drawn_click(sample, 0.2, chance)
        pixels, maps, wanted = crop_at(sample, click, 64)
        assert pixels.shape == (64, 64, 3)
        assert maps[32, 32, 0] == 255
        x, y = click.place
        assert sample.labels[y, x] == click.number
        assert wanted.any() == wanted[32, 32] == (click.number > 0)
        if click.number:
            area = int((sample.labels == click.number).sum())
            assert wanted.sum() >= 0.5 * area
        for other in click.others.astype(int):
            assert sample.labels[other[1], other[0]] not in (0, click.number)


def test_clicks_are_where_they_are_aimed():
    sample = fluorescence(2)
    chance = np.random.default_rng(0)
    own = sample.labels == 5
    rows, columns = np.nonzero(own)
    middle = aimed(sample.labels, 5, Aim.CENTRE, chance)
    assert np.hypot(middle[0] - columns.mean(), middle[1] - rows.mean()) < 2.5
    for aim in Aim:
        x, y = aimed(sample.labels, 5, aim, chance)
        assert own[y, x]
    x, y = aimed(sample.labels, 5, Aim.EDGE, chance)
    assert not own[y - 2 : y + 3, x - 2 : x + 3].all()


def test_a_mirror_image_is_another_nucleus():
    labels = np.zeros((64, 64), np.int32)
    labels[20:30, 6:16] = 1
    sample = Labelled("edge", np.zeros((64, 64, 3), np.uint8), labels)
    chance = np.random.default_rng(0)
    _, _, wanted = crop_at(sample, drawn_click(sample, 0.0, chance), 96)
    assert wanted.sum() == 100


def test_clicks_of_a_recipe_are_always_the_same(task):
    one, other = task.examples(0, 6), task.examples(4, 2)
    for at in (4, 5):
        for mine, theirs in zip(one[at], other[at - 4], strict=True):
            assert torch.equal(mine, theirs)
    inputs, wanted = one[0]
    assert inputs.shape == (5, 64, 64) and inputs.dtype == torch.uint8
    assert wanted.shape == (1, 64, 64)
    assert len(task.validation()) % 8 == 0


def test_the_loss_is_least_for_the_right_answer_and_small_for_a_right_nothing():
    wanted = torch.zeros(2, 1, 16, 16)
    wanted[0, 0, 4:10, 4:10] = 1
    right, wrong = (wanted * 2 - 1) * 8, (1 - wanted * 2) * 8
    assert loss(right, wanted) < 0.02
    assert loss(wrong, wanted) > 5
    assert loss(right[1:], wanted[1:]) < 0.05
    assert loss(-right[:1], wanted[:1]) > loss(torch.full((1, 1, 16, 16), -8.0), wanted[:1]) > loss(right, wanted)


def test_a_run_ends_in_a_model_that_answers_clicks(task, tmp_path):
    assert isinstance(task, NuclickTask)
    best = Run(task, tmp_path / "run", workers=0).fit()
    task.write_model(task.load(best), tmp_path / "models" / "own-clicks")
    [manifest] = read_manifest(tmp_path / "models" / "own-clicks")
    assert (manifest.output.kind, manifest.input.tile_size) == (OutputKind.CLICKS, 64)
    picture = make_tissue(1, 120, 5).picture
    clicker = Clicker(manifest, InProcessBackend(tmp_path / "models"), ground_of_picture(picture, 0.5, manifest))
    answers = clicker.answer(np.array([[60.0, 60.0], [3.0, 3.0]]))
    assert len(answers.nothing) == 2


def test_the_watershed_that_models_are_compared_with_finds_dark_nuclei():
    made = make_tissue(3, 256, 16)
    sample = Labelled("made", made.picture, made.labels.astype(np.int32))
    figures = measure(by_watershed(0.25), [sample], 0.25, Aim.CENTRE, told=True)
    assert figures.nuclei > 10
    assert figures.dice.value > 0.7
    lost = measure(lambda sample, points, told: [None] * len(points), [sample], 0.25, Aim.CENTRE, told=True)
    assert (lost.dice.value, lost.hits.value, lost.unanswered) == (0, 0, 1)
