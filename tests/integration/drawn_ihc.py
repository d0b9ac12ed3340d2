"""Drawn immunohistochemistry: round nuclei 26 pixels apart, some brown, the others blue, on pale tissue."""

import cv2
import numpy as np
import numpy.typing as npt

HEMATOXYLIN, DAB = np.array([[0.65, 0.70, 0.29], [0.27, 0.57, 0.78]])


def drawn(side: int, percent: float, haze: float = 0.04, seed: int = 4) -> tuple[npt.NDArray[np.uint8], float]:
    """Return a picture ``(side, side, 3)`` for 0.5 um a pixel, and what percentage of its nuclei is brown."""
    chance = np.random.default_rng(seed)
    hematoxylin, dab = np.full((side, side), 0.08, np.float32), np.full((side, side), haze, np.float32)
    brown = []
    for row in range(26, side - 20, 26):
        for column in range(26, side - 20, 26):
            place = (column + int(chance.integers(-3, 4)), row + int(chance.integers(-3, 4)))
            brown.append(chance.random() < percent / 100)
            radius = int(chance.integers(6, 8))
            cv2.circle(dab if brown[-1] else hematoxylin, place, radius, haze + 0.7 if brown[-1] else 0.5, -1)
    grain = cv2.GaussianBlur(chance.normal(1, 0.4, (side, side)).astype(np.float32), (0, 0), 1.5)
    planes = [cv2.GaussianBlur(plane * grain, (0, 0), 0.8) for plane in (hematoxylin, dab)]
    unit = [vector / np.linalg.norm(vector) for vector in (HEMATOXYLIN, DAB)]
    density = sum(plane[:, :, None] * vector for plane, vector in zip(planes, unit, strict=True))
    return np.clip(250 * 10**-density, 0, 255).astype(np.uint8), 100 * float(np.mean(brown))
