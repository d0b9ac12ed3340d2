"""Encoded frames of one instance in a temporary file: they come in any order and go out in theirs."""

import tempfile
from array import array
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from dicomsvc.errors import OutOfResources
from dicomsvc.objects.part10 import Write

_RUN_BYTES: Final = 4 << 20


class FrameSpool:
    """Keeps frames by number. Use as a context; the file has no name and goes with the process.

    Parameters
    ----------
    folder
        Where the file lies; None for the system's folder of temporary files.
    """

    def __init__(self, folder: Path | None) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, buffering=1 << 20)  # noqa: SIM115 - closed by the context
        self._numbers, self._offsets, self._sizes, self._lengths = (array("q") for _ in range(4))
        self._end = 0

    def add(self, number: int, data: bytes | memoryview, length: int) -> None:
        """Keep what is written for a frame; ``length`` is that of the frame itself.

        Raises
        ------
        OutOfResources
            When the disk is full.
        """
        self._numbers.append(number)
        self._offsets.append(self._end)
        self._sizes.append(len(data))
        self._lengths.append(length)
        self._end += len(data)
        try:
            self._file.write(data)
        except OSError as error:
            raise OutOfResources(f"frames cannot be kept on disk: {error.strerror}") from None

    def __len__(self) -> int:
        return len(self._numbers)

    def index(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the numbers of the frames in ascending order, and their lengths in bytes."""
        numbers = np.array(self._numbers, np.int64)
        order = np.argsort(numbers, kind="stable")
        return numbers[order], np.array(self._lengths, np.int64)[order]

    def copy(self, write: Write, total: int | None, blank: bytes) -> None:
        """Write the frames in the order of their numbers; with ``total``, ``blank`` for each that is missing."""
        self._file.flush()
        numbers = np.array(self._numbers, np.int64)
        order = np.argsort(numbers, kind="stable")
        numbers = numbers[order]
        offsets, sizes = np.array(self._offsets, np.int64)[order], np.array(self._sizes, np.int64)[order]
        ends = offsets + sizes
        joined = offsets[1:] == ends[:-1]
        if total is not None:
            joined &= numbers[1:] == numbers[:-1] + 1
        starts = np.concatenate(([0], np.flatnonzero(~joined) + 1)) if len(numbers) else np.empty(0, np.int64)
        stops = np.concatenate((starts[1:], [len(numbers)]))
        following = 0
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=False):
            if total is not None:
                _repeat(write, blank, int(numbers[start]) - following)
                following = int(numbers[stop - 1]) + 1
            self._copy_run(write, int(offsets[start]), int(ends[stop - 1]))
        if total is not None:
            _repeat(write, blank, total - following)

    def _copy_run(self, write: Write, start: int, end: int) -> None:
        self._file.seek(start)
        while start < end:
            data = self._file.read(min(_RUN_BYTES, end - start))
            if not data:
                raise OutOfResources("kept frames are gone from the disk")
            write(data)
            start += len(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _repeat(write: Write, blank: bytes, count: int) -> None:
    at_once = max(1, min(count, _RUN_BYTES // max(1, len(blank))))
    block = blank * at_once
    while count > 0:
        taken = min(count, at_once)
        write(block if taken == at_once else block[: taken * len(blank)])
        count -= taken
