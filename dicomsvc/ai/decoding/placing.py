"""Where the pixels of a tile's tensors lie: in the plane, on the slide, in the tile's core."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dicomsvc.wsi.plan import Rectangle, Tile


@dataclass(frozen=True, slots=True)
class Placement:
    """``stride`` is a tensor pixel in plane pixels, ``scale`` (x, y) a slide pixel in plane pixels."""

    tile: Tile
    stride: int
    scale: tuple[float, float]

    def to_slide(self, points: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return slide pixels of tensor pixels, (x, y); both have their top left corner at (0, 0)."""
        corner = np.array([self.tile.context.x, self.tile.context.y], np.float64)
        return np.asarray((points * float(self.stride) + corner) / np.array(self.scale), np.float32)

    def near_core(self, centroids: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Whether each point (tensor pixels) lies in the core or within half of the overlap around it."""
        context, core = self.tile.context, self.tile.core
        margin = max(core.x - context.x, core.y - context.y) / 2
        at = centroids * self.stride + (context.x, context.y)
        return np.asarray(depth(at, core) >= -margin)

    def depth_of(self, centroids: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return how deep in the core, in plane pixels, each point (slide pixels) lies; outside below 0."""
        return depth(centroids.astype(np.float64) * self.scale, self.tile.core).astype(np.float32)

    @property
    def cells(self) -> Rectangle:
        """The core in the plane's grid of tensor pixels; every pixel that the core touches."""
        core, stride = self.tile.core, self.stride
        left, top = core.x // stride, core.y // stride
        return Rectangle(left, top, -(-core.right // stride) - left, -(-core.bottom // stride) - top)

    def core_of(self, plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the part of a tensor ``(rows, columns, …)`` that `cells` are."""
        cells = self.cells
        left, top = cells.x - self.tile.context.x // self.stride, cells.y - self.tile.context.y // self.stride
        return plane[top : top + cells.height, left : left + cells.width]


def depth(points: npt.NDArray[Any], area: Rectangle) -> npt.NDArray[np.float64]:
    """Return the distance of points from the nearest side of a rectangle, below 0 outside."""
    x, y = points[:, 0], points[:, 1]
    return np.asarray(
        np.minimum(np.minimum(x - area.x, area.right - x), np.minimum(y - area.y, area.bottom - y)), np.float64
    )
