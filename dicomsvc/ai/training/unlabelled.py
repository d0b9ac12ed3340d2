"""Pieces of slides and pictures without labels, at the network's resolution."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
import openslide

from dicomsvc.ai.pictures import read_picture
from dicomsvc.ai.training import MPP
from dicomsvc.ai.training.recipe import Slide
from dicomsvc.errors import BadRequest

Pixels = npt.NDArray[np.uint8]
_SIDE: Final = 768
_TRIES: Final = 8
_LEAST_TISSUE: Final = 0.3


def regions(slide: Slide, seed: int) -> Iterator[Pixels]:
    """Yield regions with tissue, as many as the slide has of those that are asked for."""
    chance = np.random.default_rng(seed)
    side = round(_SIDE * MPP / slide.mpp)
    with Source(slide.file) as source:
        span = (min(side, source.size[0]), min(side, source.size[1]))
        wanted = min(slide.regions, max(1, source.size[0] * source.size[1] // (span[0] * span[1])))
        for _ in range(wanted * _TRIES):
            corner = [int(chance.integers(0, size - part + 1)) for size, part in zip(source.size, span, strict=True)]
            pixels = source.read(corner[0], corner[1], *span)
            if tissue_share(pixels) < _LEAST_TISSUE:
                continue
            scale = slide.mpp / MPP
            way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
            resized: Any = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=way)
            yield np.ascontiguousarray(resized)
            wanted -= 1
            if not wanted:
                return


class Source:
    """Level 0 of a file that OpenSlide knows, or a plain picture."""

    def __init__(self, file: Path) -> None:
        if not file.is_file():
            raise BadRequest(f"{file} does not exist")
        self._slide: Any = None
        self.mpp: tuple[float, float] | None = None
        """Micrometres a pixel, (x, y), where the file tells it."""
        try:
            self._slide = openslide.OpenSlide(file)
            self.size: tuple[int, int] = self._slide.dimensions
            self.mpp = _mpp(self._slide.properties)
        except openslide.OpenSlideError:
            self._pixels = read_picture(file)
            self.size = (self._pixels.shape[1], self._pixels.shape[0])

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *_: object) -> None:
        if self._slide is not None:
            self._slide.close()

    def read(self, x: int, y: int, width: int, height: int) -> Pixels:
        if self._slide is None:
            return self._pixels[y : y + height, x : x + width]
        read: Pixels = np.asarray(self._slide.read_region((x, y), 0, (width, height)).convert("RGB"))
        return read


def _mpp(properties: Mapping[str, str]) -> tuple[float, float] | None:
    try:
        found = float(properties[openslide.PROPERTY_NAME_MPP_X]), float(properties[openslide.PROPERTY_NAME_MPP_Y])
    except (KeyError, ValueError):
        return None
    return found if min(found) > 0 else None


def tissue_share(pixels: Pixels) -> float:
    """Return the share of pixels with colour."""
    return float((np.ptp(pixels, axis=2) > 20).mean())
