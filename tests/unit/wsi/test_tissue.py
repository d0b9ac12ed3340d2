"""Finding tissue."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dicomsvc.wsi.plan import Rectangle, make_plan
from dicomsvc.wsi.slide import Slide
from dicomsvc.wsi.tissue import TissueMask, detect_tissue
from dicomsvc.wsi.tissue_rules import find_tissue, otsu
from tests.unit.wsi.made_slides import made_image, made_slide

MPP = 8.0
PINK, PURPLE, GLASS = (222, 160, 200), (130, 80, 150), (242, 240, 243)


def glass(rows: int = 300, columns: int = 400, seed: int = 0) -> npt.NDArray[np.uint8]:
    noise = np.random.default_rng(seed).normal(0, 2, (rows, columns, 3))
    return np.clip(np.array(GLASS) + noise, 0, 255).astype(np.uint8)


def with_tissue(picture: npt.NDArray[np.uint8], seed: int = 0) -> npt.NDArray[np.bool_]:
    """Draw an ellipse of eosin with dots of hematoxylin; return where it is."""
    rows, columns = picture.shape[:2]
    y, x = np.mgrid[:rows, :columns]
    place = ((x - columns / 2) / (columns / 4)) ** 2 + ((y - rows / 2) / (rows / 4)) ** 2 < 1
    picture[place] = PINK
    picture[place & (np.random.default_rng(seed).random(place.shape) < 0.3)] = PURPLE
    return place


def iou(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize("mpp", [2.0, 4.0, 8.0, 16.0])
def test_stained_tissue_is_found_where_it_is(mpp: float) -> None:
    picture = glass()
    place = with_tissue(picture)
    found = find_tissue(picture, mpp)
    assert iou(found.mask, place) > 0.9 and not found.dark


@pytest.mark.parametrize("colour", [(255, 255, 255), GLASS, (200, 200, 200), (0, 0, 0), (20, 20, 20)])
def test_a_slide_of_one_colour_has_no_tissue(colour: tuple[int, int, int]) -> None:
    assert not find_tissue(np.full((200, 300, 3), colour, np.uint8), MPP).mask.any()


def test_a_glass_with_noise_dust_and_a_shadow_has_no_tissue() -> None:
    picture = glass()
    random = np.random.default_rng(5)
    for x, y in random.integers(0, 290, (40, 2)):
        picture[y : y + 3, x : x + 3] = 90
    picture[:, 350:360] -= 25
    assert not find_tissue(picture, MPP).mask.any()


def test_a_slide_full_of_tissue_is_all_tissue() -> None:
    picture = np.full((200, 200, 3), PINK, np.uint8)
    picture[np.random.default_rng(0).random((200, 200)) < 0.3] = PURPLE
    assert find_tissue(picture, MPP).mask.mean() > 0.99


def test_pale_tissue_beside_dark_is_not_lost() -> None:
    picture = glass()
    picture[50:150, 50:150] = (225, 205, 220)
    picture[180:280, 250:350] = (90, 40, 110)
    mask = find_tissue(picture, MPP).mask
    assert mask[60:140, 60:140].mean() > 0.95 and mask[190:270, 260:340].mean() > 0.95


@pytest.mark.parametrize("ink", [(0, 0, 0), (10, 110, 60), (30, 40, 150)])
def test_ink_and_black_borders_are_no_tissue(ink: tuple[int, int, int]) -> None:
    picture = glass()
    place = with_tissue(picture)
    picture[:, :30] = 0
    picture[10:40, 60:380] = ink
    mask = find_tissue(picture, MPP).mask
    assert not mask[:, :28].any() and mask[12:38, 62:378].mean() < 0.02
    assert iou(mask, place) > 0.93


def test_small_specks_go_and_small_holes_are_filled() -> None:
    picture = glass()
    place = with_tissue(picture)
    picture[20:24, 20:24] = PURPLE
    picture[145:153, 195:203] = GLASS
    picture[120:140, 230:260] = GLASS
    mask = find_tissue(picture, MPP).mask
    assert place[145:153, 195:203].all() and mask[145:153, 195:203].all()
    assert not mask[18:26, 18:26].any()
    assert mask[125:135, 236:254].mean() < 0.1


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_fluorescence_is_found_by_its_light(samples: int) -> None:
    random = np.random.default_rng(1)
    picture = random.integers(0, 4, (300, 400, samples)).astype(np.uint8)
    picture[100:200, 100:250, -1] = random.integers(20, 120, (100, 150))
    found = find_tissue(picture, MPP)
    expected = np.zeros((300, 400), bool)
    expected[100:200, 100:250] = True
    assert found.dark and iou(found.mask, expected) > 0.9
    assert not find_tissue(random.integers(0, 6, (300, 400, samples)).astype(np.uint8), MPP).mask.any()


def test_otsu_splits_between_two_classes() -> None:
    random = np.random.default_rng(0)
    values = np.concatenate([random.normal(0.1, 0.02, 5000), random.normal(0.9, 0.02, 1000)])
    assert 0.2 < otsu(values) < 0.8
    assert otsu(np.full(10, 3.0)) == 3.0


MASK = np.random.default_rng(3).random((40, 50)) < 0.02


@settings(max_examples=400, deadline=None)
@example(52, 0, 1, 22)
@given(st.integers(-60, 560), st.integers(-60, 460), st.integers(1, 90), st.integers(1, 90))
def test_a_rectangle_touches_tissue_when_one_of_its_pixels_lies_in_it(x: int, y: int, width: int, height: int) -> None:
    tissue = TissueMask(MASK, (10.4, 10.6), (0.5, 0.5))
    columns, rows = np.meshgrid(np.arange(x, x + width) + 0.5, np.arange(y, y + height) + 0.5)
    points = np.stack([columns.ravel(), rows.ravel()], axis=1)
    # A pixel that a mask's border crosses touches both sides: look at its corners, too.
    corners = [points + np.array([dx, dy]) for dx in (-0.499, 0.499) for dy in (-0.499, 0.499)]
    assert tissue.touches(Rectangle(x, y, width, height)) == any(bool(tissue.holds(each).any()) for each in corners)


def test_a_slide_s_tissue_chooses_its_tiles(tmp_path: Path) -> None:
    picture = glass(1200, 1600)
    place = with_tissue(picture)
    slide = made_slide(tmp_path, picture, 2.0, (1, 4), tile=256)
    tissue = detect_tissue(slide)
    assert tissue.area_mm2 == pytest.approx(place.sum() * 4e-6, rel=0.03)
    assert tissue.fraction == pytest.approx(place.mean(), rel=0.03)
    plan = make_plan(1600, 1200, tissue.slide_mpp, 2.0, 128, 16, tissue=tissue)
    everywhere = make_plan(1600, 1200, tissue.slide_mpp, 2.0, 128, 16)
    kept = np.zeros((1200, 1600), bool)
    for chunk in plan.chunks:
        for tile in chunk.tiles:
            kept[tile.core.y : tile.core.bottom, tile.core.x : tile.core.right] = True
    assert (place & ~kept).sum() < 0.002 * place.sum()
    assert plan.tiles < 0.4 * everywhere.tiles


def test_empty_small_and_dark_slides_have_a_mask(tmp_path: Path) -> None:
    for name, pixels in (
        ("white", np.full((700, 900, 3), 255)),
        ("black", np.zeros((700, 900, 3))),
        ("dot", [[[9] * 3]]),
    ):
        image = made_image(tmp_path / name, [np.asarray(pixels, np.uint8)], (0.25, 0.25))
        tissue = detect_tissue(Slide((image,), ()))
        assert tissue.fraction == 0 and tissue.area_mm2 == 0
        assert not tissue.touches(Rectangle(0, 0, 900, 700))
    deep = np.zeros((400, 400, 1), np.uint16) + np.random.default_rng(0).integers(0, 30, (400, 400, 1)).astype(
        np.uint16
    )
    deep[100:300, 100:300] += 2000
    image = made_image(tmp_path / "deep", [deep], (4.0, 4.0), paths=["DAPI"], illumination="111743")
    tissue = detect_tissue(Slide((image,), ()))
    assert tissue.dark and tissue.area_mm2 == pytest.approx(0.64, rel=0.1)
