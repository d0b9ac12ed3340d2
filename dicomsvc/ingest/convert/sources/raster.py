"""Undivided pictures: in memory when small, as raw rows in a nameless temporary file when not."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dicomsvc.errors import OutOfResources
from dicomsvc.ingest.convert.sources.base import Pixels, StoredTiles

_IN_MEMORY_BYTES = 64 << 20


class ArrayLevel:
    """A level whose pixels are an array ``(rows, columns, samples)``."""

    def __init__(self, pixels: Pixels, tile_size: int) -> None:
        self._pixels = pixels
        self.rows, self.columns = pixels.shape[:2]
        self.tile_columns = self.tile_rows = tile_size
        self.downsample: float | None = None

    def stored(self, channel: int) -> StoredTiles | None:
        return None

    def read(self, channel: int, column: int, row: int, columns: int, rows: int) -> Pixels:
        return self._pixels[row : row + rows, column : column + columns]


class RowsLevel:
    """A level whose decoded rows lie in a temporary file."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        dtype: np.dtype[np.unsignedinteger[Any]],
        tile_size: int,
        scratch: Path | None,
    ) -> None:
        self.rows, self.columns, self._samples = shape
        self._dtype = dtype
        self._row_bytes = self.columns * self._samples * dtype.itemsize
        self._file = tempfile.TemporaryFile(dir=scratch, buffering=0)  # noqa: SIM115 (lives as long as the level)
        self._end = 0
        self.tile_columns = self.tile_rows = tile_size
        self.downsample: float | None = None

    def append(self, rows: Pixels) -> None:
        """Add decoded rows at the bottom.

        Raises
        ------
        OutOfResources
            When the scratch disk is full.
        """
        data = np.ascontiguousarray(rows).data.cast("B")
        try:
            while data:
                done = os.pwrite(self._file.fileno(), data, self._end)
                self._end += done
                data = data[done:]
        except OSError as error:
            raise OutOfResources(f"The scratch folder cannot be written: {error.strerror}") from None

    def stored(self, channel: int) -> StoredTiles | None:
        return None

    def read(self, channel: int, column: int, row: int, columns: int, rows: int) -> Pixels:
        pixel = self._samples * self._dtype.itemsize
        descriptor = self._file.fileno()
        parts = [
            os.pread(descriptor, columns * pixel, line * self._row_bytes + column * pixel)
            for line in range(row, row + rows)
        ]
        flat: Pixels = np.frombuffer(b"".join(parts), self._dtype)
        return flat.reshape(rows, columns, self._samples)


def level_of_bands(
    bands: Iterator[Pixels],
    shape: tuple[int, int, int],
    dtype: np.dtype[np.unsignedinteger[Any]],
    tile_size: int,
    scratch: Path | None,
) -> ArrayLevel | RowsLevel:
    """Make a level of decoded bands of rows, which come from the top to the bottom."""
    if shape[0] * shape[1] * shape[2] * dtype.itemsize <= _IN_MEMORY_BYTES:
        return ArrayLevel(np.concatenate(list(bands)), tile_size)
    level = RowsLevel(shape, dtype, tile_size, scratch)
    for band in bands:
        level.append(band)
    return level
