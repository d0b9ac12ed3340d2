"""Pictures of tissue with known nuclei, made by Beer and Lambert's law from amounts of two stains."""

from dataclasses import dataclass

import cv2
import numpy as np

_HEMATOXYLIN = np.array([0.65, 0.70, 0.29]) / np.linalg.norm([0.65, 0.70, 0.29])
_EOSIN = np.array([0.07, 0.99, 0.11]) / np.linalg.norm([0.07, 0.99, 0.11])


@dataclass(frozen=True, slots=True, eq=False)
class MadeTissue:
    """``labels`` counts nuclei from 1; ``centres`` are (x, y), whole numbers pixel centres; 0.25 um a pixel."""

    picture: np.ndarray
    labels: np.ndarray
    centres: np.ndarray


def make_tissue(seed: int, size: int = 512, nuclei: int = 75) -> MadeTissue:
    """Make a picture: nuclei of 5 to 9 um in stroma of uneven eosin, some of them touching."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((size, size), np.int32)
    for _ in range(20 * nuclei):
        number = int(labels.max()) + 1
        if number > nuclei:
            break
        x, y = rng.integers(0, size, 2)
        axes = rng.uniform(10, 18), rng.uniform(8, 12)
        ellipse = (20.0, 20.0), (2 * axes[0], 2 * axes[1]), rng.uniform(0, 180)
        drawn = cv2.ellipse(np.zeros((41, 41), np.uint8), ellipse, 1, -1).astype(bool)
        place = slice(max(y - 20, 0), y + 21), slice(max(x - 20, 0), x + 21)
        drawn = drawn[max(20 - y, 0) :, max(20 - x, 0) :][: size - place[0].start, : size - place[1].start]
        taken = labels[place] > 0
        if np.count_nonzero(drawn & taken) < 0.04 * np.count_nonzero(drawn):
            labels[place][drawn & ~taken] = number
    eosin = 0.35 + 0.2 * _texture(rng, size, 25)
    chromatin = 0.9 + 0.25 * _texture(rng, size, 2)
    strength = rng.uniform(0.75, 1.3, labels.max() + 1)
    hematoxylin = np.where(labels > 0, chromatin * strength[labels], 0.08 + 0.05 * _texture(rng, size, 6))
    hematoxylin = cv2.GaussianBlur(np.clip(hematoxylin, 0, None), (0, 0), 1.2)
    density = hematoxylin[..., None] * _HEMATOXYLIN + np.clip(eosin, 0, None)[..., None] * _EOSIN
    light = 245 * np.exp(-density) + rng.normal(0, 3, (*labels.shape, 3))
    numbers = np.unique(labels)[1:]
    centres = np.array([np.argwhere(labels == number).mean(axis=0)[::-1] for number in numbers])
    return MadeTissue(np.clip(np.rint(light), 0, 255).astype(np.uint8), labels, centres)


def _texture(rng: np.random.Generator, size: int, sigma: float) -> np.ndarray:
    """Return smooth noise of mean 0 and deviation 1."""
    noise = cv2.GaussianBlur(rng.normal(size=(size, size)), (0, 0), sigma)
    return np.asarray((noise - noise.mean()) / noise.std())
