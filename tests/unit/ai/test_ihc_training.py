"""Rendered immunohistochemistry: its truth is right, its fields are of every kind, and the task makes a model of it."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from dicomsvc.ai.catalogue.reading import read_manifest  # noqa: E402
from dicomsvc.ai.training.augmentation import crop  # noqa: E402
from dicomsvc.ai.training.bank import make_bank  # noqa: E402
from dicomsvc.ai.training.fitting import Run  # noqa: E402
from dicomsvc.ai.training.ihc.crops import Fields  # noqa: E402
from dicomsvc.ai.training.ihc.layout import Layouts, of_picture  # noqa: E402
from dicomsvc.ai.training.ihc.photograph import dye_colours  # noqa: E402
from dicomsvc.ai.training.ihc.targets import CHANNELS, targets  # noqa: E402
from dicomsvc.ai.training.tasks import read_task  # noqa: E402
from dicomsvc.errors import BadRequest  # noqa: E402
from tests.unit.ai.made_training import fluorescence, write  # noqa: E402

RECIPE = """\
task = "ihc"
fluorescence = "fluorescence"
side = 64
batch = 2
steps = 2
validation = 0
"""


@pytest.fixture(scope="module")
def fields() -> Fields:
    return Fields(Layouts(make_bank([fluorescence(1), fluorescence(2)]), (), 128), (), 1.0, (8, 18), seed=5)


def test_a_field_is_the_same_whenever_it_is_rendered(fields: Fields) -> None:
    one, again, other = fields.field(3), fields.field(3), fields.field(4)
    assert (one.pixels == again.pixels).all()
    assert (one.dyes.positive == again.dyes.positive).all()
    assert (one.pixels != other.pixels).any()


def test_shares_of_positive_nuclei_go_from_none_to_all(fields: Fields) -> None:
    shares = [fields.field(number).percent_positive for number in range(48)]
    known = np.array([share for share in shares if np.isfinite(share)])
    assert (known == 0).sum() >= 3
    assert (known == 100).sum() >= 3
    assert ((known > 5) & (known < 95)).sum() > 12


def test_positive_nuclei_have_more_marker_than_the_haze_and_than_negative_ones(fields: Fields) -> None:
    for number in range(20):
        field = fields.field(number)
        labels, marker = field.layout.labels, field.dyes.marker
        positive = field.dyes.positive[labels] & (labels > 0)
        if positive.sum() > 100 and ((labels > 0) & ~positive).sum() > 100:
            assert marker[positive].mean() > marker[(labels > 0) & ~positive].mean() + 0.05


def test_targets_hold_what_was_rendered(fields: Fields) -> None:
    for number in range(5):
        field = fields.field(number)
        found = dict(zip(CHANNELS, targets(field.layout, field.dyes), strict=True))
        assert all(plane.min() >= 0 and plane.max() <= 1 for plane in found.values())
        assert (found["MASK"] == (field.layout.labels > 0)).all()
        assert found["MARKER"] == pytest.approx(np.minimum(field.dyes.marker / 2, 1))
        assert (found["POSITIVE"] <= found["MASK"]).all()
        assert (found["BOUNDARY"][found["MASK"] == 0].sum()) <= found["BOUNDARY"].sum()


def test_a_picture_without_nuclei_has_a_layout() -> None:
    sample = fluorescence(1)
    empty = crop(sample, 64, np.random.default_rng(0), (8, 18))
    blank = type(empty)("blank", empty.pixels, np.zeros_like(empty.labels))
    layout = of_picture(blank, np.random.default_rng(1))
    assert np.isfinite(layout.chromatin).all()
    assert np.isfinite(layout.tissue).all()


def test_dyes_can_be_told_apart() -> None:
    chance = np.random.default_rng(2)
    for _ in range(200):
        hematoxylin, chromogen = dye_colours(chance)
        assert np.degrees(np.arccos(hematoxylin @ chromogen)) > 24


def test_a_recipe_becomes_a_model_folder(tmp_path: Path) -> None:
    write(tmp_path / "fluorescence", [fluorescence(seed) for seed in range(4)])
    (tmp_path / "recipe.toml").write_text(RECIPE)
    task = read_task(tmp_path / "recipe.toml")
    best = Run(task, tmp_path / "run", workers=0).fit()
    task.write_model(task.load(best), tmp_path / "ihc-own")
    manifest = read_manifest(tmp_path / "ihc-own")[0]
    assert [each.tensor for each in manifest.output.channels] == ["HEMATOXYLIN", "MARKER", "DAPI", "LAP2"]
    assert [each.label for each in manifest.classes] == ["Negative nucleus", "Positive nucleus"]


def test_fluorescence_without_a_whole_nucleus_is_refused(tmp_path: Path) -> None:
    sample = fluorescence(1)
    write(tmp_path / "fluorescence", [type(sample)("none", sample.pixels, np.zeros_like(sample.labels))])
    (tmp_path / "recipe.toml").write_text(RECIPE)
    with pytest.raises(BadRequest, match="no nucleus"):
        read_task(tmp_path / "recipe.toml").examples(0, 1)
