"""What a worker's machine does beside work items: look into watched folders, remove uploads that are over."""

import logging
import threading
import time

from dicomsvc.errors import DicomsvcError
from dicomsvc.ingest.removal import expire_uploads
from dicomsvc.ingest.watch import Watch
from dicomsvc.jobs import Jobs
from dicomsvc.store import Store

_log = logging.getLogger(__name__)
_EXPIRE_EVERY_SECONDS = 60.0


class Upkeep:
    """Runs in a thread of its own from `start` to `stop`; several at the same time do no harm."""

    def __init__(self, store: Store, *, every_seconds: float = 1.0) -> None:
        self._store = store
        self._jobs = Jobs(store.engine)
        self._watch = Watch(store.settings.ingest, self._jobs)
        self._every_seconds = every_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        expired = 0.0
        while not self._stopped.is_set():
            try:
                self._watch.look()
                if time.monotonic() - expired > _EXPIRE_EVERY_SECONDS:
                    expired = time.monotonic()
                    expire_uploads(self._store, self._jobs)
            except DicomsvcError as error:
                _log.warning("upkeep: %s", error)
            except Exception as error:  # noqa: BLE001 - the border: one strange file must not end the watching of others
                # Its message may hold a file's name.
                _log.error("upkeep failed (%s) and goes on", type(error).__name__)
            self._stopped.wait(self._every_seconds)
