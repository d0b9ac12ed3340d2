"""Crops to train on: what is cut out, rendered and asked for."""

import numpy as np
import pytest
from PIL import Image

from dicomsvc.ai.training import backdrop
from dicomsvc.ai.training.augmentation import crop, photographed, restained
from dicomsvc.ai.training.bank import DIAMETER, make_bank
from dicomsvc.ai.training.labelled import Labelled, fold_of, read_folder, resized
from dicomsvc.ai.training.nuclei.targets import targets
from dicomsvc.ai.training.recipe import Slide
from dicomsvc.ai.training.rendering import Renderer
from dicomsvc.ai.training.tasks import read_task
from dicomsvc.ai.training.unlabelled import regions
from dicomsvc.errors import BadRequest
from tests.unit.ai.made_training import CMU, fluorescence, write


def disc(labels, row, column, radius, number):
    rows, columns = np.ogrid[: labels.shape[0], : labels.shape[1]]
    labels[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = number


@pytest.fixture(scope="module")
def bank():
    return make_bank([fluorescence(seed) for seed in range(4)])


def test_the_bank_has_whole_round_nuclei_of_one_size(bank):
    assert len(bank) > 10
    for number in range(len(bank)):
        nucleus = bank.nucleus(number)
        assert nucleus.mask.sum() == pytest.approx(np.pi * DIAMETER**2 / 4, rel=0.1)
        assert nucleus.texture[nucleus.mask > 0.5].mean() == pytest.approx(1, abs=0.1)


def test_the_bank_leaves_out_what_is_cut_small_or_two():
    labels = np.zeros((120, 120), np.int32)
    disc(labels, 0, 60, 12, 1)
    disc(labels, 60, 20, 3, 2)
    disc(labels, 90, 50, 9, 3)
    disc(labels, 90, 80, 9, 3)
    pixels = np.repeat((20 + 100 * (labels > 0))[..., None], 3, 2).astype(np.uint8)
    assert len(make_bank([Labelled("made", pixels, labels)])) == 0


def test_a_rendered_crop_is_the_same_each_time_and_another_for_another_number(bank):
    renderer = Renderer(bank, [], 96)
    one, again, other = (renderer.render(np.random.default_rng((7, number))) for number in (1, 1, 2))
    assert np.array_equal(one.pixels, again.pixels) and np.array_equal(one.labels, again.labels)
    assert not np.array_equal(one.pixels, other.pixels)


def test_rendered_nuclei_are_darker_than_what_is_around_them(bank):
    renderer = Renderer(bank, [], 96)
    darker = []
    for number in range(12):
        made = renderer.render(np.random.default_rng((3, number)))
        inside = made.labels > 0
        assert made.pixels.shape == (96, 96, 3) and inside.any()
        darker.append(made.pixels[~inside].mean() - made.pixels[inside].mean())
    assert min(darker) > -10
    assert np.median(darker) > 20


def test_a_backdrop_of_a_slide_has_no_nuclei_left():
    chance = np.random.default_rng(0)
    pixels = np.full((200, 200, 3), (235, 170, 200), np.uint8)
    labels = np.zeros((200, 200), np.int32)
    for number, (row, column) in enumerate(chance.integers(15, 185, (25, 2)), 1):
        disc(labels, row, column, 6, number)
    pixels[labels > 0] = (80, 50, 120)
    found = backdrop.of_picture(pixels)
    there, elsewhere = found.hematoxylin[labels > 0].mean(), found.hematoxylin[labels == 0].mean()
    assert there < elsewhere + 0.05


def test_regions_of_a_slide_have_tissue_and_the_networks_resolution():
    found = list(regions(Slide(file=CMU, mpp=0.25, regions=2), seed=0))
    assert [region.shape for region in found] == [(768, 768, 3)] * 2
    assert all((np.ptp(region, axis=2) > 20).mean() > 0.2 for region in found)


def test_two_that_touch_have_a_peak_each():
    labels = np.zeros((40, 60), np.int32)
    disc(labels, 20, 20, 9, 1)
    disc(labels, 20, 38, 9, 2)
    mask, distance, centre, boundary, known = targets(labels)
    assert np.array_equal(mask > 0, labels > 0)
    assert distance[20, 20] == distance[20, 38] == 1
    assert distance[20, 29] < 0.1
    assert centre[20, 20] > 0.99 and centre[20, 38] > 0.99 and centre[20, 29] < 0.2
    assert boundary[20, 29] == 1 and boundary[20, 20] == boundary[5, 5] == 0
    assert known.all()


def test_no_thing_is_no_answer():
    found = targets(np.zeros((16, 16), np.int32))
    assert not found[:-1].any() and found[-1].all()


def test_a_crop_scales_things_to_the_size_asked_for_and_every_thing_is_in_one_piece():
    sample = fluorescence(1)
    for seed in range(6):
        cut = crop(sample, 128, np.random.default_rng(seed), (9.99, 10.01))
        whole = targets(cut.labels)
        assert cut.labels.shape == (128, 128)
        assert cut.diameter() == pytest.approx(10, rel=0.35)
        # A centre away from its thing would be one of a thing in two places.
        assert not ((whole[2] > 0.9) & (whole[0] == 0)).any()


def test_changes_of_colour_keep_size_and_labels():
    chance = np.random.default_rng(0)
    sample = fluorescence(2)
    changed = restained(sample, chance)
    assert np.array_equal(changed.labels, sample.labels)
    assert photographed(changed.pixels, chance).shape == sample.pixels.shape


def test_folds_are_apart_and_stay(tmp_path):
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    for number in range(20):
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "images" / f"p{number}.png")
        Image.fromarray(np.full((4, 4), 300, np.uint16)).save(tmp_path / "labels" / f"p{number}.png")
    names = [[sample.name for sample in read_folder(tmp_path, folds=[fold])] for fold in range(5)]
    assert sorted(name for fold in names for name in fold) == sorted(f"p{number}" for number in range(20))
    assert fold_of("p1") == 1
    assert next(iter(read_folder(tmp_path))).labels.max() == 1


def test_labels_that_do_not_fit_or_cannot_be_read_are_refused(tmp_path):
    write(tmp_path, [fluorescence(0)])
    labels = tmp_path / "labels" / "made0.png"
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(labels)
    with pytest.raises(BadRequest, match="4"):
        list(read_folder(tmp_path))
    labels.write_bytes(b"no picture")
    with pytest.raises(BadRequest, match="cannot be read"):
        list(read_folder(tmp_path))
    with pytest.raises(BadRequest, match="has no images"):
        list(read_folder(tmp_path / "nowhere"))


def test_resizing_keeps_numbers():
    sample = fluorescence(1)
    assert set(np.unique(resized(sample, 0.5).labels)) <= set(np.unique(sample.labels))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("fluorescence = 1", "fluorescence"),
        ('fluorescence = "a"\nlabelled = [{ folder = "b" }]\nsteps = 0', "steps"),
        ('fluorescence = "a"\nlabelled = [{ folder = "b", fold = 1 }]', "fold"),
        ("=", "no TOML"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_reason(tmp_path, text, why):
    (tmp_path / "recipe.toml").write_text(text)
    with pytest.raises(BadRequest, match=why):
        read_task(tmp_path / "recipe.toml")
