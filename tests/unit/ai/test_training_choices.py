# ruff: noqa: E402 - torch is an extra; without it nothing of this can be imported
"""How a run goes: where, how fast it learns, on which examples, and what it tells on the way."""

import json
import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
from torch import nn
from torch.utils.data import TensorDataset

from dicomsvc.ai.training import schedules
from dicomsvc.ai.training.curve import draw_curve
from dicomsvc.ai.training.devices import choose
from dicomsvc.ai.training.fitting import PICTURE, Run
from dicomsvc.ai.training.networks.classifiers import classifier
from dicomsvc.ai.training.recipe import Schedule
from dicomsvc.ai.training.sampling import Balanced
from dicomsvc.ai.training.task import Task
from dicomsvc.errors import BadRequest


class _Line(Task):
    """Learns a straight line; what is validated never gets better."""

    name = "line"
    recipe_type = Schedule

    def network(self):
        torch.manual_seed(0)
        return nn.Conv2d(1, 1, 1)

    def examples(self, first, length):
        values = torch.linspace(-1, 1, length + first)[first:].view(-1, 1, 1, 1)
        return TensorDataset(values, 2 * values)

    def validation(self):
        return [(torch.zeros(1, 1, 1), torch.full((1, 1, 1), torch.nan))]

    def loss(self, answer, wanted):
        return (answer - wanted).square().mean()

    def write_model(self, network, folder):
        raise NotImplementedError


def _run(folder, **changes):
    recipe = Schedule(**{"steps": 40, "batch": 4, "learning_rate": 0.05, "patience": 30, **changes})
    return Run(_Line(recipe), folder, workers=0)


@pytest.mark.parametrize("name", ["cosine", "step", "plateau"])
def test_a_schedule_warms_up_and_ends_low(name):
    rates = [schedules.share(name, done / 100, 4) for done in range(100)]
    assert rates[0] < max(rates) / 10
    assert rates[-1] <= 0.05
    assert all(one >= two for one, two in pairwise(rates[6:]))


def test_the_step_schedule_falls_tenfold_twice():
    assert [round(schedules.share("step", done, 0), 6) for done in (0.5, 0.7, 0.9)] == [1.0, 0.1, 0.01]


def test_a_plateau_lowers_the_rate_after_looks_without_gain_and_a_resumed_run_knows(tmp_path):
    run = _run(tmp_path, schedule="plateau", looks=8)
    run.fit()
    assert run.progress.drops == run.progress.without_gain // schedules.LOOKS_TO_DROP >= 3
    again = _run(tmp_path, schedule="plateau", looks=8)
    again.fit()
    assert again.progress.drops == run.progress.drops


def test_a_run_that_brings_no_gain_ends_early(tmp_path):
    run = _run(tmp_path, patience=3, looks=8)
    run.fit()
    assert run.progress.step <= 16 < 40


def test_a_run_tells_how_long_it_still_takes_and_draws_its_curve(tmp_path):
    told = []
    run = _run(tmp_path)
    run.tell = lambda done, total, what: told.append(what)
    run.fit()
    assert all(re.fullmatch(r"loss \d+\.\d{3}, \d+ (s|min) left", each) for each in told[:-1])
    assert told[-1].endswith(", 0 s left")
    with Image.open(tmp_path / PICTURE) as picture:
        colours = {colour for _, colour in picture.getcolors(1 << 20)}
    assert (31, 119, 180) in colours, "the loss of training is a line in the picture"


def test_a_curve_without_looks_or_with_one_is_drawn(tmp_path):
    lines, picture = tmp_path / "curve.jsonl", tmp_path / "curve.png"
    for looks in ([], [{"step": 3, "seconds": 1, "loss": 0.4, "validation": 0.5}]):
        lines.write_text("".join(json.dumps(look) + "\n" for look in looks))
        draw_curve(lines, picture)
        with Image.open(picture) as image:
            assert image.size == (900, 480)


def test_mixed_precision_learns_the_same_line(tmp_path):
    run = _run(tmp_path)
    run.mixed = True
    run.fit()
    assert run.place.half is torch.bfloat16
    weights = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["network"]
    assert all(value.dtype is torch.float32 for value in weights.values())
    plain = _run(tmp_path / "plain")
    plain.fit()
    other = torch.load(tmp_path / "plain" / "checkpoint.pt", weights_only=True)["network"]
    assert torch.allclose(weights["weight"], other["weight"], atol=0.05)


def test_a_device_that_is_not_there_is_refused_and_the_processor_is_found():
    assert choose("cpu").device.type == "cpu"
    assert choose("cpu").half is None
    for name in ("cuda:77", "abacus"):
        with pytest.raises(BadRequest, match=name):
            choose(name)


def test_weights_that_others_trained_begin_a_network_by_its_encoder(tmp_path):
    there = classifier("resnet18", 2, pretrained=False)
    torch.save({**there.encoder.state_dict(), "fc.weight": torch.zeros(1000, 512)}, tmp_path / "others.pt")
    from dicomsvc.ai.training.fitting import _begin_with

    network = classifier("resnet18", 2, pretrained=False)
    _begin_with(network, tmp_path / "others.pt")
    assert torch.equal(network.encoder.layer1[0].conv1.weight, there.encoder.layer1[0].conv1.weight)
    with pytest.raises(BadRequest, match="no weights that fit"):
        _begin_with(nn.Linear(3, 3), tmp_path / "others.pt")
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(BadRequest, match="no file of weights"):
        _begin_with(network, tmp_path / "text.pt")


def test_balanced_drawing_shows_rare_classes_as_often_and_is_the_same_for_a_seed():
    classes = ["common"] * 990 + ["rare"] * 10
    even = Balanced.of(classes)
    drawn = Counter(classes[even.draw(np.random.default_rng(seed))] for seed in range(400))
    assert 140 < drawn["rare"] < 260
    as_they_are = Balanced.of(classes, 0)
    assert sum(classes[as_they_are.draw(np.random.default_rng(seed))] == "rare" for seed in range(400)) < 20
    assert even.draw(np.random.default_rng(7)) == even.draw(np.random.default_rng(7))
