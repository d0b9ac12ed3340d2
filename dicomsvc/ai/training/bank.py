"""Nuclei cut out of labelled fluorescence: shapes and chromatin to render as H&E."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicomsvc.ai.training.labelled import Labelled

Floats = npt.NDArray[np.float32]
SIDE: Final = 64
DIAMETER: Final = 40.0
"""Every nucleus is kept as if its area were that of a circle of so many pixels."""
_LEAST_AREA: Final = 90
_LEAST_SOLIDITY: Final = 0.85
_MOST: Final = 255 / 100


@dataclass(frozen=True, slots=True, eq=False)
class Nucleus:
    """``mask`` 0 to 1 and ``texture`` (its mean is 1), both ``(SIDE, SIDE)``."""

    mask: Floats
    texture: Floats


@dataclass(frozen=True, slots=True, eq=False)
class NucleusBank:
    """``masks`` (255 is 1) and ``textures`` (100 is 1), UINT8 ``(n, SIDE, SIDE)``."""

    masks: npt.NDArray[np.uint8]
    textures: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.masks)

    def nucleus(self, number: int) -> Nucleus:
        return Nucleus(
            self.masks[number].astype(np.float32) / np.float32(255),
            self.textures[number].astype(np.float32) / np.float32(100),
        )


def make_bank(samples: Iterable[Labelled], most_each: int = 60) -> NucleusBank:
    """Cut out nuclei that are whole, large enough to have a texture, and not several taken for one."""
    cut = [nucleus for sample in samples for nucleus in _nuclei(sample, most_each)]
    masks, textures = zip(*cut, strict=True) if cut else ((), ())
    shape = (len(cut), SIDE, SIDE)
    return NucleusBank(np.array(masks, np.uint8).reshape(shape), np.array(textures, np.uint8).reshape(shape))


def _nuclei(sample: Labelled, most: int) -> list[tuple[Any, Any]]:
    grey: Floats = sample.pixels.mean(axis=2, dtype=np.float32)
    grey = grey - np.float32(np.median(grey[sample.labels == 0])) if (sample.labels == 0).any() else grey
    found: list[tuple[Any, Any]] = []
    for number, place in enumerate(ndimage.find_objects(sample.labels), 1):
        if place is None or any(
            each.start == 0 or each.stop == size for each, size in zip(place, grey.shape, strict=True)
        ):
            continue
        own = (sample.labels[place] == number).astype(np.uint8)
        if _suits(own):
            found.append(_standard(own, grey[place]))
        if len(found) == most:
            break
    return found


def _suits(mask: npt.NDArray[np.uint8]) -> bool:
    area = int(np.count_nonzero(mask))
    if area < _LEAST_AREA:
        return False
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = np.zeros_like(mask)
    cv2.fillConvexPoly(hull, cv2.convexHull(np.concatenate(contours)), 1)
    return area / int(np.count_nonzero(hull)) >= _LEAST_SOLIDITY


def _standard(mask: npt.NDArray[np.uint8], grey: Floats) -> tuple[Any, Any]:
    """Return mask and texture, its middle in the middle, its size the standard one."""
    inside = mask > 0
    texture = np.where(inside, grey, 0) / max(float(grey[inside].mean()), 1.0)
    row, column = (float(values.mean()) for values in np.nonzero(inside))
    scale = DIAMETER / float(np.sqrt(np.count_nonzero(inside) * 4 / np.pi))
    middle = (SIDE - 1) / 2
    matrix = np.array([[scale, 0, middle - scale * column], [0, scale, middle - scale * row]])
    # Outside the nucleus the texture goes on as 1, so that its edge is only in the mask.
    texture = np.where(inside, texture, 1).astype(np.float32)
    moved = cv2.warpAffine(texture, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderValue=1.0)
    shape = cv2.warpAffine(mask * np.float32(255), matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR)
    return np.clip(shape, 0, 255).astype(np.uint8), (np.clip(moved, 0, _MOST) * 100).astype(np.uint8)
