# ruff: noqa: E402 - torch is an extra; without it nothing of this can be imported
"""Networks for classes of pixels, HoVer-Net and W-Net: what they are to answer, their losses, their models."""

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from dicomsvc.ai.catalogue.manifest import OutputKind
from dicomsvc.ai.catalogue.reading import read_manifest
from dicomsvc.ai.decoding.splitting import split
from dicomsvc.ai.training.fitting import Run
from dicomsvc.ai.training.hover.slopes import Energy
from dicomsvc.ai.training.hover.targets import distances
from dicomsvc.ai.training.hover.targets import targets as hover_targets
from dicomsvc.ai.training.segmentation.losses import loss as pixel_loss
from dicomsvc.ai.training.tasks import read_task
from dicomsvc.ai.training.wnet.targets import density
from dicomsvc.ai.training.wnet.targets import targets as wnet_targets
from dicomsvc.errors import BadRequest
from tests.unit.ai.made_training import fluorescence, write

CLASSES = """
[[class]]
label = "Round"
[[class]]
label = "Other"
"""
SCHEDULE = """
side = 64
batch = 2
steps = 2
looks = 1
mpp = 0.5
title = "Made"
summary = "Made for a test."
encoder = "plain"
labelled = [{ folder = "data", validation_fold = 4 }]
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder whose things are of two types by the side of the picture they lie on."""
    root = tmp_path_factory.mktemp("pixels")
    samples = [fluorescence(seed, 96) for seed in range(4)]
    write(root / "data", samples)
    (root / "data" / "classes").mkdir()
    for sample in samples:
        types = np.where(sample.labels > 0, 1 + (np.indices(sample.labels.shape)[1] >= 48), 0).astype(np.uint8)
        types[:8] = 255
        Image.fromarray(types).save(root / "data" / "classes" / f"{sample.name}.png")
    return root


def _task(root, text):
    file = root / "recipe.toml"
    file.write_text(text)
    return read_task(file)


def _trained(task, folder):
    best = Run(task, folder / "run", workers=0).fit()
    task.write_model(task.load(best), folder / "made")
    [manifest] = read_manifest(folder / "made")
    return manifest


@pytest.mark.parametrize("decoder", ["unet", "linknet"])
def test_a_segmentation_becomes_a_model_of_its_classes(data, tmp_path, decoder):
    task = _task(data, f'task = "segmentation"\ndecoder = "{decoder}"\n{SCHEDULE}{CLASSES}')
    manifest = _trained(task, tmp_path)
    assert manifest.output.kind is OutputKind.SEGMENTATION
    assert [each.label for each in manifest.classes] == ["Round", "Other"]


def test_crops_have_the_classes_of_their_pixels_and_unknown_outside_of_the_picture(data):
    task = _task(data, f'task = "segmentation"\nevenness = 1.0\n{SCHEDULE}{CLASSES}')
    crops = task.examples(0, 40)
    values = {int(value) for number in range(40) for value in crops[number][1].unique()}
    assert values == {0, 1, 2, 255}
    assert all(torch.equal(one, two) for one, two in zip(crops[3], task.examples(3, 1)[0], strict=True))


def test_labels_of_instances_are_one_class_and_a_strange_number_is_refused(data):
    one = '[[class]]\nlabel = "Thing"\n'
    task = _task(data, f'task = "segmentation"\nlabels = "instances"\n{SCHEDULE}{one}')
    assert {int(value) for value in task.examples(0, 1)[0][1].unique()} <= {0, 1, 255}
    with pytest.raises(BadRequest, match="there are 1 classes"):
        _task(data, f'task = "segmentation"\n{SCHEDULE}{one}').examples(0, 1)
    with pytest.raises(BadRequest, match="tell no classes apart"):
        _task(data, f'task = "segmentation"\nlabels = "instances"\n{SCHEDULE}{CLASSES}')


@pytest.mark.parametrize("names", [("cross_entropy",), ("dice",), ("focal",), ("cross_entropy", "dice")])
@pytest.mark.parametrize("weights", [(), (1.0, 5.0, 2.0)])
def test_a_loss_is_least_for_the_right_answer_and_leaves_out_what_is_unknown(names, weights):
    torch.manual_seed(0)
    wanted = torch.randint(0, 3, (2, 16, 16)).to(torch.uint8)
    wanted[:, :4] = 255
    right = 8 * torch.nn.functional.one_hot(wanted.long().clamp(max=2), 3).permute(0, 3, 1, 2).float()
    best = pixel_loss(right, wanted, names, weights)
    assert best < 0.02 < pixel_loss(torch.zeros_like(right), wanted, names, weights)
    elsewhere = right.clone()
    elsewhere[:, :, :4] = torch.randn(2, 3, 4, 16) * 9
    assert torch.allclose(pixel_loss(elsewhere, wanted, names, weights), best)
    unknown = torch.full_like(wanted, 255)
    assert torch.isfinite(pixel_loss(right, unknown, names, weights))


def test_distances_reach_both_ends_of_a_thing():
    labels = np.zeros((20, 30), np.int32)
    labels[4:14, 3:24] = 1
    horizontal, vertical = distances(labels)
    assert horizontal[8, 3] == vertical[4, 9] == -1
    assert horizontal[8, 23] == vertical[13, 9] == 1
    assert horizontal[8, 13] == 0
    assert not horizontal[labels == 0].any()


def test_two_things_that_touch_are_split_by_hovernets_energy():
    labels = np.zeros((64, 64), np.int32)
    rows, columns = np.indices(labels.shape)
    for number, middle in enumerate((22, 41), 1):
        labels[((rows - 32) ** 2 + (columns - middle) ** 2 <= 100) & (labels == 0)] = number
    wanted = torch.from_numpy(hover_targets(labels, (labels > 0).astype(np.uint8), np.ones_like(labels, bool)))
    energy = Energy()(wanted[None, 1:3])[0].numpy()
    found = split(energy, labels > 0, 0.25)
    assert found.max() == 2
    inside = [np.bincount(found[labels == number]).argmax() for number in (1, 2)]
    assert inside[0] != inside[1]
    assert all((found[labels == number] == inside[number - 1]).mean() > 0.9 for number in (1, 2))


@pytest.mark.parametrize("typed", [False, True])
def test_a_hovernet_becomes_a_model_of_instances_with_types_where_there_are_some(data, tmp_path, typed):
    classes = CLASSES if typed else '[[class]]\nlabel = "Nucleus"\n'
    task = _task(data, f'task = "hover"\n{SCHEDULE}{classes}')
    image, wanted = task.examples(0, 8)[0]
    right = torch.cat([20 * (wanted[:1] - 0.5), wanted[1:3]])
    if typed:
        right = torch.cat([right, *(20.0 * (wanted[3:4] == kind) for kind in range(3))])
    assert task.loss(right[None], wanted[None]) < 0.05 < task.loss(torch.zeros_like(right)[None], wanted[None])
    manifest = _trained(task, tmp_path)
    assert manifest.output.kind is OutputKind.INSTANCES
    assert ("class" in manifest.output.tensors) == typed
    assert image.shape == (3, 64, 64)


def test_a_density_mask_is_highest_in_the_middle_and_ends_at_its_reach():
    away = np.arange(8, dtype=np.float32)
    heights = density(away, 6.0, 3.0)
    assert heights[0] == 1
    assert heights[6] == heights[7] == 0
    assert (np.diff(heights[:7]) < 0).all()


def test_dots_have_the_papers_radius_and_unknown_pixels_no_weight(data):
    text = 'task = "wnet"\nfluorescence = "data"\nlabelled = [{ folder = "data" }]\nside = 64\n'
    recipe = _task(data, f'{text}centres = "dots"').recipe
    labels = np.zeros((32, 32), np.int32)
    labels[10:21, 8:19] = 4
    unknown = np.zeros(labels.shape, bool)
    unknown[:5] = True
    mask, dots, known = wnet_targets(labels, recipe, unknown)
    assert mask.sum() == 121
    assert dots.sum() == 13, "a disk of radius 2"
    assert dots[15, 13] == 1
    assert not known[:5].any()
    soft = wnet_targets(labels, _task(data, text).recipe)[1]
    assert soft.argmax() == dots.shape[1] * 15 + 13


def test_a_wnet_trains_and_becomes_a_model_of_instances(data, tmp_path):
    text = 'task = "wnet"\nfluorescence = "data"\nlabelled = [{ folder = "data", validation_fold = 4 }]\n'
    manifest = _trained(_task(data, f"{text}side = 64\nbatch = 2\nsteps = 1\nlooks = 1\n"), tmp_path)
    assert dict(manifest.output.tensors) == {"mask": "MASK", "distance": "DENSITY", "centre": "DENSITY"}
