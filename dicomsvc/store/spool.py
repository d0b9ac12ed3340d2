"""Files on their way into the store.

A spool file lies on the store's own file system, so that it enters by a hard link: until its index row is committed it
has two names, and whoever finds such a pair after a crash asks the index which of the two is true
(`dicomsvc.store.recovery`). Every process spools into a folder of its own, which it keeps locked while it lives.
"""

import errno
import fcntl
import hashlib
import os
import shutil
import uuid
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from dicomsvc.errors import OutOfResources, TooLarge

_OVERLAPPED_HASH_BYTES = 1 << 20
_CHECK_SPACE_EVERY_BYTES = 64 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class SpoolFile:
    """One file being received; hashed while it is written.

    As a context manager it removes itself at the end, unless the store has taken it or is in doubt whether it has.
    """

    def __init__(self, area: "SpoolArea") -> None:
        self._area = area
        self.path = area.folder / f"{uuid.uuid4().hex}.part"
        self.size = 0
        self.in_doubt = False
        self._hash = hashlib.sha256()
        self._hashing: Future[None] | None = None
        self._checked = 0
        try:
            self._file = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise OutOfResources(f"the spool takes no file: {os.strerror(error.errno or 0)}") from error

    def fileno(self) -> int:
        return self._file

    def write(self, data: bytes | memoryview) -> int:
        """Append ``data``, which must not change afterwards.

        Raises
        ------
        OutOfResources
            When the disk is full, or would be fuller than the reserve allows.
        TooLarge
            When the file outgrows the largest instance accepted.
        """
        length = len(data)
        if self.size + length > self._area.max_bytes:
            raise TooLarge("the object is larger than the largest accepted (store.max_instance_gb)")
        if self.size + length > self._checked:
            self._area.require_space()
            self._checked = self.size + length + _CHECK_SPACE_EVERY_BYTES
        self._digest(data, length)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError as error:
            if error.errno in _FULL:
                raise OutOfResources("the store's disk is full") from error
            raise OutOfResources(f"the spool cannot be written: {os.strerror(error.errno or 0)}") from error
        self.size += length
        return length

    def _digest(self, data: bytes | memoryview, length: int) -> None:
        # A second core hashes large pieces while this one writes them.
        self._await_hash()
        if length >= _OVERLAPPED_HASH_BYTES:
            self._hashing = self._area.hasher.submit(self._hash.update, data)
        else:
            self._hash.update(data)

    def _await_hash(self) -> None:
        if self._hashing is not None:
            self._hashing.result()
            self._hashing = None

    def digest(self) -> bytes:
        """Return the SHA-256 of what was written."""
        self._await_hash()
        return self._hash.digest()

    def sync(self) -> None:
        """Make the content durable.

        Raises
        ------
        OutOfResources
            When the disk refuses; nothing may be acknowledged then.
        """
        try:
            os.fsync(self._file)
        except OSError as error:
            raise OutOfResources(f"the file could not be made durable: {os.strerror(error.errno or 0)}") from error

    def rename(self, name: str) -> None:
        """Give the file another name within its spool folder."""
        target = self.path.with_name(name)
        self.path.rename(target)
        self.path = target

    def close(self) -> None:
        if self._file >= 0:
            self._await_hash()
            os.close(self._file)
            self._file = -1

    def discard(self) -> None:
        """Close the file and remove its name in the spool."""
        self.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.in_doubt:
            self.close()
            self._area.doubtful.append(self.path)
        else:
            self.discard()


class SpoolArea:
    """The spool folder of this process, locked until `close`."""

    def __init__(self, spool: Path, *, reserve_bytes: int, max_bytes: int) -> None:
        self.folder = spool / uuid.uuid4().hex
        self.max_bytes = max_bytes
        self._reserve_bytes = reserve_bytes
        self.doubtful: deque[Path] = deque()
        self.hasher = ThreadPoolExecutor(2, thread_name_prefix="sha256")
        self.folder.mkdir(mode=0o700)
        self._lock = os.open(self.folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def open(self) -> SpoolFile:
        """Start a file.

        Raises
        ------
        OutOfResources
            When less space is left than the reserve.
        """
        self.require_space()
        return SpoolFile(self)

    def require_space(self) -> None:
        """Raise `OutOfResources` when less space is left than the reserve."""
        if free_bytes(self.folder) < self._reserve_bytes:
            raise OutOfResources(
                "the store's disk is nearly full (store.disk_reserve_mb); free space or enlarge it, then send again"
            )

    def close(self) -> None:
        """Remove the folder, unless files in doubt are left in it, and unlock."""
        self.hasher.shutdown()
        if not any(self.folder.glob("*.part")):
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)


def free_bytes(folder: Path) -> int:
    """Return how much an ordinary user may still write to the folder's file system."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def abandoned_folders(spool: Path) -> list[tuple[Path, int]]:
    """Lock and return the spool folders whose processes are gone, with the lock's descriptor (close it when done)."""
    found = []
    for folder in spool.iterdir():
        if not folder.is_dir():
            continue
        lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        found.append((folder, lock))
    return found
