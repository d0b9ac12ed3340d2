"""What goes on in the background of storage commitment: checks, reports, requests that are to be asked again.

Nothing is kept in this process: what is due stands in the tables, whoever is alive takes it, and two never take the
same.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable
from typing import Final

from dicomsvc.dimse.commitment import ask_again, forget_requests
from dicomsvc.dimse.peers import KnownPeers
from dicomsvc.errors import ConfigurationError, DicomsvcError, PeerFailure
from dicomsvc.logs import places
from dicomsvc.pacs.commitment.check import LEASE_SECONDS, check
from dicomsvc.pacs.commitment.records import Commitments, Held, State
from dicomsvc.pacs.commitment.report import Reporting, is_delivered, refusal
from dicomsvc.store import Store

_log = logging.getLogger(__name__)

_RENEW_EVERY_SECONDS: Final = 5.0
_GRACE_SECONDS: Final = 5.0
_FORGET_EVERY_SECONDS: Final = 3600.0


class _Stopping(Exception):
    """The process ends; the rest is left to the next one."""


class CommitmentUpkeep:
    """Runs in threads of its own from `start` to `stop`; several at the same time do no harm."""

    def __init__(self, store: Store, *, every_seconds: float = 1.0) -> None:
        self._store = store
        self._settings = store.settings.commitment
        self._commitments = Commitments(store.engine)
        self._peers = KnownPeers(store.engine, store.settings)
        self._holder = uuid.uuid4().hex
        self._every_seconds = every_seconds
        self._stopped = threading.Event()
        # A large request is checked for minutes, a silent peer is waited for: neither may hold the others up.
        self._threads = [
            threading.Thread(target=self._run, args=(work,), name=f"commitment {name}", daemon=True)
            for name, work in (("check", self.check), ("report", self.report), ("ask", self.ask))
        ]
        self._threads.append(threading.Thread(target=self._renew, name="commitment lease", daemon=True))
        self._reporting: int | None = None

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the work; what a silent peer still holds up is left to whoever comes next."""
        self._stopped.set()
        deadline = time.monotonic() + _GRACE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def check(self) -> None:
        """Check every request that waits for it."""
        while (
            held := self._commitments.claim_due(State.REQUESTED, self._holder, lease_seconds=LEASE_SECONDS)
        ) is not None:
            if check(self._store, self._commitments, held, self._holder, self._go_on):
                self._commitments.release(held.key, self._holder)
            self._go_on()

    def report(self) -> None:
        """Report what has been checked and is due: to each application entity as much as one association takes."""
        while (held := self._claim_report()) is not None:
            self._report_to(held)
            self._go_on()

    def ask(self) -> None:
        """Ask other archives again for what they did not take or did not answer."""
        ask_again(self._store.engine, self._peers, self._settings)

    def forget(self) -> None:
        """Remove what ended long ago."""
        seconds = self._settings.keep_days * 86400
        self._commitments.forget(seconds)
        forget_requests(self._store.engine, seconds)

    def _claim_report(self, ae_title: str | None = None) -> Held | None:
        held = self._commitments.claim_due(State.CHECKED, self._holder, lease_seconds=LEASE_SECONDS, ae_title=ae_title)
        self._reporting = None if held is None else held.key
        return held

    def _report_to(self, held: Held) -> None:
        peer = self._peers.by_ae_title(held.ae_title)
        if peer is None or peer.host is None:
            self._fail(held, "no peer with this AE title can be called")
            return
        current: Held | None = held
        try:
            reporting = Reporting(self._peers.call(peer), self._store.settings.dimse.ae_title)
            with reporting.association:
                while current is not None:
                    self._report(reporting, current)
                    current = None if self._stopped.is_set() else self._claim_report(held.ae_title)
        except (PeerFailure, ConfigurationError) as error:
            _log.warning("a report of storage commitment did not reach %s: %s", held.ae_title, error)
            if current is not None:
                self._fail(current, error.message)
                self._commitments.postpone(held.ae_title, self._settings.retry_delay_seconds(current.attempts))

    def _report(self, reporting: Reporting, held: Held) -> None:
        event = self._commitments.event(held)
        status = reporting.send(event)
        if is_delivered(status):
            self._commitments.reported(held.key, self._holder)
            _log.info("storage commitment %s reported to %s", held.transaction_uid, held.ae_title)
        else:
            self._fail(held, refusal(status))

    def _fail(self, held: Held, error: str) -> None:
        final = held.age_seconds > self._settings.retry_hours * 3600
        if final:
            _log.error("storage commitment %s: the report to %s is given up", held.transaction_uid, held.ae_title)
        delay = self._settings.retry_delay_seconds(held.attempts)
        self._commitments.failed(held.key, self._holder, error, retry_in_seconds=delay, final=final)

    def _go_on(self) -> None:
        if self._stopped.is_set():
            raise _Stopping

    def _renew(self) -> None:
        # A peer may let us wait for a minute; the lease is shorter, so that a dead process holds nothing up for long.
        while not self._stopped.wait(_RENEW_EVERY_SECONDS):
            key = self._reporting
            try:
                if key is not None:
                    self._commitments.renew(key, self._holder, lease_seconds=LEASE_SECONDS)
            except DicomsvcError as error:
                _log.warning("storage commitment: %s", error)

    def _run(self, work: Callable[[], None]) -> None:
        forgot = 0.0
        while not self._stopped.is_set():
            try:
                work()
                if work == self.ask and time.monotonic() - forgot > _FORGET_EVERY_SECONDS:
                    forgot = time.monotonic()
                    self.forget()
            except _Stopping:
                return
            except DicomsvcError as error:
                _log.warning("storage commitment: %s", error)
            except Exception as error:  # noqa: BLE001 - the border: one strange request must not end the reports on others
                _log.error("storage commitment failed and goes on\n%s", places(error))
            self._stopped.wait(self._every_seconds)
