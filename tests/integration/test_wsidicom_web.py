"""wsidicom over our DICOMweb server sees what it sees in the files."""

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicomweb_client import DICOMwebClient
from wsidicom import WsiDicom, WsiDicomWebClient

from dicomsvc.store import Store
from tests.integration.wado_server import converted, serving, store_files


def compare(store: Store, contents: tuple[bytes, ...], folder: Path, most_pixels: int) -> None:
    """Compare up to so many pixels in each direction of every level."""
    store_files(store, contents)
    slide = folder / "slide"
    slide.mkdir()
    for number, content in enumerate(contents):
        (slide / f"{number}.dcm").write_bytes(content)
    ds = pydicom.dcmread(io.BytesIO(contents[0]), stop_before_pixels=True)
    with serving(store) as root:
        client = WsiDicomWebClient(DICOMwebClient(root))
        with (
            WsiDicom.open_web(client, ds.StudyInstanceUID, ds.SeriesInstanceUID) as web,
            WsiDicom.open(slide) as local,
        ):
            assert [level.size for level in web.levels] == [level.size for level in local.levels]
            for level in local.levels:
                size = (min(level.size.width, most_pixels), min(level.size.height, most_pixels))
                ours = np.asarray(web.read_region((0, 0), level.level, size))
                theirs = np.asarray(local.read_region((0, 0), level.level, size))
                assert np.array_equal(ours, theirs)
            assert len(web.overviews or []) == len(local.overviews or [])
            for index in range(len(local.overviews or [])):
                assert np.array_equal(np.asarray(web.read_overview(index)), np.asarray(local.read_overview(index)))


def test_every_pixel_of_a_jpeg_slide_is_the_same(store: Store, folder: Path, cmu_small_region: Path) -> None:
    compare(store, converted(cmu_small_region), folder, 10_000)


@pytest.mark.slow
def test_a_jpeg_2000_slide_is_the_same(store: Store, folder: Path, big_data: Path) -> None:
    compare(store, converted(big_data / "slides" / "tcga-cr-7395-01a-01-ts1.svs", 0.25), folder, 1000)
