"""Runs models of immunohistochemistry for people who wait: a few at a time, in threads, ended when they leave."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final, TypeVar

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request

from dicomsvc.ai.catalogue.manifest import Manifest
from dicomsvc.ai.catalogue.repository import Catalogue
from dicomsvc.ai.inference import Backend, open_backend
from dicomsvc.config import Settings
from dicomsvc.errors import Cancelled, Conflict, DicomsvcError, InvalidModel, NotFound, OutOfResources

T = TypeVar("T")
_PIXELS_AT_ONCE: Final = 36_000_000
_AT_ONCE: Final = 2
_MOST_WAITING: Final = 16
_LOOK_EVERY_SECONDS: Final = 0.25
TRAINED: Final = "ihc"
FALLBACK: Final = "ihc-classical"


class Stop:
    """Set when nobody waits for the answer any more."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    def check(self, done: int = 0, total: int = 0) -> None:
        """Raise `Cancelled` when it is set."""
        if self._event.is_set():
            raise Cancelled("the client went away")


class Engine:
    """The model and its backend, opened when first asked for; safe to use from several threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._catalogue = Catalogue(settings)
        self._lock = threading.Lock()
        self._backend: Backend | None = None
        self._running = CapacityLimiter(_AT_ONCE)
        self._pixels = 0
        self._room = threading.Condition()

    def model(self, name: str | None = None) -> Manifest:
        """Return the model that is asked for; else the trained one, or where that is out of use the fallback.

        Raises
        ------
        NotFound, Conflict, InvalidModel
            When there is none, or it cannot be used.
        """
        if name is not None:
            return self._catalogue.find(name)
        try:
            return self._catalogue.find(TRAINED)
        except (NotFound, Conflict, InvalidModel) as error:
            try:
                return self._catalogue.find(FALLBACK)
            except DicomsvcError:
                raise error from None

    def backend(self) -> Backend:
        """Return what runs models; see `open_backend`."""
        with self._lock:
            repository = self._catalogue.stage() if self._settings.triton.in_process else None
            if self._backend is None:
                self._backend = open_backend(self._settings, repository)
            return self._backend

    @contextmanager
    def room(self, pixels: int, stop: Stop) -> Iterator[None]:
        """Wait until so many pixels may be worked on: each takes some 70 bytes for as long as that lasts."""
        with self._room:
            while self._pixels and self._pixels + pixels > _PIXELS_AT_ONCE:
                self._room.wait(_LOOK_EVERY_SECONDS)
                stop.check()
            self._pixels += pixels
        try:
            yield
        finally:
            with self._room:
                self._pixels -= pixels
                self._room.notify_all()

    async def run(self, request: Request, call: Callable[[Stop], T]) -> T:
        """Do what takes long in a thread; when the client leaves, the call is told to stop.

        Raises
        ------
        OutOfResources
            When too many wait already.
        """
        if self._running.statistics().tasks_waiting >= _MOST_WAITING:
            raise OutOfResources("too many pictures are looked at; try again later")
        stop = Stop()
        task = asyncio.ensure_future(to_thread.run_sync(partial(call, stop), limiter=self._running))
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=_LOOK_EVERY_SECONDS)
                if not task.done() and await request.is_disconnected():
                    stop.set()
                    task.cancel()
                    raise Cancelled("the client went away")
            return task.result()
        finally:
            stop.set()
