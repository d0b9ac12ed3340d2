"""Open instances of whose frames somebody asked lately."""

import asyncio
import resource
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from starlette.concurrency import run_in_threadpool

from dicomsvc.errors import NotFound
from dicomsvc.wsi.frame_reader import FrameReader

# After this time the index is asked again: `dicomsvc verify` may have found the file damaged.
_TRUSTED_SECONDS: Final = 30.0
_READER_BYTES: Final = 2048


class FrameCache:
    """Least recently used readers by URL path of their instance; belongs to one event loop.

    ``open_reader`` may block; it runs in a thread, once for all who wait for the same instance.
    """

    def __init__(self, open_reader: Callable[[str], FrameReader], max_bytes: int) -> None:
        self._open_reader = open_reader
        self._max_bytes = max_bytes
        self._max_readers = max(16, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
        self._bytes = 0
        self._readers: OrderedDict[str, tuple[FrameReader, float]] = OrderedDict()
        self._opening: dict[str, asyncio.Task[FrameReader]] = {}

    def get(self, path: str) -> FrameReader | None:
        """Return the reader when it is here and its file still is.

        Raises
        ------
        DamagedFile
            When the file has changed its size.
        """
        entry = self._readers.get(path)
        if entry is None:
            return None
        reader, trusted_until = entry
        if time.monotonic() > trusted_until:
            self._drop(path)
            return None
        try:
            reader.require_intact()
        except NotFound:
            # Deleted; another file may have been stored under the same UIDs since.
            self._drop(path)
            return None
        self._readers.move_to_end(path)
        return reader

    async def open(self, path: str) -> FrameReader:
        """Return the reader of an instance that is not here yet.

        Raises
        ------
        NotFound, BadRequest, DamagedFile, OutOfResources
        """
        task = self._opening.get(path)
        if task is None:
            task = asyncio.ensure_future(self._open(path))
            self._opening[path] = task
            task.add_done_callback(lambda done: self._opened(path, done))
        # A client that goes away must not take the others' answer with it.
        return await asyncio.shield(task)

    async def _open(self, path: str) -> FrameReader:
        return await run_in_threadpool(self._open_reader, path)

    def _opened(self, path: str, task: "asyncio.Task[FrameReader]") -> None:
        del self._opening[path]
        if task.cancelled() or task.exception() is not None:
            return
        self._drop(path)
        reader = task.result()
        self._readers[path] = (reader, time.monotonic() + _TRUSTED_SECONDS)
        self._bytes += reader.nbytes + _READER_BYTES
        while self._readers and (self._bytes > self._max_bytes or len(self._readers) > self._max_readers):
            self._drop(next(iter(self._readers)))

    def _drop(self, path: str) -> None:
        entry = self._readers.pop(path, None)
        if entry is not None:
            self._bytes -= entry[0].nbytes + _READER_BYTES
