"""Pictures over HTTP."""

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import openslide
import pydicom
import pytest
from PIL import Image, ImageCms

from dicomsvc.store import Store
from dicomsvc.wsi.slide import open_slide
from tests.instances import part10, wsi_dataset
from tests.integration.test_wado_frames import native, parts, place
from tests.integration.wado_server import converted, serving, store_files


@pytest.fixture
def web(store: Store) -> Iterator[httpx.Client]:
    with serving(store) as root, httpx.Client(base_url=root, timeout=60) as client:
        yield client


@pytest.fixture
def slide(store: Store, cmu_small_region: Path) -> list[pydicom.Dataset]:
    """The stored instances of the CC0 slide, the finest level first."""
    contents = converted(cmu_small_region)
    store_files(store, contents)
    read = [pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True) for content in contents]
    volumes = [ds for ds in read if ds.ImageType[2] == "VOLUME"]
    return sorted(volumes, key=lambda ds: -ds.TotalPixelMatrixColumns)


def picture(response: httpx.Response) -> Image.Image:
    assert response.status_code == 200, response.text
    image = Image.open(io.BytesIO(response.content))
    assert response.headers["content-type"] == Image.MIME[image.format]
    return image


def difference(image: Image.Image, expected: Image.Image) -> float:
    assert image.size == expected.size
    return float(np.abs(np.asarray(image.convert("RGB"), int) - np.asarray(expected.convert("RGB"), int)).mean())


def reference(path: Path, x: int, y: int, width: int, height: int) -> Image.Image:
    with openslide.OpenSlide(path) as opened:
        return opened.read_region((x, y), 0, (width, height)).convert("RGB")


def test_a_region_is_what_openslide_reads(
    web: httpx.Client, slide: list[pydicom.Dataset], cmu_small_region: Path
) -> None:
    response = web.get(f"{place(slide[0])}/rendered?viewport=300,200,1000,700,300,200", headers={"accept": "image/png"})
    assert difference(picture(response), reference(cmu_small_region, 1000, 700, 300, 200)) == 0


def test_a_whole_level_fits_the_viewport(
    web: httpx.Client, slide: list[pydicom.Dataset], cmu_small_region: Path
) -> None:
    image = picture(web.get(f"{place(slide[0])}/rendered?viewport=400,400"))
    columns, rows = slide[0].TotalPixelMatrixColumns, slide[0].TotalPixelMatrixRows
    assert image.size == (round(columns * 400 / rows), 400)
    whole = reference(cmu_small_region, 0, 0, columns, rows).resize(image.size, Image.Resampling.BOX)
    assert difference(image, whole) < 6


def test_a_scaled_region_shows_its_place_in_the_slide(
    web: httpx.Client, slide: list[pydicom.Dataset], cmu_small_region: Path
) -> None:
    url = f"{place(slide[0])}/rendered?viewport=100,100,800,1200,1000,1000"
    image = picture(web.get(url, headers={"accept": "image/png"}))

    def distance(shift: int) -> float:
        at = reference(cmu_small_region, 800 + shift, 1200 + shift, 1000, 1000)
        return difference(image, at.resize((100, 100), Image.Resampling.BOX))

    assert distance(0) < 8
    assert min(distance(shift) for shift in (-10, -5, 5, 10)) > distance(0)


def test_a_negative_source_size_flips(web: httpx.Client, slide: list[pydicom.Dataset]) -> None:
    url = f"{place(slide[0])}/rendered?viewport=100,100,500,500"
    png = {"accept": "image/png"}
    straight = picture(web.get(f"{url},100,100", headers=png))
    flipped = picture(web.get(f"{url},-100,100", headers=png))
    assert difference(flipped, straight.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) == 0
    flipped = picture(web.get(f"{url},100,-100", headers=png))
    assert difference(flipped, straight.transpose(Image.Transpose.FLIP_TOP_BOTTOM)) == 0


@pytest.mark.parametrize("level", ["study", "series", "instance"])
def test_a_thumbnail_of_every_level_is_small(web: httpx.Client, slide: list[pydicom.Dataset], level: str) -> None:
    ds = slide[0]
    path = {
        "study": f"/studies/{ds.StudyInstanceUID}",
        "series": f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}",
        "instance": place(ds),
    }[level]
    assert max(picture(web.get(f"{path}/thumbnail")).size) == 256
    assert max(picture(web.get(f"{path}/rendered?viewport=99,99")).size) == 99


def test_frames_are_rendered_one_or_several(web: httpx.Client, slide: list[pydicom.Dataset]) -> None:
    one = picture(web.get(f"{place(slide[0])}/frames/1/rendered"))
    assert one.size == (slide[0].Columns, slide[0].Rows)
    several = parts(web.get(f"{place(slide[0])}/frames/1,2,3/rendered"))
    assert [kind for kind, _ in several] == ["image/jpeg"] * 3
    assert difference(Image.open(io.BytesIO(several[0][1])), one) == 0
    assert picture(web.get(f"{place(slide[0])}/frames/2/thumbnail?viewport=50,50")).size == (50, 50)
    assert web.get(f"{place(slide[0])}/frames/99999/rendered").status_code == 404


def test_the_profile_is_left_out_embedded_or_applied(web: httpx.Client, slide: list[pydicom.Dataset]) -> None:
    url = f"{place(slide[0])}/rendered?viewport=64,64"
    own = bytes(slide[0].OpticalPathSequence[0].ICCProfile).rstrip(b"\0")
    assert "icc_profile" not in picture(web.get(url)).info
    assert picture(web.get(f"{url}&iccprofile=yes")).info["icc_profile"].rstrip(b"\0") == own
    converted_to = picture(web.get(f"{url}&iccprofile=srgb")).info["icc_profile"]
    assert "sRGB" in ImageCms.getProfileName(ImageCms.ImageCmsProfile(io.BytesIO(converted_to)))


def test_quality_changes_the_size_and_the_tag_saves_a_second_picture(
    web: httpx.Client, slide: list[pydicom.Dataset]
) -> None:
    url = f"{place(slide[0])}/rendered?viewport=256,256"
    small, large = web.get(f"{url}&quality=20"), web.get(f"{url}&quality=95")
    assert len(small.content) < len(large.content) / 2
    assert web.get(f"{url}&quality=20", headers={"if-none-match": small.headers["etag"]}).status_code == 304


@pytest.mark.parametrize(
    "query",
    [
        "viewport=0,5",
        "viewport=a,b",
        "viewport=1,2,3",
        "viewport=nan,inf",
        "viewport=99999,99999",
        "viewport=10,10,99999,0,5,5",
        "viewport=10,10,0,0,0,5",
        "quality=0",
        "quality=abc",
        "quality=101",
        "iccprofile=cmyk",
        "window=1",
        "window=1,0",
        "window=1,2,cubic",
    ],
)
def test_malformed_parameters_are_named(web: httpx.Client, slide: list[pydicom.Dataset], query: str) -> None:
    response = web.get(f"{place(slide[0])}/rendered?{query}")
    assert response.status_code == 400
    assert query.partition("=")[0] in response.text


def test_only_jpeg_and_png_are_made(web: httpx.Client, slide: list[pydicom.Dataset]) -> None:
    url = f"{place(slide[0])}/rendered?viewport=20,20"
    assert picture(web.get(url)).format == "JPEG"
    assert picture(web.get(f"{url}&accept=image/png")).format == "PNG"
    assert web.get(url, headers={"accept": "image/gif"}).status_code == 406
    assert "annotation" in web.get(f"{url}&annotation=patient").headers["warning"]


@pytest.mark.parametrize("bits", [1, 8, 16])
def test_monochrome_values_are_shown(store: Store, web: httpx.Client, bits: int) -> None:
    ds, values = native(bits, 1, 16, 24)
    del ds.TotalPixelMatrixRows, ds.TotalPixelMatrixColumns
    store_files(store, [part10(ds)])
    image = np.asarray(picture(web.get(f"{place(ds)}/rendered", headers={"accept": "image/png"})), float)
    expected = {
        1: values[0] * 255.0,
        8: values[0].astype(float),
        16: (values[0] - values[0].min()) / np.ptp(values[0]) * 255,
    }[bits]
    assert np.abs(image - expected).max() <= 0.51


def test_a_window_and_inverted_monochrome(store: Store, web: httpx.Client) -> None:
    ds, values = native(16, 1, 16, 24)
    ds.PhotometricInterpretation = "MONOCHROME1"
    del ds.TotalPixelMatrixRows, ds.TotalPixelMatrixColumns
    store_files(store, [part10(ds)])
    url = f"{place(ds)}/rendered?window=30000,20000,linear-exact"
    image = np.asarray(picture(web.get(url, headers={"accept": "image/png"})), float)
    expected = 255 - np.clip(((values[0] - 30000) / 20000 + 0.5) * 255, 0, 255)
    assert np.abs(image - expected).max() <= 0.51


def test_float_pixels_are_shown(store: Store, web: httpx.Client) -> None:
    ds, _ = native(16, 1, 16, 24)
    values = np.linspace(-1, 1, 16 * 24, dtype="<f4").reshape(16, 24)
    for keyword in ("PixelData", "TotalPixelMatrixRows", "TotalPixelMatrixColumns", "BitsStored", "HighBit"):
        del ds[keyword]
    ds.BitsAllocated = 32
    ds.FloatPixelData = values.tobytes()
    store_files(store, [part10(ds)])
    image = np.asarray(picture(web.get(f"{place(ds)}/rendered", headers={"accept": "image/png"})), float)
    assert np.abs(image - (values + 1) / 2 * 255).max() <= 0.51


def test_what_has_no_pixels_is_not_rendered(store: Store, web: httpx.Client) -> None:
    ds = wsi_dataset()
    for keyword in ("PixelData", "Rows", "Columns", "BitsAllocated", "NumberOfFrames"):
        del ds[keyword]
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    store_files(store, [part10(ds)])
    assert web.get(f"{place(ds)}/rendered").status_code == 404


def test_a_slide_reads_regions_over_its_borders_in_white(
    store: Store, slide: list[pydicom.Dataset], cmu_small_region: Path
) -> None:
    opened = open_slide(store, slide[0].StudyInstanceUID, slide[0].SeriesInstanceUID)
    sizes = [level.columns for level in opened.levels]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == 2220
    region = opened.read_region(0, 2100, 2900, 200, 100)
    assert region.shape == (100, 200, 3) and region.dtype == np.uint8
    inside = np.asarray(reference(cmu_small_region, 2100, 2900, 120, 67))
    assert np.array_equal(region[:67, :120], inside)
    assert (region[67:] == 255).all() and (region[:, 120:] == 255).all()
    assert opened.flavour("LABEL") is not None and opened.flavour("OVERVIEW") is not None
