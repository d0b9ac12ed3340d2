"""What a decoder is and what it gives for one tile."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dicomsvc.ai.findings import Instances
from dicomsvc.wsi.plan import Tile

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class TileFindings:
    """What was found in one tile.

    ``instances`` (or None) are those whose centroid lies in the tile's core or within half of the overlap around it;
    ``depth`` float32 ``(n,)`` is how far (plane pixels) inside of the core the centroid lies, below 0 outside.
    ``rasters`` hold the core's cells by name, ``(rows, columns)`` or ``(rows, columns, channels)``: ``class_map`` uint8
    (0 is none, then 1 + the index of the class), ``probability`` uint8 (255 steps, one channel a class), ``map``
    float32, ``image`` uint8, ``channels`` uint8 (255 steps, one for each channel of the manifest). A cell is ``cell``
    plane pixels wide and high; ``corner`` is the (column, row) of the core's first cell in the plane's grid of cells.
    """

    tile: Tile
    instances: Instances | None = None
    depth: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    rasters: Mapping[str, Array] = field(default_factory=dict)
    cell: int = 1
    corner: tuple[int, int] = (0, 0)


class Decoder(Protocol):
    """Turns the output of one tile into findings; has no state, so any number of threads may use it."""

    def decode(
        self, outputs: Mapping[str, Array], image: Array, tile: Tile, scale: tuple[float, float]
    ) -> TileFindings:
        """Decode one tile.

        Parameters
        ----------
        outputs
            By tensor name as the model gave them, without the batch axis.
        image
            The pixels of the tile's context ``(rows, columns, samples)``, before any preprocessing.
        tile
            Where it lies, in plane pixels.
        scale
            Plane pixels per slide pixel, (x, y).

        Raises
        ------
        ModelFailure
            When a tensor is missing, has another shape than the manifest promises, or holds NaN.
        """
        ...
