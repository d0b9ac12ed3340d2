"""The router: reads what has arrived, applies the rules, gives forwards to the workers.

It runs beside every worker; one of them is the leader, by an advisory lock that the database frees when it dies. All
that it knows stands in the database, so another one goes on where it was.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from dicomsvc.dimse.peers import KnownPeers
from dicomsvc.errors import DicomsvcError
from dicomsvc.routing.admission import AnalysisOrder, admit, forget, order_analyses, reconcile
from dicomsvc.routing.firing import fire, forget_waits
from dicomsvc.routing.intake import read_position, skip_to_end, take_in
from dicomsvc.routing.rules import read_rules
from dicomsvc.store import Store
from dicomsvc.store.database import database_errors

_log = logging.getLogger(__name__)
_LEADER: Final = text("SELECT pg_try_advisory_lock(hashtextextended('dicomsvc router', 0))")
_UNLOCK: Final = text("SELECT pg_advisory_unlock_all()")
_ALIVE: Final = text("SELECT 1")
_FORGET_EVERY_SECONDS: Final = 600.0
_RECONCILE_EVERY_SECONDS: Final = 5.0


class Router:
    """Runs in a thread of its own from `start` to `stop`; of several at the same time one works.

    Parameters
    ----------
    order_analysis
        How an analysis is asked for.
    """

    def __init__(self, store: Store, order_analysis: AnalysisOrder, *, every_seconds: float = 1.0) -> None:
        self._engine = store.engine
        self._routing = store.settings.routing
        self._rules = read_rules(store.settings)
        self._peers = KnownPeers(store.engine, store.settings)
        self._order_analysis = order_analysis
        self._every_seconds = every_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="router", daemon=True)
        self._forgotten = self._reconciled = float("-inf")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def step(self) -> None:
        """Do once what there is to do."""
        now = time.monotonic()
        if self._rules:
            # All that has come, before anything of it is found stable.
            while take_in(self._engine, self._rules) and not self._stopped.is_set():
                pass
            for rule in self._rules:
                fire(self._engine, rule, self._routing, self._peers)
            order_analyses(self._engine, self._order_analysis)
        else:
            read_position(self._engine)
            skip_to_end(self._engine)
        if now - self._reconciled > _RECONCILE_EVERY_SECONDS:
            self._reconciled = now
            reconcile(self._engine, self._routing)
        admit(self._engine, self._routing)
        if now - self._forgotten > _FORGET_EVERY_SECONDS:
            self._forgotten = now
            forget_waits(self._engine, self._rules)
            forget(self._engine, self._routing)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._guarded(self._lead)
            self._stopped.wait(self._every_seconds)

    def _lead(self) -> None:
        """Be the leader for as long as the lock is held; return at once where another one is."""
        with database_errors(), self._engine.connect() as connection:
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            if not connection.scalar(_LEADER):
                return
            try:
                self._work(connection)
            finally:
                with suppress(SQLAlchemyError):
                    connection.execute(_UNLOCK)

    def _work(self, connection: Connection) -> None:
        while not self._stopped.is_set():
            # The lock goes with the connection.
            connection.execute(_ALIVE)
            self._guarded(self.step)
            self._stopped.wait(self._every_seconds)

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except DicomsvcError as error:
            _log.warning("routing: %s", error)
        except Exception as error:  # noqa: BLE001 - the border: one strange thing must not end the routing of others
            # Its message may hold what was sent.
            _log.error("routing failed (%s) and goes on", type(error).__name__)
