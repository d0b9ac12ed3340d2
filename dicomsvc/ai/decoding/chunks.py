"""The findings of one chunk of tiles, in memory and as a file that a resumed job reads again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from dicomsvc.ai.findings import Instances
from dicomsvc.wsi.plan import Rectangle

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Raster:
    """Values of the plane's cells in one rectangle.

    ``place`` counts cells, ``cell`` is a cell's width and height in plane pixels; ``values`` is ``(rows, columns)`` or
    ``(rows, columns, channels)``. Where no tile was looked at there is 0, in float32 rasters NaN, in images 255.
    """

    place: Rectangle
    cell: int
    values: Array


@dataclass(frozen=True, slots=True, eq=False)
class Seam:
    """What `dicomsvc.ai.decoding.join_instances` needs to make one thing of two halves at the chunk's border.

    ``rows`` int64: which of the chunk's instances lie at its border; ``candidates``: things seen there that count for
    another tile. ``tile`` int32 and ``depth`` float32 are columns of both, the rows' first; ``home`` int32 is the tile
    whose core holds the centroid, -1 where there is none.
    """

    rows: npt.NDArray[np.int64]
    candidates: Instances
    tile: npt.NDArray[np.int32]
    depth: npt.NDArray[np.float32]
    home: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class ChunkFindings:
    """What was found in one chunk; ``area`` in plane pixels."""

    number: int
    area: Rectangle
    instances: Instances | None = None
    seam: Seam | None = None
    rasters: Mapping[str, Raster] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write one ``.npz`` file; it appears as a whole and durably, or not at all."""
        raise NotImplementedError

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        DamagedFile
            When the bytes are not those that were written.
        """
        raise NotImplementedError
