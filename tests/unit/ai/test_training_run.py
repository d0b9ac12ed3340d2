# ruff: noqa: E402 - torch is an extra; without it nothing of this can be imported
"""A run can be stopped and goes on; what it gives is a model folder like any other."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from dicomsvc.ai.catalogue.reading import read_manifest
from dicomsvc.ai.training.export import Shipped, onnx_bytes
from dicomsvc.ai.training.fitting import CURVE, Run
from dicomsvc.ai.training.networks.lite0_unet import Lite0UNet
from dicomsvc.ai.training.nuclei.losses import loss
from dicomsvc.ai.training.nuclei.targets import targets
from dicomsvc.ai.training.nuclei.task import NucleiTask
from dicomsvc.ai.training.tasks import read_task
from dicomsvc.cli import app
from dicomsvc.errors import BadRequest, InvalidModel
from tests.unit.ai.made_training import fluorescence, write

RECIPE = """
fluorescence = "fluorescence"
labelled = [{ folder = "fluorescence", validation_fold = 4 }]
side = 64
batch = 2
steps = 2
seed = 3
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    root = tmp_path_factory.mktemp("recipe")
    write(root / "fluorescence", [fluorescence(seed, 96) for seed in range(4)])
    (root / "recipe.toml").write_text(RECIPE)
    return root / "recipe.toml"


@pytest.fixture(scope="module")
def trained(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    Run(read_task(recipe), folder, workers=0).fit()
    return folder


def test_a_run_that_was_stopped_ends_as_one_that_was_not(recipe, trained, tmp_path):
    def stop(done, total, what):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Run(read_task(recipe), tmp_path, workers=0, tell=stop).fit()
    again = Run(read_task(recipe), tmp_path, workers=0)
    again.fit()
    assert again.progress.step == 2
    one, other = (torch.load(folder / "checkpoint.pt", weights_only=True)["network"] for folder in (trained, tmp_path))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_curve_has_a_line_a_look(trained):
    lines = [json.loads(line) for line in (trained / CURVE).read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert all(line["validation"] > 0 for line in lines)


def test_a_folder_with_another_run_is_refused(recipe, trained):
    other = NucleiTask(read_task(recipe).recipe.model_copy(update={"steps": 9}))
    with pytest.raises(BadRequest, match="another recipe"):
        Run(other, trained, workers=0).fit()


def test_the_loss_is_least_for_the_right_answer():
    wanted = torch.from_numpy(targets(fluorescence(1, 64).labels))[None]
    right = torch.logit(wanted[:, :-1].clamp(1e-4, 1 - 1e-4))
    assert loss(right, wanted) < 0.05 < loss(torch.zeros_like(right), wanted) < loss(-right, wanted)


def test_what_is_unknown_does_not_count():
    sample = fluorescence(1, 64)
    unknown = np.zeros((64, 64), bool)
    unknown[:32] = True
    wanted = torch.from_numpy(targets(sample.labels, unknown))[None]
    right = torch.logit(wanted[:, :-1].clamp(1e-4, 1 - 1e-4))
    wrong_there = torch.cat([-right[:, :, :32], right[:, :, 32:]], dim=2)
    assert torch.equal(loss(wrong_there, wanted), loss(right, wanted))


def test_an_export_that_answers_otherwise_is_refused(monkeypatch):
    monkeypatch.setattr("dicomsvc.ai.training.export.largest_difference", lambda *_: 2)
    with pytest.raises(InvalidModel, match="differ by 2"):
        onnx_bytes(Shipped(Lite0UNet(1), 1), ["MASK"], 32)


def test_the_commands_train_measure_and_note_the_figures(recipe, tmp_path):
    model, run = tmp_path / "nuclei-two", tmp_path / "run"
    longer = recipe.with_name("longer.toml")
    longer.write_text(recipe.read_text().replace("steps = 2", "steps = 200"))
    given = ["train", str(longer), str(run), "--model", str(model)]
    given += ["--minutes", "0.001", "--workers", "0", "--json"]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    assert 0 < json.loads(done.stdout)["steps"] < 200, "the clock ends a run"
    assert isinstance(CliRunner().invoke(app, given).exception, InvalidModel), "a model is never replaced"
    folder = recipe.parent / "fluorescence"
    given = ["evaluate", str(model), "--folder", str(folder), "--mpp", "0.5", "--note-as", "made", "--json"]
    for _ in range(2):
        done = CliRunner().invoke(app, given)
        assert done.exit_code == 0, done.output
    [manifest] = read_manifest(model)
    assert (manifest.name, manifest.input.mpp) == ("nuclei-two", 0.25)
    [figure] = manifest.accuracy
    assert (figure.dataset, figure.n) == ("made", 4)
    assert 0 <= figure.value <= 1 and np.isfinite(figure.value)
