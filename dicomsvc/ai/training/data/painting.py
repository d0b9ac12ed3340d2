"""Outlines as pixels: a pixel belongs to a thing when at least half of it lies inside."""

from collections.abc import Sequence
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from dicomsvc.ai.training.data.marks import Mark, Ring
from dicomsvc.wsi.plan import Rectangle

Inside = npt.NDArray[np.bool_]
_FINER: Final = 8
_SLACK: Final = 0.02
"""Reports keep places in single precision: an edge that is off by so little of a pixel touches no further pixel."""


def box_in(mark: Mark, scale: tuple[float, float]) -> Rectangle:
    """Return the smallest rectangle of whole plane pixels around a mark; ``scale`` is plane per slide pixel, (x, y)."""
    left, top, right, bottom = mark.box
    x, y = int(np.floor(left * scale[0] + _SLACK)), int(np.floor(top * scale[1] + _SLACK))
    width, height = int(np.ceil(right * scale[0] - _SLACK)) - x, int(np.ceil(bottom * scale[1] - _SLACK)) - y
    return Rectangle(x, y, max(1, width), max(1, height))


def painted(mark: Mark, scale: tuple[float, float], area: Rectangle) -> tuple[Rectangle, Inside]:
    """Return where in a rectangle of the plane a mark lies, and its pixels there, ``(rows, columns)``."""
    part = box_in(mark, scale).overlap(area)
    if part.width < 1 or part.height < 1:
        return part, np.zeros((0, 0), np.bool_)
    fine = np.zeros((part.height * _FINER, part.width * _FINER), np.uint8)
    rings: Sequence[Any] = [_fine(ring, scale, part) for ring in mark.rings]
    cv2.fillPoly(fine, rings, [255])
    coarse: Any = cv2.resize(fine, (part.width, part.height), interpolation=cv2.INTER_AREA)
    return part, np.asarray(coarse > 127)


def covers(mark: Mark, scale: tuple[float, float], cells: float, columns: int, rows: int) -> tuple[int, int, Inside]:
    """Return which cells of ``cells`` plane pixels a mark touches: left and top cell of a block, and the block.

    Cells beyond ``columns`` and ``rows`` are left out.
    """
    area = box_in(mark, (scale[0] / cells, scale[1] / cells)).overlap(Rectangle(0, 0, columns, rows))
    block = np.zeros((area.height, area.width), np.uint8)
    if block.size:
        points = [
            np.floor(ring * np.array(scale) / cells - (area.x, area.y)).astype(np.int32).reshape(-1, 1, 2)
            for ring in mark.rings
        ]
        cv2.fillPoly(block, points, [1])
    return area.x, area.y, block.astype(np.bool_)


def _fine(ring: Ring, scale: tuple[float, float], part: Rectangle) -> npt.NDArray[np.int32]:
    placed = (ring * np.array(scale) - (part.x, part.y)) * _FINER - 0.5
    return np.rint(placed).astype(np.int32).reshape(-1, 1, 2)
