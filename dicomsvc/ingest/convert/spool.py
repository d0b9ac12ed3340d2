"""Frames that wait on disk until the lengths of all are known, which the header of an instance must state."""

import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dicomsvc.errors import ConversionError, OutOfResources

_RUN_BYTES = 4 << 20


class FrameSpool:
    """A nameless temporary file of frames, put in any order, from any thread."""

    def __init__(self, frames: int, scratch: Path | None) -> None:
        self.lengths: npt.NDArray[np.int64] = np.zeros(frames, np.int64)
        self._offsets: npt.NDArray[np.int64] = np.full(frames, -1, np.int64)
        self._end = 0
        self._lock = threading.Lock()
        self._file = tempfile.TemporaryFile(dir=scratch, buffering=0)  # noqa: SIM115 (closed by its owner)

    def put(self, index: int, frame: bytes) -> None:
        """Keep frame number ``index`` (from 0).

        Raises
        ------
        OutOfResources
            When the scratch disk is full.
        """
        with self._lock:
            offset = self._end
            self._end += len(frame)
        try:
            written = os.pwrite(self._file.fileno(), frame, offset)
        except OSError as error:
            raise OutOfResources(f"The scratch folder cannot be written: {error.strerror}") from None
        if written != len(frame):
            raise OutOfResources("The scratch folder is full")
        self._offsets[index] = offset
        self.lengths[index] = len(frame)

    def frames(self, indexes: range) -> Iterator[bytes]:
        """Read frames back.

        Raises
        ------
        ConversionError
            When a frame was never put.
        """
        descriptor = self._file.fileno()
        for index in indexes:
            if self._offsets[index] < 0:
                raise ConversionError(f"Frame {index + 1} was not made")
            yield os.pread(descriptor, int(self.lengths[index]), int(self._offsets[index]))

    def runs(self) -> Iterator[range]:
        """Split the frames into runs of a few megabytes."""
        start = size = 0
        for index, length in enumerate(self.lengths.tolist()):
            if size and size + length > _RUN_BYTES:
                yield range(start, index)
                start, size = index, 0
            size += length
        yield range(start, len(self.lengths))

    def close(self) -> None:
        self._file.close()
