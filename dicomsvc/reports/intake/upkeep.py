"""What a worker's machine does for reports: link held ones whose study has come, find those that were left waiting."""

import logging
import threading
import time

from dicomsvc.errors import DicomsvcError
from dicomsvc.jobs import Jobs
from dicomsvc.reports.intake.structuring import order_structuring
from dicomsvc.reports.repository.linking import hold_orphans, match_held
from dicomsvc.reports.repository.reading import waiting
from dicomsvc.store import Store
from dicomsvc.store.database import database_errors
from dicomsvc.store.tables import audit

_log = logging.getLogger(__name__)
_ORPHANS_EVERY_SECONDS = 60.0
_LEFT_AFTER_SECONDS = 20.0
_REQUESTER = "report upkeep"


class ReportUpkeep:
    """Runs in a thread of its own from `start` to `stop`; several at the same time do no harm."""

    def __init__(self, store: Store, *, every_seconds: float = 2.0) -> None:
        self._engine = store.engine
        self._jobs = Jobs(store.engine)
        self._every_seconds = every_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="report upkeep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def match(self) -> list[str]:
        """Link held reports whose study has come, and return their UIDs."""
        with database_errors(), self._engine.begin() as connection:
            matched = match_held(connection)
            for uid in matched:
                detail = {"report": uid, "linked": True}
                connection.execute(audit.insert().values(who=_REQUESTER, action="report-match", detail=detail))
        return matched

    def look(self) -> None:
        """Hold reports whose study was deleted, and order the structuring of reports that were left waiting."""
        with database_errors(), self._engine.begin() as connection:
            hold_orphans(connection)
            left = waiting(connection, 1, older_than_seconds=_LEFT_AFTER_SECONDS)
        if left:
            order_structuring(self._jobs, _REQUESTER)

    def _run(self) -> None:
        looked = 0.0
        while not self._stopped.is_set():
            try:
                self.match()
                if time.monotonic() - looked > _ORPHANS_EVERY_SECONDS:
                    looked = time.monotonic()
                    self.look()
            except DicomsvcError as error:
                _log.warning("report upkeep: %s", error)
            except Exception as error:  # noqa: BLE001 - the border: one strange report must not end the matching of others
                _log.error("report upkeep failed (%s) and goes on", type(error).__name__)
            self._stopped.wait(self._every_seconds)
