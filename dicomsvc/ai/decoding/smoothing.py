"""Takes single cells out of class maps."""

from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

_MOST_AROUND: Final = 5


def without_single_cells(class_map: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Give a cell that is like none of its eight neighbours the class that five of them or more have.

    What has no class (0) neither changes nor spreads. All cells are looked at as they were.
    """
    smoothed = class_map.copy()
    alone = np.zeros(class_map.shape, np.bool_)
    counts: dict[int, npt.NDArray[np.uint8]] = {}
    for number in np.unique(class_map).tolist():
        same = (class_map == number).astype(np.uint8)
        around: Any = cv2.boxFilter(same, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
        counts[number] = around - same
        alone |= (same > 0) & (counts[number] == 0)
    for number, around in counts.items():
        if number:
            smoothed[alone & (class_map > 0) & (around >= _MOST_AROUND)] = number
    return smoothed
