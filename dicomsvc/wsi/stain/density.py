"""Optical density, and how much of each stain makes it (Ruifrok & Johnston 2001).

Beer-Lambert: ``I = I0 * exp(-D)`` with ``D = C @ S``, where ``S`` holds one stain a row (its density in red, green and
blue, of length 1) and ``C`` how much of each there is. One is added to both intensities, so that black has a finite
density.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from dicomsvc.wsi import raster

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

GLASS: Final = 240.0
"""The intensity that counts as no stain, where nothing better is known (Macenko et al. 2009)."""

HED: Final = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
"""Hematoxylin, eosin, DAB as published by Ruifrok & Johnston, not yet of length 1."""


def density_table(glass: float = GLASS) -> Floats:
    """Return the natural optical density of each of the 256 intensities; below 0 for what is brighter than glass."""
    table: Floats = np.log((glass + 1) / np.arange(1, 257)).astype(np.float32)
    return table


def density(pixels: Pixels, glass: float = GLASS) -> Floats:
    """Return the optical density of ``(…, 3)`` as ``(n, 3)``, nowhere below 0."""
    return raster.looked_up(pixels, np.clip(density_table(glass), 0, None))


def intensity(densities: Floats, glass: float = GLASS) -> Pixels:
    """Return 8-bit intensities of densities of the same shape."""
    exact = raster.exponential(-densities)
    exact *= np.float32(glass + 1)
    exact -= 1
    rounded: Pixels = np.clip(np.rint(exact), 0, 255).astype(np.uint8)
    return rounded


def unit(stains: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return rows of length 1."""
    rows = np.asarray(stains, np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1)


def unmix(densities: Floats, stains: npt.NDArray[np.floating]) -> Floats:
    """Return the amount of each stain, ``(n, stains)``, by least squares; it may be below 0."""
    return raster.mixed(densities, np.linalg.pinv(np.asarray(stains, np.float64)))
