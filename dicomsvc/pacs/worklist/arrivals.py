"""Entries whose slide has been scanned leave the worklist, with ``worklist.complete_on_arrival``.

The rule: an image of the entry's modality, patient, accession number and container identifier has been stored since the
entry was made. Entries without an accession number or a container identifier are left to whoever ordered them.
"""

import logging
import threading
from typing import Final

from sqlalchemy import text

from dicomsvc.errors import DicomsvcError
from dicomsvc.store import Store
from dicomsvc.store.database import database_errors

_log = logging.getLogger(__name__)
_COMPLETE: Final = text(
    """
    UPDATE worklist_entry AS entry
    SET status = 'completed', revision = revision + 1, updated = clock_timestamp(), updated_by = 'arrival',
      attributes = jsonb_set(attributes, '{00400100,Value,0,00400020,Value,0}', '"COMPLETED"')
    WHERE status NOT IN ('completed', 'cancelled') AND container_identifier <> '' AND accession_number <> ''
      AND EXISTS (
        SELECT FROM instance JOIN series ON series.id = instance.series_key JOIN study ON study.id = series.study_key
        WHERE instance.container_identifier = entry.container_identifier
          AND study.accession_number = entry.accession_number
          AND study.patient_id = entry.patient_id
          AND series.modality = entry.content -> 'step' ->> 'modality'
          AND instance.stored_at > entry.created
      )
    """
)


class ArrivalUpkeep:
    """Runs in a thread of its own from `start` to `stop`; several at the same time do no harm."""

    def __init__(self, store: Store, *, every_seconds: float = 10.0) -> None:
        self._engine = store.engine
        self._wanted = store.settings.worklist.complete_on_arrival
        self._every_seconds = every_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worklist upkeep", daemon=True)

    def start(self) -> None:
        if self._wanted:
            self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._wanted:
            self._thread.join()

    def complete(self) -> int:
        """Complete the entries whose slide has come, and return how many there were."""
        with database_errors(), self._engine.begin() as connection:
            return connection.execute(_COMPLETE).rowcount

    def _run(self) -> None:
        while not self._stopped.wait(self._every_seconds):
            try:
                self.complete()
            except DicomsvcError as error:
                _log.warning("worklist upkeep: %s", error)
            except Exception as error:  # noqa: BLE001 - the border: the thread must go on
                _log.error("worklist upkeep failed (%s) and goes on", type(error).__name__)
