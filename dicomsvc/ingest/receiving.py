"""Writing a request's body to disk as it comes."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from dicomsvc.errors import OutOfResources, TooLarge

_WRITE_BYTES = 1 << 20
_CHECKPOINT_BYTES = 128 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Receiver:
    """Appends one body to a file.

    Parameters
    ----------
    offset
        Where the body begins; what lies behind is dropped, since it was never acknowledged.
    limit
        Largest size that the file may get, in bytes.
    record
        Told the file's size whenever all of it is durable.
    require_space
        Raises when the disk is too full.
    """

    def __init__(
        self,
        path: Path,
        offset: int,
        limit: int,
        record: Callable[[int], None],
        require_space: Callable[[], None],
    ) -> None:
        self._path = path
        self._offset = offset
        self._limit = limit
        self._record = record
        self._require_space = require_space
        self._durable = offset
        self._pieces: list[bytes] = []
        self._held = 0

    async def take(self, body: AsyncIterator[bytes]) -> int:
        """Write the body and return the file's size; when it breaks off, what came before is durable all the same."""
        descriptor = await asyncio.to_thread(self._open)
        try:
            async for piece in body:
                if self._offset + self._held + len(piece) > self._limit:
                    raise TooLarge("more bytes came than were announced or are accepted (http.max_upload_gb)")
                self._pieces.append(piece)
                self._held += len(piece)
                if self._held >= _WRITE_BYTES:
                    await asyncio.to_thread(self._write, descriptor)
        finally:
            await _to_the_end(asyncio.create_task(asyncio.to_thread(self._end, descriptor)))
        return self._offset

    def _open(self) -> int:
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            os.ftruncate(descriptor, self._offset)
            os.lseek(descriptor, self._offset, os.SEEK_SET)
        except OSError as error:
            raise OutOfResources(f"the upload cannot be written: {os.strerror(error.errno or 0)}") from error
        return descriptor

    def _write(self, descriptor: int) -> None:
        pieces, self._pieces, self._held = self._pieces, [], 0
        view = memoryview(b"".join(pieces))
        try:
            while view:
                written = os.write(descriptor, view)
                self._offset += written
                view = view[written:]
            if self._offset - self._durable >= _CHECKPOINT_BYTES:
                self._checkpoint(descriptor)
                self._require_space()
        except OSError as error:
            if error.errno in _FULL:
                raise OutOfResources("the store's disk is full") from error
            raise OutOfResources(f"the upload cannot be written: {os.strerror(error.errno or 0)}") from error

    def _checkpoint(self, descriptor: int) -> None:
        os.fsync(descriptor)
        self._record(self._offset)
        self._durable = self._offset

    def _end(self, descriptor: int) -> None:
        try:
            self._write(descriptor)
            if self._offset != self._durable:
                self._checkpoint(descriptor)
        except OSError as error:
            raise OutOfResources(f"the upload is not durable: {os.strerror(error.errno or 0)}") from error
        finally:
            os.close(descriptor)


async def _to_the_end(task: "asyncio.Task[None]") -> None:
    """Wait for a task even when cancelled: whoever waits holds the upload's lock."""
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
