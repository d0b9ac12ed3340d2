"""Reading every stored file soon after it came, and again within `store.verify_days`, a little at a time.

It runs beside every worker; one of them is at work, by an advisory lock that the database frees when it dies. When each
file was read last stands in the database, so another one goes on where it was.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from dicomsvc.config import StoreSettings
from dicomsvc.errors import DicomsvcError
from dicomsvc.store.database import database_errors
from dicomsvc.store.findings import Finding, look_at, settle
from dicomsvc.store.layout import Layout
from dicomsvc.store.verification import longest_unread, never_read, require_files

_log = logging.getLogger(__name__)
_LOCK: Final = text("SELECT pg_try_advisory_lock(hashtextextended('dicomsvc verification', 0))")
_UNLOCK: Final = text("SELECT pg_advisory_unlock_all()")
_ALIVE: Final = text("SELECT 1")
# A file becomes due before its time is up: what came together is due together, and takes its time.
_DUE_SHARE: Final = 0.8
# Who has just sent something may be sending more.
_FIRST_AFTER_SECONDS: Final = 60.0
_SLICE_FILES: Final = 200
_SLICE_SECONDS: Final = 5.0
_LONGEST_PAUSE_SECONDS: Final = 60.0
# A file system that hangs must not keep the process from ending.
_GRACE_SECONDS: Final = 5.0
# What opening a file costs a disk, as if it were read.
_LEAST_BYTES: Final = 256 << 10


class _Stopping(Exception):
    """The process ends; the rest is left to the next one."""


class ScheduledVerification:
    """Runs in a thread of its own from `start` to `stop`; of several at the same time one works.

    Parameters
    ----------
    pause_seconds
        How long it waits when nothing is due.
    """

    def __init__(
        self, layout: Layout, engine: Engine, settings: StoreSettings, *, pause_seconds: float | None = None
    ) -> None:
        self._layout = layout
        self._engine = engine
        self._due_seconds = settings.verify_days * 86400 * _DUE_SHARE
        longest = min(self._due_seconds, _LONGEST_PAUSE_SECONDS)
        self._pause_seconds = longest if pause_seconds is None else pause_seconds
        self._stopped = threading.Event()
        self._pace = _Pace(settings.verify_mb_per_second * 1e6, self._stopped)
        self._thread = threading.Thread(target=self._run, name="verification", daemon=True)
        self._files = self._bytes = self._found = 0

    def start(self) -> None:
        if self._due_seconds:
            self._thread.start()

    def stop(self) -> None:
        """End after the piece that is being read; what has been read of its file is read again."""
        self._stopped.set()
        if self._due_seconds:
            self._thread.join(_GRACE_SECONDS)

    def counters(self) -> Mapping[str, float]:
        """Return what was counted, by metric name."""
        return {
            "dicomsvc_files_verified_total": self._files,
            "dicomsvc_bytes_verified_total": self._bytes,
            "dicomsvc_files_found_damaged_total": self._found,
        }

    def step(self, each_seconds: Callable[[], None] = lambda: None) -> bool:
        """Read what is due, for some seconds; false when nothing is.

        A file is read as a whole. ``each_seconds`` is called now and then, and may raise to stop.
        """
        first = min(_FIRST_AFTER_SECONDS, self._due_seconds)
        subjects = never_read(self._layout, self._engine, seconds=first, limit=_SLICE_FILES) or longest_unread(
            self._layout, self._engine, seconds=self._due_seconds, limit=_SLICE_FILES
        )
        if not subjects:
            return False
        require_files(self._layout)
        findings: list[Finding] = []
        begun = called = time.monotonic()

        def each_piece(count: int) -> None:
            nonlocal called
            self._bytes += count
            self._pace.take(count)
            if time.monotonic() - called > _SLICE_SECONDS:
                called = time.monotonic()
                each_seconds()

        try:
            for subject in subjects:
                before = self._bytes
                findings.append(look_at(subject, each_piece))
                self._pace.take(max(0, _LEAST_BYTES - (self._bytes - before)))
                if time.monotonic() - begun > _SLICE_SECONDS:
                    break
        finally:
            self._found += sum(not finding.subject.damaged for finding in settle(self._engine, findings))
            self._files += len(findings)
        return True

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._lead()
            except _Stopping:
                return
            except DicomsvcError as error:
                _log.warning("verification of stored files: %s", error)
            except Exception as error:  # noqa: BLE001 - the border: one strange file must not end the reading of others
                _log.error("verification of stored files failed (%s) and goes on", type(error).__name__)
            self._stopped.wait(self._pause_seconds)

    def _lead(self) -> None:
        """Read all that is due while the lock is held; return at once where another one has it."""
        with database_errors(), self._engine.connect() as connection:
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            if not connection.scalar(_LOCK):
                return
            try:
                while self.step(lambda: self._require_lock(connection)):
                    self._require_lock(connection)
            finally:
                with suppress(SQLAlchemyError):
                    connection.execute(_UNLOCK)

    def _require_lock(self, connection: Connection) -> None:
        if self._stopped.is_set():
            raise _Stopping
        # The lock goes with the connection.
        connection.execute(_ALIVE)


class _Pace:
    """Makes reading as slow as it is to be."""

    def __init__(self, bytes_per_second: float, stopped: threading.Event) -> None:
        self._rate = bytes_per_second
        self._stopped = stopped
        self._due = 0.0

    def take(self, count: int) -> None:
        """Wait until what has been read so far may have been."""
        now = time.monotonic()
        self._due = max(self._due, now) + count / self._rate
        if self._stopped.wait(self._due - now):
            raise _Stopping
