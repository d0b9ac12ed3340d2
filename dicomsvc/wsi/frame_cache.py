"""Decoded frames that neighbouring reads share."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future

from dicomsvc.wsi.codecs import Pixels
from dicomsvc.wsi.image import StoredImage


class FrameCache:
    """The frames read last, up to so many bytes; safe to use from several threads.

    A frame that two threads want at once is decoded by the first and awaited by the other.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._bytes = 0
        self._lock = threading.Lock()
        self._frames: OrderedDict[Hashable, Pixels] = OrderedDict()
        self._pending: dict[Hashable, Future[Pixels]] = {}
        self.decoded = 0

    def get(self, key: Hashable, decode: Callable[[], Pixels]) -> Pixels:
        """Return a frame, which nobody may write to; what ``decode`` raises comes through to all that wait for it."""
        with self._lock:
            known = self._frames.get(key)
            if known is not None:
                self._frames.move_to_end(key)
                return known
            pending = self._pending.get(key)
            mine = pending is None
            if pending is None:
                pending = self._pending[key] = Future()
        if mine:
            self._decode(key, decode, pending)
        return pending.result()

    def _decode(self, key: Hashable, decode: Callable[[], Pixels], pending: "Future[Pixels]") -> None:
        try:
            frame = decode()
        except BaseException as error:  # noqa: BLE001 - handed to every thread that waits
            with self._lock:
                del self._pending[key]
            pending.set_exception(error)
            return
        with self._lock:
            del self._pending[key]
            self.decoded += 1
            self._frames[key] = frame
            self._bytes += frame.nbytes
            while self._bytes > self._limit and len(self._frames) > 1:
                self._bytes -= self._frames.popitem(last=False)[1].nbytes
        pending.set_result(frame)


def cached_frames(image: StoredImage, limit_bytes: int) -> Callable[[int], Pixels]:
    """Return what decodes the frames of one image, keeping those read last."""
    cache = FrameCache(limit_bytes)
    return lambda frame_number: cache.get(frame_number, lambda: image.reader.decoded(frame_number))
