"""Dyes as a scanner sees them: drawn dye colours, Beer-Lambert, tinted and uneven light, focus, noise, JPEG."""

from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from dicomsvc.ai.training.backdrop import Chance, Floats, noise
from dicomsvc.ai.training.ihc.staining import Stained
from dicomsvc.wsi.stain.density import unit

Pixels = npt.NDArray[np.uint8]
_AEC_SHARE: Final = 0.06
_LARGEST_COSINE: Final = 0.905


def photographed(dyes: Stained, chance: Chance) -> Pixels:
    """Return the picture ``(side, side, 3)``."""
    colours = dye_colours(chance)
    amounts: Any = np.stack([dyes.hematoxylin, dyes.marker], axis=-1) @ colours
    for plane, colour in dyes.other:
        amounts = amounts + plane[:, :, np.newaxis] * unit(colour[np.newaxis])[0]
    shown = _light(len(amounts), chance) * np.power(np.float32(10), -amounts.astype(np.float32))
    values = 255 * np.power(np.clip(shown, 0, 1), np.float32(chance.uniform(0.85, 1.15)))
    values = _focused(values.astype(np.float32), chance)
    if chance.random() < 0.6:
        values = values + chance.normal(0, chance.uniform(0.5, 5), values.shape)
    return _compressed(np.clip(np.rint(values), 0, 255).astype(np.uint8), chance)


def dye_colours(chance: Chance) -> npt.NDArray[np.float64]:
    """Return unit vectors ``(2, 3)``: hematoxylin from blue to grey-violet; DAB from yellow-brown to grey, or AEC.

    They differ by some 25 degrees at least (Ruifrok and Johnston's by 37): others nobody could tell apart.
    """
    while True:
        hematoxylin = [chance.uniform(0.5, 0.82), chance.uniform(0.5, 0.72), chance.uniform(0.18, 0.5)]
        chromogen = [chance.uniform(0.16, 0.42), chance.uniform(0.48, 0.66), chance.uniform(0.65, 0.9)]
        if chance.random() < _AEC_SHARE:
            chromogen = [chance.uniform(0.12, 0.3), chance.uniform(0.65, 0.75), chance.uniform(0.6, 0.72)]
        colours = unit(np.array([hematoxylin, chromogen]))
        if float(colours[0] @ colours[1]) <= _LARGEST_COSINE:
            return colours


def _light(side: int, chance: Chance) -> Floats:
    """Return what glass lets through, 0 to 1: white, or tinted towards brown, not quite even."""
    glass = chance.uniform(0.88, 1.0) * chance.uniform(0.97, 1.0, 3)
    if chance.random() < 0.2:
        glass = glass * np.array([1.0, chance.uniform(0.93, 1), chance.uniform(0.82, 0.97)])
    shade = np.zeros((side, side), np.float32)
    if chance.random() < 0.3:
        shade += np.float32(chance.uniform(0, 0.06)) * np.abs(noise(side, side / 3, chance))
    return np.asarray((1 - shade)[:, :, np.newaxis] * glass, np.float32)


def _focused(values: Floats, chance: Chance) -> Floats:
    luck = chance.random()
    if luck < 0.35:
        return np.asarray(cv2.GaussianBlur(values, (0, 0), chance.uniform(0.3, 1.1)), np.float32)
    if luck < 0.65:
        soft = np.asarray(cv2.GaussianBlur(values, (0, 0), chance.uniform(0.7, 1.5)), np.float32)
        return np.asarray(values + np.float32(chance.uniform(0.3, 1.3)) * (values - soft), np.float32)
    return values


def _compressed(pixels: Pixels, chance: Chance) -> Pixels:
    if chance.random() > 0.6:
        return pixels
    done, packed = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(chance.integers(40, 96))])
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8) if done else pixels
