"""The worker's side of a child process: start it, give it a work item, hear it out, stop it."""

import contextlib
import json
import logging
import multiprocessing
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import Any, Literal

from dicomsvc.config import Settings
from dicomsvc.jobs import child
from dicomsvc.jobs.items import Handler, Progress, WorkItem

_log = logging.getLogger(__name__)
_LOOK_EVERY_SECONDS = 0.1
_START_SECONDS = 60.0
# With the look-out and the process's death it stays under two seconds.
_CANCEL_GRACE_SECONDS = 1.3
_SIGNALS = {number.value: number.name for number in signal.Signals}
_context = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended. ``died``: the process is gone; ``again``: resources were lacking; ``later``: it waits."""

    word: Literal["completed", "failed", "again", "later", "cancelled", "died"]
    outputs: Mapping[str, Any] = field(default_factory=dict)
    error_kind: str = ""
    error: str = ""
    seconds: float = 0


@dataclass(frozen=True, slots=True)
class Listener:
    """What an attempt tells while it runs, and how it learns that it shall stop."""

    progress: Callable[[Progress], None]
    log: Callable[[str], None]
    should_stop: Callable[[], bool]


class Child:
    """One child process. Not for several threads at once."""

    def __init__(
        self,
        settings: Settings,
        store_factory: child.StoreFactory,
        handlers: Mapping[str, Handler],
        stall_seconds: float,
    ) -> None:
        self._stall_seconds = stall_seconds
        self._connection, theirs = _context.Pipe()
        self._process = _context.Process(
            target=child.main, args=(theirs, settings, store_factory, dict(handlers)), name="dicomsvc-work"
        )
        self._process.start()
        theirs.close()
        self._ready = False

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def alive(self) -> bool:
        return self._process.is_alive()

    def run(self, item: WorkItem, listener: Listener) -> Outcome:
        """Run one work item to its end; a child that ``died`` is of no further use."""
        try:
            if not self._ready and not self._await_ready(listener):
                return self._killed("cancelled" if listener.should_stop() else "died", "it did not start")
            self._say(
                "run",
                uid=item.uid,
                kind=item.kind,
                inputs=dict(item.inputs),
                requested_by=item.requested_by,
                attempt=item.attempts,
            )
            return self._hear(listener)
        except (EOFError, OSError):
            return self._dead()

    def _say(self, word: str, **rest: object) -> None:
        self._connection.send_bytes(json.dumps({"say": word, **rest}).encode())

    def _await_ready(self, listener: Listener) -> bool:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and not listener.should_stop():
            if self._connection.poll(_LOOK_EVERY_SECONDS):
                self._ready = json.loads(self._connection.recv_bytes())["say"] == "ready"
                return self._ready
        return False

    def _hear(self, listener: Listener) -> Outcome:
        heard = time.monotonic()
        stop_at: float | None = None
        while True:
            if wait([self._connection], timeout=_LOOK_EVERY_SECONDS):
                heard = time.monotonic()
                outcome = self._understand(json.loads(self._connection.recv_bytes()), listener)
                if outcome is not None:
                    return outcome
            now = time.monotonic()
            if stop_at is None and listener.should_stop():
                stop_at = now + _CANCEL_GRACE_SECONDS
                self._say("cancel")
            if stop_at is not None and now >= stop_at:
                return self._killed("cancelled", "it did not stop when asked")
            if now - heard > self._stall_seconds:
                return self._killed("died", f"it made no progress for {self._stall_seconds:.0f} s")

    def _understand(self, message: dict[str, Any], listener: Listener) -> Outcome | None:
        match message.pop("say"):
            case "progress":
                listener.progress(Progress(**message))
            case "log":
                listener.log(message["text"])
            case "completed" | "failed" | "again" | "later" | "cancelled" as word:
                return Outcome(word, **message)
        return None

    def _killed(self, word: Literal["cancelled", "died"], why: str) -> Outcome:
        _log.warning("work process %d is killed: %s", self.pid, why)
        self.kill()
        return Outcome(word, error_kind="ProcessKilled", error=f"the process was killed: {why}")

    def _dead(self) -> Outcome:
        self._process.join(1)
        self.kill()
        code = self._process.exitcode or 0
        name = _SIGNALS.get(-code, f"status {code}")
        return Outcome("died", error_kind="ProcessDied", error=f"the process ended unexpectedly ({name})")

    def kill(self) -> None:
        """End the process at once."""
        with contextlib.suppress(OSError):
            self._connection.close()
        self._process.kill()
        self._process.join()
