"""The process in which handlers run: spawned once, kept warm, replaced when it dies.

Parent and child talk in JSON over a pipe. Parent: ``run``, ``cancel``. Child: ``ready``, then for each work item any
number of ``progress`` and ``log``, and one of ``completed``, ``failed``, ``again``, ``later``, ``cancelled``. The
pipe's end means that the other side is gone.
"""

import json
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from dicomsvc.config import Settings
from dicomsvc.errors import Cancelled, DicomsvcError, OutOfResources
from dicomsvc.jobs.items import Handler, Later, Progress, Work
from dicomsvc.logs import configure_logging, places
from dicomsvc.store import Store

_log = logging.getLogger(__name__)
PROGRESS_EVERY_SECONDS = 0.5
_DATABASE_PAUSE_SECONDS = 1.0
_SETTLE_SECONDS = 5.0
_EXIT_ORPHANED = 4
_FIRST_TO_BE_KILLED = "500"

StoreFactory = Callable[[Settings], Store]


class _Line:
    """The child's end of the pipe; a thread reads it, so that a cancellation is heard while a handler works."""

    def __init__(self, connection: "Connection[Any, Any]") -> None:
        self._connection = connection
        self._writing = threading.Lock()
        self.runs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.cancelled = threading.Event()
        threading.Thread(target=self._read, name="parent", daemon=True).start()

    def _read(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                message = json.loads(self._connection.recv_bytes())
                if message["say"] == "run":
                    self.cancelled.clear()
                    self.runs.put(message)
                else:
                    self.cancelled.set()
        # Nobody waits for the result any more, and another worker may have the work item soon.
        os._exit(_EXIT_ORPHANED)

    def say(self, word: str, **rest: object) -> None:
        with self._writing:
            self._connection.send_bytes(json.dumps({"say": word, **rest}).encode())


class _Reporter:
    """Passes progress on, not oftener than anybody looks."""

    def __init__(self, line: _Line) -> None:
        self._line = line
        self._last = 0.0
        self._unsaid: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        if self._line.cancelled.is_set():
            raise Cancelled("stopped on request")
        now = time.monotonic()
        self._unsaid = progress
        if now - self._last >= PROGRESS_EVERY_SECONDS:
            self._last = now
            self.flush()

    def flush(self) -> None:
        progress, self._unsaid = self._unsaid, None
        if progress is not None:
            self._line.say("progress", done=progress.done, total=progress.total, text=progress.text)


def main(
    connection: "Connection[Any, Any]",
    settings: Settings,
    store_factory: StoreFactory,
    handlers: Mapping[str, Handler],
) -> None:
    """Run work items one after the other until the parent goes."""
    # The parent decides when to stop, also when a terminal or systemd signals the whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_BE_KILLED, encoding="ascii")
    configure_logging(settings.log_level, as_json=settings.log_json)
    line = _Line(connection)
    with _open_store(store_factory, settings) as store:
        line.say("ready")
        while True:
            message = _next_run(line, store)
            _run(line, store, handlers[message["kind"]], message)


def _next_run(line: _Line, store: Store) -> dict[str, Any]:
    """Wait for the parent's word, and meanwhile settle what an unreachable database left in doubt."""
    while True:
        try:
            return line.runs.get(timeout=_SETTLE_SECONDS)
        except queue.Empty:
            with suppress(DicomsvcError, OSError):
                store.settle_doubtful()


def _open_store(store_factory: StoreFactory, settings: Settings) -> Store:
    """Return the store once the database answers; the parent ends a wait that takes too long."""
    while True:
        try:
            return store_factory(settings)
        except OutOfResources as error:
            _log.warning("a work process waits: %s", error)
            time.sleep(_DATABASE_PAUSE_SECONDS)


def _run(line: _Line, store: Store, handler: Handler, message: Mapping[str, Any]) -> None:
    reporter = _Reporter(line)
    work = Work(
        uid=message["uid"],
        kind=message["kind"],
        inputs=message["inputs"],
        requested_by=message["requested_by"],
        attempt=message["attempt"],
        store=store,
        report=reporter,
        log=lambda text: line.say("log", text=text),
    )
    try:
        outputs = dict(handler(work))
        reporter.flush()
        line.say("completed", outputs=outputs)
    except Cancelled:
        line.say("cancelled")
    except Later as later:
        reporter.flush()
        line.say("later", seconds=later.seconds, error=str(later))
    except OutOfResources as error:
        line.say("again", error_kind=type(error).__name__, error=str(error))
    except DicomsvcError as error:
        line.say("failed", error_kind=type(error).__name__, error=str(error))
    except Exception as error:  # noqa: BLE001 - the border: a handler's fault must not take the process down
        _log.error("work item %s (%s) failed\n%s", work.uid, work.kind, places(error))
        line.say(
            "failed", error_kind=type(error).__name__, error=f"internal error ({type(error).__name__}); see the log"
        )
