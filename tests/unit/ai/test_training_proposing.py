"""Labels that a model proposes are those it is sure of; the rest is unknown, not background."""

import numpy as np
import pytest

from dicomsvc.ai.catalogue.manifest import OutputKind
from dicomsvc.ai.training import proposing
from dicomsvc.ai.training.labelled import read_folder
from dicomsvc.ai.training.proposing import Averaged, propose, read_slides
from dicomsvc.errors import BadRequest
from tests.unit.ai.made_models import made_manifest


class Darkness:
    """A model that takes what is dark for a nucleus; ``shy`` of those in the left half of a tile."""

    description = "darkness"

    def __init__(self, shy=False):
        self.shy = shy

    def infer(self, model, number, inputs, outputs):
        mask = 255 - inputs["IMAGE"][..., :1]
        if self.shy:
            mask[:, :, : mask.shape[2] // 2] = 0
        return {"MASK": mask}

    def load(self, model):
        pass

    def close(self):
        pass


@pytest.fixture
def picture():
    """Two dark discs, and one between dark and bright."""
    pixels = np.full((200, 200, 3), 250, np.uint8)
    rows, columns = np.ogrid[:200, :200]
    for row, column, value in ((50, 50, 10), (50, 150, 10), (150, 100, 120)):
        pixels[(rows - row) ** 2 + (columns - column) ** 2 <= 10**2] = value
    return pixels


def test_what_is_sure_gets_a_label_and_what_is_doubtful_is_unknown(picture):
    found = propose(picture, made_manifest(OutputKind.INSTANCES, min_probability=0.5), Darkness(), "made")
    assert len(np.unique(found.labels)) == 3 and found.labels[50, 50] != found.labels[50, 150]
    assert found.labels[150, 100] == 0 and found.unknown[150, 100]
    assert not found.unknown[100, 20] and not found.unknown[50, 50]


def test_turned_copies_are_turned_back_before_the_mean():
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    plain = Darkness().infer("m", 1, {"IMAGE": image}, ["MASK"])["MASK"] / 255
    assert np.allclose(Averaged(Darkness(), 8).infer("m", 1, {"IMAGE": image}, ["MASK"])["MASK"], plain, atol=1e-6)
    # One that never answers for the left half answers for each pixel in half of the turns.
    mean = Averaged(Darkness(shy=True), 8).infer("m", 1, {"IMAGE": image}, ["MASK"])["MASK"]
    assert np.allclose(mean, plain / 2, atol=1e-6)


def test_what_is_written_is_read_as_a_labelled_folder(picture, tmp_path, monkeypatch):
    manifest = made_manifest(OutputKind.INSTANCES, min_probability=0.5)
    monkeypatch.setattr(proposing, "read_manifest", lambda folder: [manifest])
    monkeypatch.setattr(proposing, "InProcessBackend", lambda folder: Darkness())
    monkeypatch.setattr(proposing, "regions", lambda slide, seed: [picture])
    (tmp_path / "recipe.toml").write_text('steps = 3\n[[slide]]\nfile = "slide.svs"\nmpp = 0.5\n')
    counts = proposing.propose_folder(tmp_path / "m", read_slides(tmp_path / "recipe.toml"), tmp_path / "out")
    assert counts == {"slide-0": 2}
    [sample] = read_folder(tmp_path / "out")
    assert sample.labels.max() == 2
    assert sample.unknown is not None and sample.unknown[150, 100] and not sample.unknown[50, 50]


def test_only_models_that_give_instances_can_propose(picture):
    with pytest.raises(BadRequest, match="no instances"):
        propose(picture, made_manifest(OutputKind.MAP), Darkness(), "made")


@pytest.mark.parametrize(("text", "why"), [("=", "no TOML"), ("steps = 1", "slide")])
def test_slides_of_a_wrong_recipe_are_refused(tmp_path, text, why):
    (tmp_path / "recipe.toml").write_text(text)
    with pytest.raises(BadRequest, match=why):
        read_slides(tmp_path / "recipe.toml")
