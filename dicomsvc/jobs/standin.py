"""Waiting for work items where there may be no worker: then this process is one for that long."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from dicomsvc.errors import OutOfResources
from dicomsvc.jobs.following import follow
from dicomsvc.jobs.items import Handler, WorkItem
from dicomsvc.jobs.records import Jobs
from dicomsvc.jobs.worker import Worker
from dicomsvc.store import Store

_WORKER_SIGN_SECONDS = 15.0
_DATABASE_SECONDS = 60.0
_LOOK_EVERY_SECONDS = 1.0


def work_off(
    store: Store,
    uids: Sequence[str],
    handlers: Mapping[str, Handler],
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> list[WorkItem]:
    """Wait until the work items are final and return them, as `follow` does; where no worker lives, do them here.

    A database that goes away is waited for. ``KeyboardInterrupt`` cancels those that are not final.

    Raises
    ------
    OutOfResources
        When it stays away for a minute.
    """
    jobs = Jobs(store.engine)
    worker = Worker(store.settings, store.engine, handlers)
    over = threading.Event()
    thread = threading.Thread(target=_stand_in, args=(jobs, worker, over), name="worker")
    thread.start()
    try:
        return _follow_patiently(jobs, uids, progress)
    except KeyboardInterrupt:
        for item in jobs.get_all(uids):
            if not item.final:
                jobs.request_cancel(item.uid)
        raise
    finally:
        over.set()
        worker.stop()
        thread.join()


def _follow_patiently(jobs: Jobs, uids: Sequence[str], progress: Callable[[int, int, str], None]) -> list[WorkItem]:
    while True:
        try:
            return follow(jobs, uids, progress)
        except OutOfResources:
            _await_database(jobs)


def _await_database(jobs: Jobs) -> None:
    deadline = time.monotonic() + _DATABASE_SECONDS
    while True:
        time.sleep(_LOOK_EVERY_SECONDS)
        try:
            jobs.has_workers()
        except OutOfResources:
            if time.monotonic() > deadline:
                raise
        else:
            return


def _stand_in(jobs: Jobs, worker: Worker, over: threading.Event) -> None:
    """Be the worker as soon as there is none."""
    while not over.is_set():
        with suppress(OutOfResources):
            if not jobs.has_workers(_WORKER_SIGN_SECONDS):
                worker.run()
                return
        over.wait(_WORKER_SIGN_SECONDS / 3)
