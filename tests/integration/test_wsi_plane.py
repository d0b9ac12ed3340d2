"""Stored real slides as models see them."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openslide
import pydicom
import pytest

from dicomsvc.errors import UnfitSlide
from dicomsvc.store import Store
from dicomsvc.wsi.plan import Rectangle, make_plan
from dicomsvc.wsi.resampling import Plane
from dicomsvc.wsi.slide import Slide, open_slide
from dicomsvc.wsi.stain import apply_steps, fit_steps, sample_tissue
from dicomsvc.wsi.tissue import detect_tissue
from tests.instances import part10, wsi_dataset
from tests.integration.wado_server import converted, store_files

Put = Callable[..., Slide]


@pytest.fixture
def put(store: Store) -> Put:
    """Convert and store a slide, and open it."""

    def into_store(path: Path, mpp: float | None = None) -> Slide:
        contents = converted(path, mpp)
        store_files(store, contents)
        ds = pydicom.dcmread(io.BytesIO(contents[0]), stop_before_pixels=True)
        return open_slide(store, ds.StudyInstanceUID, ds.SeriesInstanceUID)

    return into_store


def reference(path: Path, x: int, y: int, width: int, height: int) -> npt.NDArray[np.uint8]:
    with openslide.OpenSlide(path) as opened:
        return np.asarray(opened.read_region((x, y), 0, (width, height)).convert("RGB"))


def test_tiles_at_the_slide_s_own_resolution_are_its_pixels(put: Put, cmu_small_region: Path) -> None:
    plane = Plane(put(cmu_small_region), 0.5)
    assert plane.scale == (1.0, 1.0) and plane.mpp == (0.499, 0.499)
    found = plane.read(Rectangle(700, 900, 300, 250))
    assert np.array_equal(found, reference(cmu_small_region, 700, 900, 300, 250))


@pytest.mark.parametrize("mpp", [1.0, 1.5, 4.0, 8.0])
def test_a_coarser_plane_shows_the_same_place_as_the_finest_level(put: Put, cmu_small_region: Path, mpp: float) -> None:
    """Against the mean of the source's own pixels, though coarser levels were JPEG encoded once more."""
    plane = Plane(put(cmu_small_region), mpp)
    factor = int(plane.grid.step[0])
    assert plane.grid.step == (factor, factor)
    size = 400 // factor
    area = Rectangle(900 // factor, 1500 // factor, size, size)
    x, y, side = area.x * factor, area.y * factor, size * factor
    pixels = reference(cmu_small_region, x, y, side, side).astype(float)
    expected = pixels.reshape(area.height, factor, area.width, factor, 3).mean(axis=(1, 3))
    found = plane.read(area)
    apart = np.abs(found - expected).mean()
    shifted = np.abs(np.roll(found, 1, axis=1)[:, 1:] - expected[:, 1:]).mean()
    assert apart < 8 and apart < shifted / 3


def test_the_plan_over_tissue_reads_each_frame_about_once(put: Put, cmu_small_region: Path) -> None:
    slide = put(cmu_small_region)
    tissue = detect_tissue(slide)
    assert 0.35 < tissue.fraction < 0.5 and not tissue.dark
    plane = Plane(slide, 0.5)
    base = slide.levels[0]
    plan = make_plan(base.columns, base.rows, plane.slide_mpp, 0.5, 256, 32, tissue=tissue)
    tiles = [tile.context for chunk in plan.chunks for tile in chunk.tiles]
    sizes = {tile.shape for tile in plane.read_many(tiles, 2)}
    assert sizes == {(256, 256, 3)}
    assert plane.frames_decoded <= 130 < 1.9 * plan.tiles
    assert plan.tiles < 0.8 * make_plan(base.columns, base.rows, plane.slide_mpp, 0.5, 256, 32).tiles


def test_stains_of_a_real_slide_are_separated_and_kept_by_its_own_reference(put: Put, cmu_small_region: Path) -> None:
    slide = put(cmu_small_region)
    plane = Plane(slide, 0.5)
    pixels = sample_tissue(plane, detect_tissue(slide))
    assert len(pixels) > 15_000
    tile = plane.read(Rectangle(900, 1600, 400, 400))
    for name in ("macenko", "vahadane"):
        (first,) = fit_steps([(name, {})], pixels)
        hematoxylin, eosin = first["stains"]
        assert hematoxylin[0] > 2 * eosin[0] and eosin[1] > hematoxylin[1]
        itself = {"reference_stains": first["stains"], "reference_maximum": first["maximum"]}
        again = apply_steps(tile, fit_steps([(name, itself)], pixels))
        assert np.abs(again.astype(int) - tile).mean() < 8


def test_a_slide_without_pixel_spacing_or_too_coarse_is_refused(store: Store, put: Put, cmu_small_region: Path) -> None:
    ds = wsi_dataset()
    store_files(store, [part10(ds)])
    slide = open_slide(store, ds.StudyInstanceUID, ds.SeriesInstanceUID)
    for refused in (lambda: Plane(slide, 0.5), lambda: detect_tissue(slide)):
        with pytest.raises(UnfitSlide, match="give mpp"):
            refused()
    with pytest.raises(UnfitSlide, match=r"has 0\.499"):
        Plane(put(cmu_small_region), 0.25, coarsest_mpp=0.3)


def test_a_fluorescence_slide_stored_as_colour_is_told_by_its_looks(put: Put, big_data: Path) -> None:
    tissue = detect_tissue(put(big_data / "slides" / "test3-DAPI_2_387.ndpi"))
    assert tissue.dark and 0.5 < tissue.fraction < 0.9


def test_a_pyramid_in_false_colours_is_read_from_its_finest_level(put: Put, big_data: Path) -> None:
    """The coarser levels of this file hold RGB in JPEGs that say YCbCr: their glass is magenta."""
    slide = put(big_data / "slides" / "Orion-CRC01_HE_17408x14336_1.3um.tif", 1.3)
    glass = Plane(slide, 10.4).read(Rectangle(20, 1500, 100, 100))
    assert glass.min(axis=2).mean() > 235
    tissue = Plane(slide, 5.2).read(Rectangle(1500, 1300, 100, 100))
    finest = Plane(slide, 1.3).read(Rectangle(6000, 5200, 400, 400))
    assert np.abs(tissue.mean(axis=(0, 1)) - finest.mean(axis=(0, 1))).max() < 1
