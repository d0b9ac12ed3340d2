"""Optical densities of hematoxylin, eosin and DAB, by look-up. To base 10, of ``(value + 1) / 256``."""

from typing import Final

import numpy as np
import numpy.typing as npt

from dicomsvc.wsi.stain.density import HED, unit

STAINS: Final = ("hematoxylin", "eosin", "dab")


def _table() -> npt.NDArray[np.float32]:
    unmix = np.linalg.inv(unit(HED))
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
