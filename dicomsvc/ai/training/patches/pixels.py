"""The pixels of patches, at the recipe's resolution."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from dicomsvc.ai.training.patches.sources import Patch
from dicomsvc.ai.training.unlabelled import Source

Pixels = npt.NDArray[np.uint8]
_TILE_UM: Final = 1000.0


def read_patches(patches: Sequence[Patch], side: int, mpp: float) -> Pixels:
    """Return ``(n, side, side, 3)``; beyond a picture's edge it is mirrored.

    Raises
    ------
    BadRequest
        When a picture cannot be read.
    """
    pixels = np.empty((len(patches), side, side, 3), np.uint8)
    # Neighbours follow each other, so that a tile of a slide is decoded once.
    order = sorted(range(len(patches)), key=lambda number: _place(patches[number]))
    for file, numbers in groupby(order, key=lambda number: patches[number].file):
        _read_file(file, [(number, patches[number]) for number in numbers], pixels, mpp)
    return pixels


def _place(patch: Patch) -> tuple[str, int, float]:
    return str(patch.file), int(patch.y // _TILE_UM), patch.x


def _read_file(file: Path, wanted: Sequence[tuple[int, Patch]], pixels: Pixels, mpp: float) -> None:
    side = pixels.shape[1]
    with Source(file) as source:
        for number, patch in wanted:
            size = max(1, round(side * mpp / patch.mpp))
            if patch.whole:
                left, top = (source.size[0] - size) // 2, (source.size[1] - size) // 2
            else:
                left, top = round(patch.x / patch.mpp - size / 2), round(patch.y / patch.mpp - size / 2)
            pixels[number] = _resized(_mirrored(source, left, top, size), side)


def _mirrored(source: Source, left: int, top: int, size: int) -> Pixels:
    """Read a square, of which a part may lie beyond the picture."""
    columns, rows = source.size
    x, y = max(0, min(left, columns - 1)), max(0, min(top, rows - 1))
    right, bottom = max(x + 1, min(left + size, columns)), max(y + 1, min(top + size, rows))
    found = source.read(x, y, right - x, bottom - y)
    if found.shape[:2] == (size, size):
        return found
    above, below, before, behind = (
        max(0, each) for each in (y - top, top + size - bottom, x - left, left + size - right)
    )
    padded: Any = cv2.copyMakeBorder(found, above, below, before, behind, cv2.BORDER_REFLECT)
    return np.asarray(padded[:size, :size], np.uint8)


def _resized(square: Pixels, side: int) -> Pixels:
    if square.shape[:2] == (side, side):
        return square
    way = cv2.INTER_AREA if square.shape[0] > side else cv2.INTER_CUBIC
    resized: Any = cv2.resize(square, (side, side), interpolation=way)
    return np.asarray(resized, np.uint8)
