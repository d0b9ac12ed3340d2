"""The worker: takes work items from the queue and has child processes do them."""

import asyncio
import logging
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from procrastinate import BaseRetryStrategy, JobContext, RetryDecision
from procrastinate.exceptions import ConnectorException, JobAborted
from procrastinate.job_context import AbortReason
from procrastinate.jobs import Job
from psycopg_pool import PoolTimeout
from sqlalchemy import Engine

from dicomsvc.config import Settings
from dicomsvc.errors import OutOfResources
from dicomsvc.jobs.attempts import Attempts
from dicomsvc.jobs.child import StoreFactory
from dicomsvc.jobs.delivery import TASK, receiver, recover
from dicomsvc.jobs.items import Handler, WorkItem
from dicomsvc.jobs.pool import Children
from dicomsvc.jobs.process import Listener, Outcome
from dicomsvc.jobs.subscriptions import Subscriptions
from dicomsvc.store import Store
from dicomsvc.store.layout import Layout
from dicomsvc.store.recovery import sweep

_log = logging.getLogger(__name__)
_DATABASE_PAUSE_SECONDS = 2.0
# New work items are announced; this is for those that wait for another attempt.
_LOOK_EVERY_SECONDS = 1.0
_FORGET_EVERY_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a worker waits for what, in seconds.

    Parameters
    ----------
    heartbeat
        Between two signs of life.
    stalled
        A worker without a sign of life for this long has lost its work items to others.
    grace
        At the end, for running work items to finish before they are handed back.
    retry
        Before the second attempt; doubles with each further one.
    stall
        A handler that reports nothing for this long has its process killed.
    """

    heartbeat: float = 4.0
    stalled: float = 20.0
    grace: float = 10.0
    retry: float = 5.0
    stall: float = 1800.0


class _TryAgain(Exception):
    """The attempt came to nothing, but another one may do."""


class _Wait(Exception):
    """The handler waits for something outside."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class _HandBack(JobAborted):
    """The worker stops; another one takes the work item."""


class _Retry(BaseRetryStrategy):
    def __init__(self, first_seconds: float) -> None:
        self._first_seconds = first_seconds

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        if isinstance(exception, _HandBack):
            return RetryDecision()
        if isinstance(exception, _Wait):
            return RetryDecision(retry_in={"milliseconds": int(1000 * exception.seconds)})
        if isinstance(exception, _TryAgain | OutOfResources):
            return RetryDecision(retry_in={"milliseconds": int(1000 * self._first_seconds * 2 ** min(job.attempts, 8))})
        return None


class Worker:
    """Runs work items until it is stopped.

    Parameters
    ----------
    settings
        With ``database.url`` set.
    engine
        Of the same database; the children open stores of their own with ``store_factory``.
    handlers
        Handler by kind: functions at the top of a module, since a spawned process has to find them. Only items of
        these kinds are taken.
    warm
        Start a child before the first work item comes.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        handlers: Mapping[str, Handler],
        *,
        store_factory: StoreFactory = Store,
        patience: Patience | None = None,
        warm: bool = True,
    ) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self._settings = settings
        self._engine = engine
        self._handlers = dict(handlers)
        self._patience = patience or Patience()
        self._attempts = Attempts(engine, self.name, settings.jobs.attempts)
        self._children = Children(settings, store_factory, handlers, self._patience.stall)
        self._warm = warm
        self._counts: Counter[str] = Counter()
        self._stop = threading.Event()
        self._wake: Callable[[], object] | None = None

    def counters(self) -> Mapping[str, float]:
        """Return what was counted, by metric name."""
        return {f'dicomsvc_work_items_total{{outcome="{word}"}}': count for word, count in self._counts.items()}

    def run(self, *, on_ready: Callable[[], None] = lambda: None, until_idle: bool = False) -> None:
        """Work until `stop`, SIGTERM or SIGINT; with ``until_idle`` until the queue is empty.

        ``on_ready`` is called once, when work items are being taken. A lost database is waited for.
        """
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: self.stop())
        try:
            self._sweep()
            if self._warm:
                self._children.warm()
            asyncio.run(self._serve(on_ready, until_idle))
        finally:
            self._children.close()

    def stop(self) -> None:
        """Let running work items finish for a short while, hand the others back; `run` returns then."""
        self._stop.set()
        if self._wake is not None:
            self._wake()

    async def _serve(self, on_ready: Callable[[], None], until_idle: bool) -> None:
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        self._wake = lambda: loop.call_soon_threadsafe(stopped.set)
        if self._stop.is_set():
            stopped.set()
        while not stopped.is_set():
            try:
                await self._take_work(stopped, on_ready, until_idle)
            except (ConnectorException, PoolTimeout, OutOfResources) as error:
                _log.warning("the worker lost the database (%s) and tries again", type(error).__name__)
            else:
                if until_idle:
                    return
            on_ready = _nothing
            with suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), _DATABASE_PAUSE_SECONDS)

    async def _take_work(self, stopped: asyncio.Event, on_ready: Callable[[], None], until_idle: bool) -> None:
        app = receiver(self._settings)
        app.task(name=TASK, pass_context=True, retry=_Retry(self._patience.retry))(self._deliver)
        async with app.open_async():
            working = asyncio.create_task(
                app.run_worker_async(
                    queues=list(self._handlers),
                    name=self.name,
                    concurrency=self._settings.jobs.concurrency,
                    wait=not until_idle,
                    shutdown_graceful_timeout=self._patience.grace,
                    delete_jobs="always",
                    fetch_job_polling_interval=_LOOK_EVERY_SECONDS,
                    install_signal_handlers=False,
                    update_heartbeat_interval=self._patience.heartbeat,
                    stalled_worker_timeout=self._patience.stalled,
                )
            )
            tasks = [working, asyncio.create_task(self._recover()), asyncio.create_task(_wait(stopped))]
            on_ready()
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                # For procrastinate this is the request to finish within the time of grace.
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception):
                    raise result

    async def _recover(self) -> None:
        """Put work items of workers that are gone back into the queue, now and ever after; forget old events."""
        forgotten = -_FORGET_EVERY_SECONDS
        while True:
            if time.monotonic() - forgotten > _FORGET_EVERY_SECONDS:
                forgotten = time.monotonic()
                await asyncio.to_thread(Subscriptions(self._engine).forget)
            lost = await asyncio.to_thread(recover, self._engine, self._patience.stalled, self._attempts.settle)
            for uid in lost:
                _log.warning("work item %s lost its worker", uid)
            if lost:
                await asyncio.to_thread(self._sweep)
            await asyncio.sleep(self._patience.heartbeat)

    def _sweep(self) -> None:
        """Free what dead children spooled."""
        try:
            sweep(Layout(self._settings.data.absolute()), self._engine)
        except OutOfResources as error:
            _log.warning("sweep: %s", error)

    def _deliver(self, context: JobContext, uid: str) -> None:
        """Make one attempt; runs in a thread."""
        item = self._attempts.begin(uid)
        if item is None:
            return
        _log.info("work item %s (%s): attempt %d", uid, item.kind, item.attempts)
        listener = Listener(
            progress=lambda progress: self._tell(item, partial(self._attempts.report, uid, item.attempts, progress)),
            log=lambda line: self._tell(item, partial(self._attempts.log, uid, item.attempts, line)),
            should_stop=context.should_abort,
        )
        with self._children.borrow() as child:
            outcome = child.run(item, listener)
        handed_back = outcome.word == "cancelled" and context.abort_reason() is AbortReason.SHUTDOWN
        self._counts["handed back" if handed_back else outcome.word] += 1
        _log.info("work item %s (%s): %s", uid, item.kind, outcome.word)
        if handed_back:
            self._attempts.hand_back(uid, item.attempts)
            raise _HandBack
        self._conclude(item, outcome)

    def _tell(self, item: WorkItem, write: Callable[[], object]) -> None:
        try:
            write()
        except OutOfResources as error:
            _log.warning("progress of work item %s is not written: %s", item.uid, error)

    def _conclude(self, item: WorkItem, outcome: Outcome) -> None:
        uid, attempt = item.uid, item.attempts
        match outcome.word:
            case "completed":
                self._attempts.complete(uid, attempt, outcome.outputs)
            case "cancelled":
                self._attempts.cancel(uid, attempt)
                raise JobAborted
            case "failed":
                self._attempts.fail(uid, attempt, outcome.error_kind, outcome.error)
            case "later":
                self._attempts.hand_back(uid, attempt)
                raise _Wait(outcome.seconds)
            case "died" | "again":
                self._sweep()
                if self._attempts.postpone(uid, attempt, outcome.error_kind, outcome.error):
                    raise _TryAgain(outcome.error_kind)


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


def _nothing() -> None:
    pass
