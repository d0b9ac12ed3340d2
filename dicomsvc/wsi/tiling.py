"""Which frames make up a total pixel matrix, and where (PS3.3 C.7.6.17.3, C.8.12.14).

Coordinates are those of the total pixel matrix: origin top left, ``(column, row)``, from 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from dicomsvc.dicom.frames import FrameIndex
from dicomsvc.wsi.attributes import Dataset, first, integer, item, items, number, text

_TOTAL_COLUMNS: Final = "00480006"
_TOTAL_ROWS: Final = "00480007"
_SHARED: Final = "52009229"
_PER_FRAME: Final = "52009230"
_PLANE_POSITION: Final = "0048021A"
_COLUMN_POSITION: Final = "0048021E"
_ROW_POSITION: Final = "0048021F"
_HEIGHT: Final = "0040074A"


@dataclass(frozen=True, slots=True)
class Placement:
    """A frame with the place of its top left pixel."""

    x: int
    y: int
    frame_number: int


@dataclass(frozen=True, slots=True, eq=False)
class Tiling:
    """A total pixel matrix of tiles.

    ``channels`` are the optical paths of an image, or the segments of a segmentation; at least one. ``sparse`` holds
    for each frame its column, row and number of channel, where frames are not in the order of PS3.3 C.7.6.17.3; frames
    of focal planes that are not looked at have the channel -1.
    """

    total_columns: int
    total_rows: int
    columns: int
    rows: int
    channels: tuple[str, ...]
    focal_planes: int = 1
    sparse: npt.NDArray[np.int64] | None = None

    def placements(self, x: int, y: int, width: int, height: int, channel: int = 0) -> Iterator[Placement]:
        """Yield the frames of a channel that cover a region; of several focal planes the middle one."""
        if self.sparse is not None:
            yield from self._sparse_placements(x, y, width, height, channel)
            return
        across = -(-self.total_columns // self.columns)
        down = -(-self.total_rows // self.rows)
        before = (channel * self.focal_planes + self.focal_planes // 2) * down
        for row in range(max(0, y // self.rows), min(down, -(-(y + height) // self.rows))):
            for column in range(max(0, x // self.columns), min(across, -(-(x + width) // self.columns))):
                yield Placement(column * self.columns, row * self.rows, (before + row) * across + column + 1)

    def _sparse_placements(self, x: int, y: int, width: int, height: int, channel: int) -> Iterator[Placement]:
        assert self.sparse is not None
        left, top, of_channel = self.sparse.T
        covers = (left < x + width) & (left + self.columns > x) & (top < y + height) & (top + self.rows > y)
        for index in np.flatnonzero(covers & (of_channel == channel)):
            yield Placement(int(left[index]), int(top[index]), int(index) + 1)


def read_tiling(ds: Dataset, frames: FrameIndex) -> Tiling:
    """Return the tiling that a data set describes; that of its first frame alone when it describes none."""
    columns, rows = integer(ds, _TOTAL_COLUMNS, 0), integer(ds, _TOTAL_ROWS, 0)
    if columns < 1 or rows < 1:
        return Tiling(frames.columns, frames.rows, frames.columns, frames.rows, ("1",))
    channels = _channels(ds)
    planes = max(1, integer(ds, "00480303", 1))
    per_frame = items(ds, _PER_FRAME)
    sparse = None
    if text(ds, "00209311") != "TILED_FULL" and any(_PLANE_POSITION in each for each in per_frame):
        sparse = _sparse(per_frame, item(ds, _SHARED), channels)
        planes = 1
    return Tiling(columns, rows, frames.columns, frames.rows, channels, planes, sparse)


def _channels(ds: Dataset) -> tuple[str, ...]:
    segments = items(ds, "00620002")
    if segments and text(ds, "00620001") != "LABELMAP":
        return tuple(str(first(each, "00620004")) for each in segments)
    return tuple(text(each, "00480106") for each in items(ds, "00480105")) or ("1",)


def _sparse(per_frame: tuple[Dataset, ...], shared: Dataset, channels: tuple[str, ...]) -> npt.NDArray[np.int64]:
    numbers = {name: number for number, name in enumerate(channels)}
    placed = np.zeros((len(per_frame), 3), np.int64)
    heights = np.zeros(len(per_frame))
    for row, group in enumerate(per_frame):
        position = item(group, _PLANE_POSITION)
        placed[row] = (
            integer(position, _COLUMN_POSITION, 1) - 1,
            integer(position, _ROW_POSITION, 1) - 1,
            numbers.get(_channel_name(group) or _channel_name(shared), 0),
        )
        heights[row] = number(position, _HEIGHT, 0.0)
    _leave_middle_planes(placed, heights)
    return placed


def _leave_middle_planes(placed: npt.NDArray[np.int64], heights: npt.NDArray[np.float64]) -> None:
    """Of frames at the same place leave the middle one; the focus may follow the tissue from tile to tile."""
    order = np.lexsort((heights, *placed.T))
    ordered = placed[order]
    starts = np.flatnonzero(np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1))) if len(order) else order
    counts = np.diff(np.append(starts, len(order)))
    hidden = np.ones(len(order), bool)
    hidden[order[starts + counts // 2]] = False
    placed[hidden, 2] = -1


def as_sparse(tiling: Tiling, frames: int) -> npt.NDArray[np.int64]:
    """Return column, row and channel of each frame, whatever the organisation; see `Tiling`."""
    if tiling.sparse is not None:
        return tiling.sparse
    across, down = -(-tiling.total_columns // tiling.columns), -(-tiling.total_rows // tiling.rows)
    numbers = np.arange(frames, dtype=np.int64)
    plane = numbers // (across * down)
    is_middle = plane % tiling.focal_planes == tiling.focal_planes // 2
    return np.stack(
        [
            numbers % across * tiling.columns,
            numbers // across % down * tiling.rows,
            np.where(is_middle, plane // tiling.focal_planes, -1),
        ],
        axis=1,
    )


def _channel_name(group: Dataset) -> str:
    segment = first(item(group, "0062000A"), "0062000B")
    return str(segment) if segment is not None else text(item(group, "00480207"), "00480106")
