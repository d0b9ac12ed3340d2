"""Optical densities of stains, by look-up.

Vectors of hematoxylin, eosin and DAB in red, green and blue: Ruifrok and Johnston, Anal Quant Cytol Histol
2001;23:291-299. Density is to base 10, of ``(value + 1) / 256``.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

HED: Final = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
STAINS: Final = ("hematoxylin", "eosin", "dab")


def _table() -> npt.NDArray[np.float32]:
    vectors = np.array(HED)
    unmix = np.linalg.inv(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    density = -np.log10((np.arange(256) + 1) / 256)
    table = (unmix.T[:, :, np.newaxis] * density).astype(np.float32)
    table.setflags(write=False)
    return table


_TABLE: Final = _table()


def stain_density(rgb: npt.NDArray[np.uint8], stain: str) -> npt.NDArray[np.float32]:
    """Return how much of a stain is in each pixel; ``rgb`` is ``(n, 3)``."""
    red, green, blue = _TABLE[STAINS.index(stain)]
    density: npt.NDArray[np.float32] = red[rgb[:, 0]] + green[rgb[:, 1]] + blue[rgb[:, 2]]
    return density
