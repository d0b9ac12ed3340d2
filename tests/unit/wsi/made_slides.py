"""Slides made of arrays, uncompressed, in plain files: all that reading needs, without a store."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicomsvc.dicom.frames import FrameIndex
from dicomsvc.store import InstanceRecord
from dicomsvc.wsi.frame_reader import FrameReader
from dicomsvc.wsi.image import StoredImage
from dicomsvc.wsi.slide import Slide
from dicomsvc.wsi.tiling import Tiling

EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"


def made_image(
    path: Path,
    planes: Sequence[npt.NDArray[Any]],
    spacing_um: tuple[float, float],
    tile: int = 64,
    paths: Sequence[str] = ("1",),
    illumination: str = "111744",
) -> StoredImage:
    """Write a level; ``planes`` are its optical paths ``(rows, columns, samples)``, ``spacing_um`` is (x, y)."""
    rows, columns, samples = planes[0].shape
    frames = []
    for plane in planes:
        for y in range(0, rows, tile):
            for x in range(0, columns, tile):
                frame = np.zeros((tile, tile, samples), plane.dtype)
                part = plane[y : y + tile, x : x + tile]
                frame[: part.shape[0], : part.shape[1]] = part
                frames.append(frame.tobytes())
    data = b"".join(frames)
    path.write_bytes(data)
    bits = planes[0].dtype.itemsize * 8
    colour = "RGB" if samples == 3 else "MONOCHROME2"
    index = FrameIndex(
        *(len(frames), EXPLICIT_LITTLE, "7FE00010", tile, tile, samples, bits, bits, 0, 0, colour),
        offset=0,
        length=len(data),
    )
    record = InstanceRecord(
        *(abs(hash(path)), "1.2.3", "1.2.3.4", f"1.2.3.4.{columns}", "1.2.840.10008.5.1.4.1.1.77.1.6", EXPLICIT_LITTLE),
        *(len(frames), len(data), b"", False, path),
    )
    optical = [
        {
            "00480106": {"vr": "SH", "Value": [str(number + 1)]},
            "00480107": {"vr": "ST", "Value": [name]},
            "00220016": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": [illumination]}}]},
        }
        for number, name in enumerate(paths)
    ]
    return StoredImage(
        record=record,
        reader=FrameReader(record, index),
        tiling=Tiling(columns, rows, tile, tile, tuple(str(i + 1) for i in range(len(paths)))),
        dataset={"00480105": {"vr": "SQ", "Value": optical}},
        metadata=None,  # type: ignore[arg-type]  # nothing that reads pixels looks at it
        flavour="VOLUME",
        pixel_spacing_mm=(spacing_um[1] / 1000, spacing_um[0] / 1000),
    )


def made_slide(
    folder: Path,
    pixels: npt.NDArray[Any],
    mpp: float | tuple[float, float] = 0.5,
    factors: Sequence[int] = (1,),
    tile: int = 64,
) -> Slide:
    """Make a slide of one colour image; coarser levels are means, their sizes rounded up."""
    across, down = mpp if isinstance(mpp, tuple) else (mpp, mpp)
    levels = []
    for factor in factors:
        shrunk = shrink(pixels, factor)
        levels.append(
            made_image(folder / f"{factor}", [shrunk], (across * factor, down * factor), tile),
        )
    return Slide(tuple(levels), ())


def shrink(pixels: npt.NDArray[Any], factor: int) -> npt.NDArray[Any]:
    """Mean over squares; what is missing at the edges repeats the last pixel."""
    rows, columns, samples = pixels.shape
    padded = np.pad(pixels, ((0, -rows % factor), (0, -columns % factor), (0, 0)), "edge").astype(np.float64)
    squares = padded.reshape(padded.shape[0] // factor, factor, padded.shape[1] // factor, factor, samples)
    return np.rint(squares.mean(axis=(1, 3))).astype(pixels.dtype)


def picture(rows: int, columns: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """A picture with sharp edges and fine texture."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (rows // 16 + 1, columns // 16 + 1, 3))
    fine = random.integers(-40, 40, (rows, columns, 3))
    return np.clip(coarse.repeat(16, 0).repeat(16, 1)[:rows, :columns] + fine, 0, 255).astype(np.uint8)
