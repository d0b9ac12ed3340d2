"""Results whose place is known exactly: shapes that no mistake of axes, origin or scale leaves where they are."""

from typing import Final

import numpy as np
import numpy.typing as npt

# (column, row, width, height) in pixels of the finest level of CMU-1-Small-Region (2220 x 2967).
L_SHAPE: Final = ((300, 400, 300, 1400), (600, 1500, 700, 300))
SQUARES: Final = ((1700, 100, 300, 300), (1500, 2500, 400, 300))
SHAPES: Final = (*L_SHAPE, *SQUARES)
L_OUTLINE: Final = ((300, 400), (600, 400), (600, 1500), (1300, 1500), (1300, 1800), (300, 1800))
HALF: Final = 0.5
"""What the squares have where the L has 1."""


def covered(columns: npt.NDArray[np.floating], rows: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """Whether places in pixels of the finest level lie in a shape."""
    inside = np.zeros(columns.shape, bool)
    for x, y, width, height in SHAPES:
        inside |= (columns >= x) & (columns < x + width) & (rows >= y) & (rows < y + height)
    return inside


def share(columns: npt.NDArray[np.floating], rows: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Return 1 in the L, a half in the squares, 0 elsewhere."""
    inside = covered(columns, rows)
    is_l = inside & (columns < 1400) & (rows < 2000)
    return (inside * HALF + is_l * HALF).astype(np.float32)


def heat(columns: npt.NDArray[np.floating], rows: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Return values from 0 to 1 that rise to the right and, half as much, downwards, with 1 in the shapes."""
    slope = columns / 2220 * 0.4 + rows / 2967 * 0.2
    return np.where(covered(columns, rows), 1, slope).astype(np.float32)
