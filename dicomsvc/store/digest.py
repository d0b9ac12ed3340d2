"""Digests of stored files: read from the disk itself, or compared while a file is sent."""

import errno
import fcntl
import hashlib
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dicomsvc.errors import DamagedFile
from dicomsvc.store.blocks import BlockChecker

_PIECE_BYTES: Final = 4 << 20
_NOT_DIRECT: Final = (errno.EINVAL, errno.EOPNOTSUPP)

EachPiece = Callable[[int], None]
"""Called with the number of bytes that have just been read; may raise to stop."""


def _nothing(count: int) -> None:
    pass


def digest_file(path: Path, each_piece: EachPiece = _nothing) -> bytes:
    """Return the SHA-256 of a file; see `digest_open`."""
    with open_for_digest(path) as descriptor:
        return digest_open(descriptor, each_piece)


def require_digest(path: Path, sha256: bytes) -> None:
    """Make sure that a file, which is to be read next, has the bytes it came with.

    Raises
    ------
    DamagedFile
        When it has not.
    OSError
        When it cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        if hashlib.file_digest(file, "sha256").digest() != sha256:
            raise DamagedFile(f"the file {path.name} is damaged; restore it from a backup")


@contextmanager
def open_for_digest(path: Path) -> Iterator[int]:
    """Open a file for `digest_open`."""
    flags = os.O_RDONLY | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags | os.O_DIRECT)
    except OSError as error:
        if error.errno not in _NOT_DIRECT:
            raise
        descriptor = os.open(path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def digest_open(descriptor: int, each_piece: EachPiece = _nothing, checker: BlockChecker | None = None) -> bytes:
    """Return the SHA-256 of a file opened with `open_for_digest`; ``checker`` takes the checks of its blocks.

    It is read past the operating system's cache where the file system can do that: so it is the disk's bytes that
    are read, and those that viewers look at stay in memory. Elsewhere what was read is given up again.
    """
    digest = hashlib.sha256()
    # Direct reads want a buffer that begins at a page.
    buffer = memoryview(mmap.mmap(-1, _PIECE_BYTES))
    offset = 0
    while read := _read(descriptor, buffer, offset):
        digest.update(buffer[:read])
        if checker is not None:
            checker.update(buffer[:read])
        offset += read
        each_piece(read)
    return digest.digest()


def _read(descriptor: int, buffer: memoryview, offset: int) -> int:
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    if flags & os.O_DIRECT:
        try:
            return os.preadv(descriptor, (buffer,), offset)
        except OSError as error:
            if error.errno not in _NOT_DIRECT:
                raise
            fcntl.fcntl(descriptor, fcntl.F_SETFL, flags & ~os.O_DIRECT)
    read = os.preadv(descriptor, (buffer,), offset)
    os.posix_fadvise(descriptor, offset, read, os.POSIX_FADV_DONTNEED)
    return read


class SendingDigest:
    """SHA-256 of a file that is being sent, to be compared before its last bytes leave.

    Parameters
    ----------
    sha256
        What it came with; None: nothing is known, and nothing is compared.
    size
        Of the whole file, in bytes.
    """

    def __init__(self, sha256: bytes | None, size: int) -> None:
        self._expected = sha256
        self._left = size
        self._digest = hashlib.sha256()

    def holds(self, piece: bytes | memoryview) -> bool:
        """Take the next piece in; false when it is the last one and the file is not the one that came."""
        if self._expected is None:
            return True
        self._digest.update(piece)
        self._left -= len(piece)
        return self._left > 0 or self._digest.digest() == self._expected
