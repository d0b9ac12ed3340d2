"""CRC-32 of each block of a stored file, so that whoever reads a part of it sees whether it is what it was.

They are taken when a file is read as a whole and its SHA-256 found right. A block is small enough that little more is
read than is asked for, and large enough that all checks of a file are a four-thousandth of it.
"""

import sys
from array import array
from typing import Final
from zlib import crc32

BLOCK_BYTES: Final = 1 << 14
_CHECK_BYTES: Final = 4


class BlockChecker:
    """Takes the checks of a file that is read from its begin to its end."""

    def __init__(self) -> None:
        self._checks = bytearray()
        self._running = self._filled = 0

    def update(self, data: bytes | memoryview) -> None:
        """Take in the next bytes."""
        view = memoryview(data)
        while view:
            part = view[: BLOCK_BYTES - self._filled]
            self._running = crc32(part, self._running)
            self._filled += len(part)
            view = view[len(part) :]
            if self._filled == BLOCK_BYTES:
                self._end_block()

    def finish(self) -> bytes:
        """Return the checks, as `Blocks` takes them."""
        if self._filled:
            self._end_block()
        return bytes(self._checks)

    def _end_block(self) -> None:
        self._checks += self._running.to_bytes(_CHECK_BYTES, "little")
        self._running = self._filled = 0


class Blocks:
    """The checks of a file of ``size`` bytes, as `BlockChecker.finish` returns them."""

    __slots__ = ("_checks", "_size")

    def __init__(self, checks: bytes, size: int) -> None:
        self._checks = array("I", checks)
        if sys.byteorder == "big":
            self._checks.byteswap()
        self._size = size

    def around(self, offset: int, length: int) -> tuple[int, int]:
        """Return begin and end of the blocks that hold these bytes."""
        end = -(-(offset + length) // BLOCK_BYTES) * BLOCK_BYTES
        return offset // BLOCK_BYTES * BLOCK_BYTES, min(end, self._size)

    def hold(self, begin: int, data: bytes | memoryview) -> bool:
        """Whether whole blocks of the file, from ``begin`` on, are what they were."""
        view = memoryview(data)
        first = begin // BLOCK_BYTES
        last = first + -(-len(view) // BLOCK_BYTES)
        at = 0
        for check in self._checks[first:last]:
            if crc32(view[at : at + BLOCK_BYTES]) != check:
                return False
            at += BLOCK_BYTES
        return at >= len(view)

    @property
    def nbytes(self) -> int:
        """Memory in bytes."""
        return len(self._checks) * self._checks.itemsize
