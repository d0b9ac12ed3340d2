"""Hostile and damaged TIFFs are refused quickly, before anything is allocated."""

import struct
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from dicomsvc.errors import ConversionError, DicomsvcError, TruncatedSlide, UnknownSlideFormat
from dicomsvc.ingest.convert import ConversionOptions, inspect_slide
from dicomsvc.ingest.convert.sources.tiff_guard import check_directories


def tiff(*entries: tuple[int, int, int, int], following: int = 0) -> bytes:
    table = b"".join(struct.pack("<HHLL", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<LH", 8, len(entries)) + table + struct.pack("<L", following)


def written(folder: Path, data: bytes) -> Path:
    path = folder / "slide.tif"
    path.write_bytes(data)
    return path


def test_a_loop_of_directories_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="loop"):
        check_directories(written(tmp_path, tiff((256, 4, 1, 10), following=8)))


def test_a_directory_beyond_the_end_means_cut_short(tmp_path: Path) -> None:
    with pytest.raises(TruncatedSlide):
        check_directories(written(tmp_path, tiff((256, 4, 1, 10), following=10_000)))


def test_a_value_larger_than_the_file_means_cut_short(tmp_path: Path) -> None:
    with pytest.raises(TruncatedSlide):
        check_directories(written(tmp_path, tiff((324, 4, 0xFFFFFFFF, 8))))


def test_another_kind_of_file_is_no_tiff(tmp_path: Path) -> None:
    with pytest.raises(UnknownSlideFormat):
        check_directories(written(tmp_path, b"PK\3\4 and so on"))


def test_reduced_images_that_point_at_themselves_end(tmp_path: Path) -> None:
    check_directories(written(tmp_path, tiff((330, 4, 1, 8), (256, 4, 1, 10))))


def edited(folder: Path, **tags: int) -> Path:
    """Write a small tiled TIFF that then claims to be something else."""
    path = folder / "slide.tif"
    tifffile.imwrite(path, np.zeros((64, 64, 3), np.uint8), tile=(32, 32), photometric="rgb")
    with tifffile.TiffFile(path, mode="r+") as slide:
        for name, value in tags.items():
            slide.pages[0].tags[name].overwrite(value)
    return path


@pytest.mark.parametrize(
    "tags",
    [
        {"ImageWidth": 2_000_000_000, "ImageLength": 2_000_000_000},
        {"TileWidth": 60_000, "TileLength": 60_000},
        {"TileWidth": 0},
        {"ImageLength": 0},
    ],
    ids=["image", "tile", "no tile", "no rows"],
)
def test_a_small_file_that_claims_to_be_giant_is_refused_at_once(tags: dict[str, int], tmp_path: Path) -> None:
    path = edited(tmp_path, **tags)
    start = time.monotonic()
    with pytest.raises(DicomsvcError):
        inspect_slide(path)
    assert time.monotonic() - start < 2


def test_a_picture_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "big.png"
    Image.new("1", (3000, 2000)).save(path)
    with pytest.raises(ConversionError, match="too large"):
        inspect_slide(path, ConversionOptions(max_plain_megapixels=5))


def test_dicom_is_not_converted_again(tmp_path: Path) -> None:
    with pytest.raises(UnknownSlideFormat, match="import"):
        inspect_slide(written(tmp_path, bytes(128) + b"DICM" + bytes(100)))
