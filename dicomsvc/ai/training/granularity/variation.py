"""Turns, mirrors and recolours what goes into a network.

Eight ways to lie, and colours perturbed within Liu et al. 2017 (arXiv:1703.02442): brightness by up to 64 of 255,
saturation by a quarter, hue by 0.04 of the circle, contrast by three quarters.
"""

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


def turned(array: npt.NDArray[np.generic], way: int) -> npt.NDArray[np.generic]:
    """Return a square array in one of eight ways to lie; all arrays of an example are turned the same way."""
    array = np.rot90(array, way % 4)
    return array[:, ::-1] if way >= 4 else array


def recoloured(pixels: Pixels, chance: np.random.Generator) -> Pixels:
    hsv = np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2HSV), np.int16)
    # OpenCV's hue has 180 steps.
    hsv[..., 0] = (hsv[..., 0] + round(180 * chance.uniform(-0.04, 0.04))) % 180
    hsv[..., 1] = np.clip(hsv[..., 1] * chance.uniform(0.75, 1.25), 0, 255)
    values = np.asarray(cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB), np.float32)
    middle = values.mean()
    values = (values - middle) * chance.uniform(0.25, 1.75) + middle + chance.uniform(-64, 64)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
