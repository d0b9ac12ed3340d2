"""Changes a crop as laboratories, scanners and files do: stains, brightness, focus, noise, JPEG."""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicomsvc.ai.training.backdrop import Chance, noise
from dicomsvc.ai.training.labelled import Labelled
from dicomsvc.ai.training.rendering import stain_vectors
from dicomsvc.wsi.stain.density import HED, density, intensity, unit, unmix

Pixels = npt.NDArray[np.uint8]
_GLASS = 254.0


def crop(sample: Labelled, side: int, chance: Chance, diameter: tuple[float, float]) -> Labelled:
    """Return a turned, mirrored piece of a picture, scaled so that its things have a median diameter in a range."""
    usual = sample.diameter() or float(np.mean(diameter))
    scale = float(np.exp(chance.uniform(*np.log(diameter)))) / usual
    rows, columns = sample.labels.shape
    angle = chance.uniform(0, 360)
    matrix = cv2.getRotationMatrix2D((0.0, 0.0), angle, scale)
    if chance.random() < 0.5:
        matrix[0] *= -1
    reach = side / (2 * scale)
    middle = [chance.uniform(min(reach, size / 2), max(size - reach, size / 2)) for size in (columns, rows)]
    matrix[:, 2] = side / 2 - matrix[:, :2] @ np.array(middle)
    pixels = sample.pixels if scale > 0.7 else cv2.GaussianBlur(sample.pixels, (0, 0), 0.35 / scale)
    size = (side, side)
    moved: Any = cv2.warpAffine(pixels, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    labels: Any = cv2.warpAffine(
        sample.labels.astype(np.float32), matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101
    )
    if sample.unknown is None:
        return Labelled(sample.name, moved, _apart(labels.astype(np.int32)))
    unknown: Any = cv2.warpAffine(
        sample.unknown.astype(np.uint8), matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101
    )
    return Labelled(sample.name, moved, _apart(labels.astype(np.int32)), unknown > 0)


def _apart(labels: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Number the parts of things that are in several parts: mirror images at the border are things of their own."""
    apart = np.zeros_like(labels)
    count = 0
    for number, place in enumerate(ndimage.find_objects(labels), 1):
        if place is not None:
            parts, found = cv2.connectedComponents((labels[place] == number).astype(np.uint8), connectivity=8)
            apart[place] += np.where(found > 0, found + count, 0).astype(np.int32)
            count += parts - 1
    return apart


def restained(sample: Labelled, chance: Chance) -> Labelled:
    """Give a picture of another stain H&E's colours: what is in things hematoxylin, with eosin drawn around them."""
    amounts = unmix(density(sample.pixels, _GLASS), unit(HED[:2])).reshape(*sample.labels.shape, 2)
    amounts = np.clip(amounts, 0, None)
    total = amounts.sum(axis=2)
    inside = sample.labels > 0
    if not inside.any() or inside.all():
        return sample
    floor = float(np.median(total[~inside]))
    hematoxylin = np.clip(total - floor * chance.uniform(0.5, 1.0), 0, None)
    hematoxylin *= chance.uniform(0.5, 1.3) / max(float(hematoxylin[inside].mean()), 0.1)
    grain = 1 + 0.3 * noise(len(total), chance.uniform(2, 20), chance)
    eosin = (chance.uniform(0.1, 0.7) * grain + chance.uniform(0, 0.8) * np.minimum(total, floor)) * (1 - 0.4 * inside)
    mixed = np.stack([hematoxylin, np.clip(eosin, 0, 3)], axis=-1) @ stain_vectors(chance)
    return replace(sample, pixels=intensity(mixed.astype(np.float32), _GLASS))


def photographed(pixels: Pixels, chance: Chance) -> Pixels:
    """Return the crop as another scanner would have made it."""
    pixels = _stain_jitter(pixels, chance)
    values = pixels.astype(np.float32) * (chance.uniform(0.9, 1.05, 3) * chance.uniform(0.88, 1.05))
    values = 255 * np.power(np.clip(values, 0, 255) / 255, chance.uniform(0.75, 1.3))
    values = np.asarray(_focused(values.astype(np.float32), chance))
    if chance.random() < 0.5:
        values = values + chance.normal(0, chance.uniform(0.5, 5), values.shape)
    changed = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    if chance.random() < 0.6:
        quality = int(chance.integers(40, 96))
        done, packed = cv2.imencode(".jpg", changed, [cv2.IMWRITE_JPEG_QUALITY, quality])
        changed = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8) if done else changed
    return changed


def _stain_jitter(pixels: Pixels, chance: Chance) -> Pixels:
    stains = unit(HED)
    found = unmix(density(pixels, _GLASS), stains)
    amounts = found * chance.uniform(0.75, 1.3, 3) + chance.normal(0, 0.02, 3)
    turned = unit(stains + chance.normal(0, 0.02, stains.shape))
    return intensity((amounts @ turned).astype(np.float32), _GLASS).reshape(pixels.shape)


def _focused(values: npt.NDArray[np.float32], chance: Chance) -> npt.NDArray[np.float32]:
    luck = chance.random()
    if luck < 0.3:
        values = np.asarray(cv2.GaussianBlur(values, (0, 0), chance.uniform(0.3, 1.2)), np.float32)
    elif luck < 0.55:
        soft = np.asarray(cv2.GaussianBlur(values, (0, 0), chance.uniform(0.7, 1.5)), np.float32)
        values = values + np.float32(chance.uniform(0.3, 1.3)) * (values - soft)
    return values
