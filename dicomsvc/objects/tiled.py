"""Takes the frames of one tiled instance as they come and writes it (PS3.3 C.7.6.17.3, C.8.12.14)."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

import numpy as np
import numpy.typing as npt

from dicomsvc.errors import OutOfResources
from dicomsvc.objects.encoding import FrameEncoder, Frames
from dicomsvc.objects.part10 import LONGEST_VALUE, SEQUENCE_END, Write, encapsulated_start, item_of, native_start
from dicomsvc.objects.spool import FrameSpool

_SMALL_BYTES: Final = 32 << 20
_SPARSE_SHARE: Final = 0.25


class Organisation(StrEnum):
    """Dimension Organization Type: all tiles, or only those with something in them."""

    FULL = "TILED_FULL"
    SPARSE = "TILED_SPARSE"
    AUTO = "AUTO"
    """TILED_SPARSE for large instances of which less than a quarter is used, or that would not fit otherwise."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Tiles of one instance; frames are counted from 0 by channel, row of tiles, column of tiles."""

    across: int
    down: int
    channels: int

    @property
    def frames(self) -> int:
        return self.across * self.down * self.channels


Header = Callable[[npt.NDArray[np.int64] | None, int, int], bytes]
"""Makes the header: numbers of the frames written (None for all of them), their count, and bytes of all frames."""


class TiledWriter(Protocol):
    """Gets rows of tiles; each channel of a row once."""

    def add(self, channel: int, row: int, frames: Frames) -> None: ...

    def finish(self) -> None:
        """Write what is left; without it the file is no instance."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def tiled_writer(
    write: Write, header: Header, encoder: FrameEncoder, grid: Grid, organisation: Organisation, scratch: Path | None
) -> TiledWriter:
    """Return the writer that needs the least: uncompressed frames in their final order go straight to the file.

    Raises
    ------
    TooLarge
        At once or on finishing, when uncompressed frames take more than 4 GB.
    """
    size = grid.frames * encoder.frame_bytes
    small = organisation is Organisation.AUTO and size <= _SMALL_BYTES
    in_order = grid.channels == 1 or grid.down == 1
    if not encoder.encapsulated and in_order and (organisation is Organisation.FULL or small):
        return _Streamed(write, header, encoder, grid)
    return _Spooled(write, header, encoder, grid, organisation, scratch)


class _Streamed:
    def __init__(self, write: Write, header: Header, encoder: FrameEncoder, grid: Grid) -> None:
        self._write, self._grid = write, grid
        self._size = encoder.frame_bytes
        self._blank = encoder.blank()
        self._next = 0
        length = grid.frames * self._size
        start = native_start(encoder.element, encoder.vr, length)
        write(header(None, grid.frames, length) + start)

    def add(self, channel: int, row: int, frames: Frames) -> None:
        if (channel * self._grid.down + row) * self._grid.across != self._next or len(frames) != self._grid.across:
            raise ValueError("a row of tiles is not the next one")
        self._next += len(frames)
        if all(frame is None for frame in frames):
            self._write(bytes(self._size * len(frames)))
            return
        self._write(b"".join([self._blank if frame is None else frame for frame in frames]))

    def finish(self) -> None:
        if self._next != self._grid.frames:
            raise ValueError("rows of tiles are missing")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class _Spooled:
    def __init__(
        self,
        write: Write,
        header: Header,
        encoder: FrameEncoder,
        grid: Grid,
        organisation: Organisation,
        scratch: Path | None,
    ) -> None:
        self._write, self._header, self._encoder, self._grid = write, header, encoder, grid
        self._organisation = organisation
        self._rows_added = 0
        try:
            self._spool = FrameSpool(scratch)
        except OSError as error:
            raise OutOfResources(f"frames cannot be kept on disk: {error.strerror}") from None

    def add(self, channel: int, row: int, frames: Frames) -> None:
        if len(frames) != self._grid.across:
            raise ValueError("a row of tiles has another number of tiles")
        first = (channel * self._grid.down + row) * self._grid.across
        for number, frame in enumerate(frames, first):
            if frame is not None:
                self._spool.add(number, self._stored(frame), len(frame))
        self._rows_added += 1

    def _stored(self, frame: bytes | memoryview) -> bytes | memoryview:
        return item_of(frame) if self._encoder.encapsulated else frame

    def finish(self) -> None:
        if self._rows_added != self._grid.down * self._grid.channels:
            raise ValueError("rows of tiles are missing")
        blank = self._encoder.blank()
        sparse = self._is_sparse()
        if sparse and not len(self._spool):
            # An instance has at least one frame (PS3.3 C.7.6.6).
            self._spool.add(0, self._stored(blank), len(blank))
        numbers, lengths = self._spool.index()
        if not sparse:
            every = np.full(self._grid.frames, len(blank), np.int64)
            every[numbers] = lengths
            lengths = every
        self._write_head(numbers if sparse else None, lengths)
        self._spool.copy(self._write, None if sparse else self._grid.frames, bytes(self._stored(blank)))
        if self._encoder.encapsulated:
            self._write(SEQUENCE_END)

    def _write_head(self, numbers: npt.NDArray[np.int64] | None, lengths: npt.NDArray[np.int64]) -> None:
        total = int(lengths.sum())
        encapsulated = self._encoder.encapsulated
        start = (
            encapsulated_start(lengths)
            if encapsulated
            else native_start(self._encoder.element, self._encoder.vr, total)
        )
        self._write(self._header(numbers, len(lengths), total) + start)

    def _is_sparse(self) -> bool:
        if self._organisation is not Organisation.AUTO:
            return self._organisation is Organisation.SPARSE
        size = self._grid.frames * self._encoder.frame_bytes
        if not self._encoder.encapsulated and size > LONGEST_VALUE:
            return True
        return size > _SMALL_BYTES and len(self._spool) < _SPARSE_SHARE * self._grid.frames

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._spool.__exit__(kind, error, trace)
