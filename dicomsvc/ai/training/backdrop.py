"""What lies between nuclei, as amounts of hematoxylin and eosin: real tissue with its nuclei painted over, or made.

Amounts are natural optical densities along a stain's unit vector, float32 ``(rows, columns)``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from dicomsvc.wsi.stain.density import HED, density, unit, unmix

Floats = npt.NDArray[np.float32]
Chance = np.random.Generator
_STAINS: Final = unit(HED[:2])


@dataclass(frozen=True, slots=True, eq=False)
class Backdrop:
    hematoxylin: Floats
    eosin: Floats


def of_picture(pixels: npt.NDArray[np.uint8]) -> Backdrop:
    """Return the tissue of an H&E picture at the network's resolution, without its nuclei."""
    glass = float(np.percentile(pixels.max(axis=2), 99.5))
    amounts = unmix(density(pixels, max(glass, 150.0)), _STAINS).reshape(*pixels.shape[:2], 2)
    hematoxylin, eosin = (np.ascontiguousarray(np.clip(amounts[:, :, plane], 0, None)) for plane in range(2))
    smooth = blurred(hematoxylin, 1.0)
    around = cv2.blur(smooth, (41, 41))
    dark = (smooth > around * 1.1 + 0.04).astype(np.uint8)
    nuclei: Any = cv2.dilate(dark, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)))
    free = 1 - nuclei.astype(np.float32)
    hematoxylin = _painted_over(hematoxylin, free)
    lowest = blurred(hematoxylin, 8.0)
    return Backdrop(np.minimum(hematoxylin, lowest * np.float32(1.15) + np.float32(0.03)), _painted_over(eosin, free))


def _painted_over(plane: Floats, free: Floats) -> Floats:
    """Return the plane with what is not free replaced by what is around it, with the grain of another place."""
    near, far = (blurred(plane * free, sigma) for sigma in (4.0, 20.0))
    near_weight, far_weight = (blurred(free, sigma) for sigma in (4.0, 20.0))
    weight = near_weight + np.float32(0.05) * far_weight + np.float32(1e-3)
    smooth = (near + np.float32(0.05) * far) / weight
    grain = np.roll((plane - smooth) * free, (37, 53), axis=(0, 1))
    soft = blurred(free, 1.0)
    filled: Floats = soft * plane + (1 - soft) * np.clip(smooth + grain, 0, None)
    return filled


def cut(backdrops: Sequence[Backdrop], side: int, chance: Chance) -> Backdrop:
    """Return a piece of one of them, turned and a little scaled; rarely one that is mostly glass."""
    for _ in range(3):
        piece = _piece(backdrops, side, chance)
        if float((piece.eosin + piece.hematoxylin).mean()) > 0.15:
            break
    return piece


def _piece(backdrops: Sequence[Backdrop], side: int, chance: Chance) -> Backdrop:
    source = backdrops[int(chance.integers(len(backdrops)))]
    angle, scale = chance.uniform(0, 360), chance.uniform(0.8, 1.25)
    rows, columns = source.eosin.shape
    centre = (chance.uniform(0, columns), chance.uniform(0, rows))
    matrix: Any = cv2.getRotationMatrix2D(centre, angle, scale)
    matrix[:, 2] += side / 2 - np.array(centre)
    planes: list[Any] = [
        cv2.warpAffine(plane, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        for plane in (source.hematoxylin, source.eosin)
    ]
    return Backdrop(*planes)


def made(side: int, chance: Chance) -> Backdrop:
    """Return smooth unevenness, fibres and gaps."""
    eosin = chance.uniform(0.15, 0.8) * (1 + chance.uniform(0.1, 0.4) * noise(side, chance.uniform(8, 40), chance))
    eosin = eosin + chance.uniform(0, 0.15) * noise(side, chance.uniform(1, 3), chance)
    if chance.random() < 0.6:
        eosin = eosin + chance.uniform(0.05, 0.3) * _fibres(side, chance)
    hematoxylin = chance.uniform(0.02, 0.35) * (1 + 0.4 * noise(side, chance.uniform(5, 30), chance))
    hematoxylin = hematoxylin + chance.uniform(0, 0.06) * noise(side, chance.uniform(0.8, 2), chance)
    if chance.random() < 0.4:
        gaps = noise(side, chance.uniform(6, 25), chance)
        tissue = 1 / (1 + np.exp(np.clip((gaps - chance.uniform(0.6, 1.8)) * 12, -30, 30)))
        eosin, hematoxylin = eosin * (0.05 + 0.95 * tissue), hematoxylin * (0.05 + 0.95 * tissue)
    return Backdrop(*(np.clip(plane, 0, None).astype(np.float32) for plane in (hematoxylin, eosin)))


def noise(side: int, sigma: float, chance: Chance) -> Floats:
    """Return a smooth random field of mean 0 and deviation 1."""
    # Drawn coarse and enlarged: a wide Gaussian of white noise looks no different and costs far more.
    step = max(1.0, sigma / 2)
    small = max(4, int(np.ceil(side / step)) + 4)
    field = blurred(chance.standard_normal((small, small)).astype(np.float32), sigma / step)
    field = (field - field.mean()) / max(float(field.std()), 1e-6)
    large: Any = cv2.resize(field, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
    grown: Floats = large[:side, :side]
    return grown


def _fibres(side: int, chance: Chance) -> Floats:
    length, angle = int(chance.integers(11, 35)), chance.uniform(0, np.pi)
    kernel = np.zeros((length, length), np.float32)
    middle, reach = length // 2, length / 2
    ends = [
        (round(middle + sign * reach * np.cos(angle)), round(middle + sign * reach * np.sin(angle))) for sign in (-1, 1)
    ]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1)
    field = cv2.filter2D(noise(side, chance.uniform(0.7, 2.0), chance), -1, kernel / max(float(kernel.sum()), 1.0))
    fibres: Floats = (field / max(float(field.std()), 1e-6)).astype(np.float32)
    return fibres


def blurred(plane: Floats, sigma: float) -> Floats:
    smooth: Any = cv2.GaussianBlur(plane, (0, 0), max(sigma, 0.1), borderType=cv2.BORDER_REFLECT_101)
    result: Floats = smooth
    return result
