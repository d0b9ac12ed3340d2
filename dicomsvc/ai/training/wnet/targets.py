"""What a W-Net is to answer for a crop: the mask, and a dot or a density mask at each nucleus' middle."""

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicomsvc.ai.training.wnet.recipe import Recipe

Floats = npt.NDArray[np.float32]
CHANNELS: Final = ("MASK", "DENSITY")


def targets(labels: npt.NDArray[np.int32], recipe: Recipe, unknown: npt.NDArray[np.bool_] | None = None) -> Floats:
    """Return ``(3, rows, columns)`` from 0 to 1: `CHANNELS`, and 0 where what is there is unknown, else 1."""
    reach = recipe.reach if recipe.centres == "density" else recipe.dot_radius
    away = _away(labels, reach)
    marked = density(away, recipe.reach, recipe.steepness) if recipe.centres == "density" else away <= reach
    known = np.ones(labels.shape, np.bool_) if unknown is None else ~unknown
    return np.stack([labels > 0, marked, known]).astype(np.float32)


def density(away: Floats, reach: float, steepness: float) -> Floats:
    """Return equation 1 for pixels so far from the nearest middle.

    Its numerator is taken as exp(a (1 - D/d)) - 1: only so is the middle 1, as the paper's text has it.
    """
    height = (np.exp(steepness * (1 - away / reach)) - 1) / (np.exp(steepness) - 1)
    return np.where(away <= reach, height, 0).astype(np.float32)


def _away(labels: npt.NDArray[np.int32], reach: float) -> Floats:
    """Return how far each pixel is from the nearest middle of a thing, in pixels; right up to ``reach``."""
    away = np.full(labels.shape, np.inf, np.float32)
    numbers = np.unique(labels[labels > 0])
    if not len(numbers):
        return away
    margin = int(np.ceil(reach)) + 1
    for row, column in ndimage.center_of_mass(labels > 0, labels, numbers):
        top, left = max(0, round(row) - margin), max(0, round(column) - margin)
        part = away[top : round(row) + margin + 1, left : round(column) + margin + 1]
        rows, columns = np.ogrid[top : top + part.shape[0], left : left + part.shape[1]]
        # From the pixel that holds the middle: a peak of full height lies in some pixel.
        np.minimum(part, np.hypot(rows - round(row), columns - round(column)), out=part, casting="same_kind")
    return away
