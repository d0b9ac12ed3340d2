"""Pictures of immunohistochemistry with known cells: round nuclei in blue and brown on pale tissue."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

_HEMATOXYLIN = np.array([0.65, 0.70, 0.29])
_DAB = np.array([0.27, 0.57, 0.78])


@dataclass(frozen=True)
class MadeField:
    """``picture`` ``(rows, columns, 3)`` at 0.5 um a pixel; ``centres`` ``(n, 2)`` as x, y; ``positive`` ``(n,)``."""

    picture: npt.NDArray[np.uint8]
    centres: npt.NDArray[np.float64]
    positive: npt.NDArray[np.bool_]


def made_field(seed: int, size: int = 400, spacing: int = 40, share: float = 0.4) -> MadeField:
    """Make a field whose nuclei do not touch."""
    chance = np.random.default_rng(seed)
    grid = np.arange(spacing // 2 + 4, size - spacing // 2, spacing)
    centres = np.array([(x, y) for y in grid for x in grid], np.float64) + chance.uniform(-6, 6, (len(grid) ** 2, 2))
    positive = chance.random(len(centres)) < share
    amounts = np.zeros((size, size, 2), np.float32)
    for (x, y), brown in zip(centres, positive, strict=True):
        radius = chance.uniform(8, 11)
        axes = (round(radius), round(radius * chance.uniform(0.75, 1)))
        plane = np.zeros((size, size), np.uint8)
        cv2.ellipse(plane, (round(x), round(y)), axes, chance.uniform(0, 180), 0, 360, 1, -1)
        amounts[..., 0] += plane * (0.25 if brown else 0.6)
        amounts[..., 1] += plane * (0.75 if brown else 0.0)
    amounts = cv2.GaussianBlur(amounts, (0, 0), 0.8)
    density = 0.03 + amounts @ np.stack([_HEMATOXYLIN, _DAB]).astype(np.float32)
    picture = 245 * 10 ** (-density) + chance.normal(0, 2, density.shape)
    return MadeField(np.clip(np.rint(picture), 0, 255).astype(np.uint8), centres, positive)
