"""Reading a slide at a model's resolution."""

import math
import threading
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from dicomsvc.errors import DamagedFile, InvalidModel, TooLarge, UnfitSlide
from dicomsvc.wsi.frame_cache import FrameCache
from dicomsvc.wsi.levels import readable_levels
from dicomsvc.wsi.plan import Rectangle
from dicomsvc.wsi.resampling import Plane
from dicomsvc.wsi.slide import Slide
from tests.unit.wsi.made_slides import made_image, made_slide, picture, shrink


def mean_over_area(pixels: npt.NDArray[np.uint8], step: tuple[Fraction, Fraction]) -> npt.NDArray[np.float64]:
    """The plane by its definition: the mean over each plane pixel's area, white outside."""

    def weights(size: int, each: Fraction) -> npt.NDArray[np.float64]:
        count = math.ceil(size / each)
        edges = np.arange(count + 1) * float(each)
        width = np.minimum(edges[1:, None], np.arange(1, size + 1)) - np.maximum(edges[:-1, None], np.arange(size))
        return np.clip(width, 0, None) / float(each)

    across, down = weights(pixels.shape[1], step[0]), weights(pixels.shape[0], step[1])
    return np.stack([255.0 - down @ (255.0 - pixels[:, :, sample]) @ across.T for sample in range(3)], axis=2)


@pytest.mark.parametrize(
    ("mpp", "slide_mpp"),
    [(0.5, 0.5), (0.5, 0.499), (1.0, 0.5), (0.7, 0.5), (1.3, 0.25), (0.52, 0.45), (1.0, (0.5, 0.4)), (2.9, 0.5)],
)
def test_each_plane_pixel_is_the_mean_over_its_area(
    tmp_path: Path, mpp: float, slide_mpp: float | tuple[float, float]
) -> None:
    pixels = picture(301, 397)
    plane = Plane(made_slide(tmp_path, pixels, slide_mpp), mpp)
    expected = mean_over_area(pixels, plane.grid.step)
    found = plane.read(Rectangle(0, 0, plane.columns, plane.rows))
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("mpp", [0.5, 1.0, 0.7, 1.37, 0.25, 0.21, 0.48, 3.3])
def test_a_tile_read_alone_is_the_same_part_of_a_large_read(tmp_path: Path, mpp: float) -> None:
    plane = Plane(made_slide(tmp_path, picture(500, 420), 0.5, (1, 2, 4)), mpp)
    whole = plane.read(Rectangle(-20, -20, plane.columns + 40, plane.rows + 40)).astype(int)
    for x, y, width, height in ((0, 0, 31, 30), (17, 23, 41, 12), (-13, -5, 40, 40), (plane.columns - 9, 7, 25, 33)):
        alone = plane.read(Rectangle(x, y, width, height))
        assert np.abs(whole[y + 20 : y + 20 + height, x + 20 : x + 20 + width] - alone).max() <= 1


def test_coarser_levels_show_the_same_place(tmp_path: Path) -> None:
    """The finest level is 1003 x 997 pixels, which no factor divides."""
    pixels = np.full((997, 1003, 3), 255, np.uint8)
    pixels[512:640, 768:896] = 0
    base = made_slide(tmp_path, pixels, 0.5)
    pyramid = made_slide(tmp_path, pixels, 0.5, (1, 4, 16))
    for mpp in (2.0, 2.3, 8.0, 11.0):
        one, other = (Plane(each, mpp) for each in (base, pyramid))
        area = Rectangle(0, 0, one.columns, one.rows)
        assert (one.columns, one.rows) == (other.columns, other.rows)
        inner = np.s_[: one.rows - 1, : one.columns - 1]
        assert np.abs(one.read(area)[inner].astype(int) - other.read(area)[inner]).max() <= 2


def test_a_level_that_lies_on_no_whole_pixels_is_left_out(tmp_path: Path) -> None:
    pixels = picture(600, 600)
    odd = made_image(tmp_path / "odd", [pixels[:250, :250]], (1.2, 1.2))
    half = made_image(tmp_path / "half", [shrink(pixels, 2)], (1.0, 1.0))
    without_spacing = made_image(tmp_path / "quarter", [shrink(pixels, 4)], (0, 0))
    slide = Slide((*made_slide(tmp_path, pixels).levels, half, odd, without_spacing), ())
    assert [level.factor for level in readable_levels(slide)] == [(1, 1), (2, 2), (4, 4)]


def test_a_level_in_false_colours_is_left_out(tmp_path: Path) -> None:
    pixels = np.full((600, 600, 3), 243, np.uint8)
    pixels[200:400, 200:400] = (190, 110, 170)
    magenta = shrink(pixels, 4)
    magenta[:, :, 1] //= 2
    good, bad = made_slide(tmp_path, pixels, 0.5, (1, 2)), made_image(tmp_path / "bad", [magenta], (2.0, 2.0))
    plane = Plane(Slide((*good.levels, bad), ()), 4.0)
    found = plane.read(Rectangle(0, 0, plane.columns, plane.rows))
    assert np.abs(found.astype(int) - shrink(pixels, 8)).max() <= 2


def test_a_coarser_slide_is_enlarged_smoothly(tmp_path: Path) -> None:
    ramp = np.zeros((64, 64, 3), np.uint8) + np.arange(0, 256, 4, dtype=np.uint8)[None, :, None]
    plane = Plane(made_slide(tmp_path, ramp, 1.0), 0.25)
    found = plane.read(Rectangle(0, 100, plane.columns, 8))[4, 16:-16, 0].astype(float)
    centres = (np.arange(16, plane.columns - 16) + 0.5) / 4 - 0.5
    assert np.abs(found - 4 * centres).max() <= 1.01


def test_outside_is_white_in_colour_and_dark_in_fluorescence(tmp_path: Path) -> None:
    colour = Plane(made_slide(tmp_path, picture(100, 100)), 0.5)
    assert (colour.read(Rectangle(-50, 20, 50, 20)) == 255).all()
    assert (colour.read(Rectangle(100, 0, 30, 120)) == 255).all()
    grey = np.full((100, 100, 1), 77, np.uint8)
    dark = Plane(Slide((made_image(tmp_path / "dapi", [grey], (0.5, 0.5), paths=["DAPI"]),), ()), 0.5, ["DAPI"])
    assert (dark.read(Rectangle(-50, 20, 50, 20)) == 0).all()
    assert (dark.read(Rectangle(0, 0, 100, 100)) == 77).all()


def test_optical_paths_are_stacked_by_name_and_scaled_to_eight_bits(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    dapi, cd8 = (random.integers(0, top, (200, 200, 1), np.uint16) for top in (5000, 60000))
    image = made_image(tmp_path / "two", [dapi, cd8], (0.5, 0.5), paths=["DAPI", "CD8"], illumination="111743")
    slide = Slide((image,), ())
    plane = Plane(slide, 0.5, ["cd8", "DAPI"])
    found = plane.read(Rectangle(0, 0, 200, 200))
    for sample, values in ((0, cd8), (1, dapi)):
        expected = np.clip(values[:, :, 0] * 255.0 / np.percentile(values, 99.9), 0, 255)
        assert np.abs(found[:, :, sample] - expected).max() <= 3
    with pytest.raises(UnfitSlide, match="optical path Ki67; the slide has 2 optical"):
        Plane(slide, 0.5, ["Ki67", "DAPI"])
    with pytest.raises(UnfitSlide, match="wants a colour image"):
        Plane(slide, 0.5)


def test_colour_under_fluorescence_illumination_is_no_stained_slide(tmp_path: Path) -> None:
    image = made_image(tmp_path / "rgb", [picture(64, 64)], (0.5, 0.5), illumination="111743")
    with pytest.raises(UnfitSlide, match="colour image"):
        Plane(Slide((image,), ()), 0.5)
    with pytest.raises(UnfitSlide, match="is a colour image"):
        Plane(made_slide(tmp_path, picture(64, 64)), 0.5, ["DAPI"])


def test_a_slide_that_does_not_fit_is_refused_with_the_numbers(tmp_path: Path) -> None:
    slide = made_slide(tmp_path, picture(64, 64), 1.3)
    with pytest.raises(UnfitSlide, match=r"needs 0.25 um .* up to 0.55; the slide has 1.3"):
        Plane(slide, 0.25, coarsest_mpp=0.55)
    assert Plane(slide, 1.0, coarsest_mpp=1.3).columns > 64
    with pytest.raises(UnfitSlide, match="give mpp"):
        Plane(made_slide(tmp_path, picture(64, 64), 0.0), 0.25)
    with pytest.raises(UnfitSlide, match="no slide image"):
        Plane(Slide((), ()), 0.25)
    with pytest.raises(InvalidModel, match="above 0"):
        Plane(slide, math.nan)
    with pytest.raises(TooLarge):
        Plane(slide, 1.3).read(Rectangle(0, 0, 100_000, 100_000))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_many_tiles_come_in_order_and_each_frame_is_decoded_once(tmp_path: Path, threads: int) -> None:
    plane = Plane(made_slide(tmp_path, picture(640, 640)), 0.5)
    areas = [Rectangle(x - 10, y - 10, 84, 84) for y in range(0, 640, 64) for x in range(0, 640, 64)]
    found = list(plane.read_many(areas, threads))
    assert plane.frames_decoded == 100
    assert all(np.array_equal(tile, plane.read(area)) for tile, area in zip(found, areas, strict=True))


def test_reading_can_be_left_early(tmp_path: Path) -> None:
    plane = Plane(made_slide(tmp_path, picture(640, 640)), 0.5)
    before = threading.active_count()
    tiles = plane.read_many([Rectangle(0, 0, 640, 640)] * 1000, 3)
    next(tiles)
    tiles.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_a_damaged_frame_is_named_in_every_thread(tmp_path: Path) -> None:
    slide = made_slide(tmp_path, picture(256, 256))
    path = slide.levels[0].record.path
    path.write_bytes(path.read_bytes()[:-100])
    plane = Plane(slide, 0.5)
    with pytest.raises(DamagedFile):
        list(plane.read_many([Rectangle(100, 100, 156, 156)] * 4, 2))


def test_the_cache_keeps_to_its_limit_and_decodes_for_all_who_wait() -> None:
    cache = FrameCache(3000)
    calls: list[int] = []

    def slow(number: int) -> npt.NDArray[np.uint8]:
        time.sleep(0.05)
        calls.append(number)
        return np.full((10, 100, 1), number, np.uint8)

    threads = [threading.Thread(target=cache.get, args=(1, lambda: slow(1))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [1] and cache.decoded == 1
    for number in (2, 3, 1, 4):
        assert cache.get(number, lambda number=number: slow(number))[0, 0, 0] == number  # type: ignore[misc]
    cache.get(2, lambda: slow(2))
    assert calls == [1, 2, 3, 4, 2]


def test_a_slide_of_one_huge_level_is_read_in_parts(tmp_path: Path) -> None:
    pattern = picture(840, 840, 3)
    plane = Plane(made_slide(tmp_path, np.tile(pattern, (5, 5, 1)), 0.25, tile=500), 2.0, cache_bytes=8 << 20)
    found = plane.read(Rectangle(0, 0, plane.columns, plane.rows))
    assert np.abs(found.astype(int) - np.tile(shrink(pattern, 8), (5, 5, 1))).max() <= 1
