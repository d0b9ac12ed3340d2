"""The warm child processes of a worker."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from dicomsvc.config import Settings
from dicomsvc.jobs.child import StoreFactory
from dicomsvc.jobs.items import Handler
from dicomsvc.jobs.process import Child


class Children:
    """As many child processes as work items run at the same time, started when needed and kept."""

    def __init__(
        self, settings: Settings, store_factory: StoreFactory, handlers: Mapping[str, Handler], stall_seconds: float
    ) -> None:
        self._arguments = (settings, store_factory, handlers, stall_seconds)
        self._lock = threading.Lock()
        self._idle: list[Child] = []

    def warm(self) -> None:
        """Start one child ahead of its first work item."""
        self._idle.append(Child(*self._arguments))

    @contextmanager
    def borrow(self) -> Iterator[Child]:
        """Lend a child that lives; the one used last comes first, since its memory is warm."""
        child = self._take() or Child(*self._arguments)
        try:
            yield child
        except BaseException:
            child.kill()
            raise
        if child.alive():
            with self._lock:
                self._idle.append(child)
        else:
            child.kill()

    def _take(self) -> Child | None:
        with self._lock:
            while self._idle:
                child = self._idle.pop()
                if child.alive():
                    return child
                child.kill()
        return None

    def close(self) -> None:
        """End all that are idle; none is lent any more."""
        with self._lock:
            for child in self._idle:
                child.kill()
            self._idle.clear()
