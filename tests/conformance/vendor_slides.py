"""Slides of many kinds, made of the one real slide in tests/data."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

REAL_SLIDE = Path(__file__).parent.parent / "data" / "CMU-1-Small-Region.svs"
_RESOLUTION = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
_CHANNELS = {
    "Name": ["DAPI", "FITC", "Cy5"],
    "ExcitationWavelength": [358, 490, 650],
    "EmissionWavelength": [461, 525, 670],
}


def pixels(rows: int = 700, columns: int = 900) -> npt.NDArray[np.uint8]:
    """Return tissue of the real slide, ``(rows, columns, 3)``."""
    image = tifffile.imread(REAL_SLIDE, key=0)
    return np.ascontiguousarray(image[600 : 600 + rows, 500 : 500 + columns])


def channels16() -> npt.NDArray[np.uint16]:
    """Return three channels of 16 bits, ``(channel, rows, columns)``."""
    return np.moveaxis(pixels(), 2, 0).astype(np.uint16) * 200


def write_tiff(path: Path, **options: object) -> Path:
    tifffile.imwrite(path, pixels(), photometric=options.pop("photometric", "rgb"), **_RESOLUTION, **options)
    return path


def write_fluorescence(path: Path) -> Path:
    levels = channels16()
    metadata = {"axes": "CYX", "PhysicalSizeX": 0.65, "PhysicalSizeY": 0.65, "Channel": _CHANNELS}
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(
            levels, tile=(256, 256), compression="deflate", photometric="minisblack", metadata=metadata, subifds=1
        )
        half = levels[:, ::2, ::2]
        writer.write(half, tile=(256, 256), compression="deflate", photometric="minisblack", subfiletype=1)
    return path


def _planar(path: Path) -> Path:
    image = np.moveaxis(pixels(), 2, 0)
    tifffile.imwrite(
        path, image, photometric="rgb", planarconfig="separate", tile=(256, 256), compression="deflate", **_RESOLUTION
    )
    return path


def _gray(path: Path, photometric: str) -> Path:
    image = pixels()[:, :, 1]
    image = 255 - image if photometric == "miniswhite" else image
    tifffile.imwrite(path, image, photometric=photometric, tile=(256, 256), **_RESOLUTION)
    return path


def _picture(path: Path) -> Path:
    Image.fromarray(pixels()).save(path)
    return path


TILE = (256, 256)
LOSSLESS: dict[str, Callable[[Path], Path]] = {
    "striped-lzw.tif": lambda path: write_tiff(path, compression="lzw"),
    "striped-raw.tif": lambda path: write_tiff(path),
    "tiled-bigtiff.tif": lambda path: write_tiff(path, bigtiff=True, tile=TILE, compression="deflate"),
    "tiled-planar.tif": _planar,
    "picture.png": _picture,
}
"""Colour slides whose decoded pixels are exactly ``pixels()``."""

PASSING: dict[str, Callable[[Path], Path]] = {
    "jpeg-ycbcr.tif": lambda path: write_tiff(path, tile=TILE, compression="jpeg", subsampling=(2, 2)),
    "jpeg-rgb.tif": lambda path: write_tiff(
        path, tile=TILE, compression="jpeg", compressionargs={"outcolorspace": "rgb"}
    ),
    "jpeg2000.tif": lambda path: write_tiff(path, tile=TILE, compression="jpeg2000"),
}
"""Colour slides whose tiles can be frames as they are."""

MONOCHROME: dict[str, Callable[[Path], Path]] = {
    "black-is-zero.tif": lambda path: _gray(path, "minisblack"),
    "white-is-zero.tif": lambda path: _gray(path, "miniswhite"),
}
