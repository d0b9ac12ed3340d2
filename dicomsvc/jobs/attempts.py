"""What a worker writes about the work items that it has.

Every statement names the attempt: a worker that was thought dead and comes back changes nothing.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Engine, Update, case, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY, array
from sqlalchemy.types import Text

from dicomsvc.jobs.items import Progress, State, WorkItem, from_row
from dicomsvc.jobs.table import work_item
from dicomsvc.store.database import database_errors

_LOG_LINES = 200
_LINE_LENGTH = 500
_now = func.clock_timestamp()
_c = work_item.c


class Attempts:
    """The attempts that one worker makes."""

    def __init__(self, engine: Engine, worker: str, limit: int) -> None:
        self._engine = engine
        self._worker = worker
        self._limit = limit

    def begin(self, uid: str) -> WorkItem | None:
        """Start the next attempt; ``None`` when there is none to make: cancelled, finished, or tried too often."""
        open_ = _c.state.in_([State.SCHEDULED, State.IN_PROGRESS])
        start = (
            update(work_item)
            .where(_c.uid == uid, open_, ~_c.cancellation_requested, _c.attempts < self._limit)
            .values(
                state=State.IN_PROGRESS,
                attempts=_c.attempts + 1,
                worker=self._worker,
                started=func.coalesce(_c.started, _now),
                updated=_now,
                progress_from=None,
                progress_from_at=None,
                progress_at=None,
            )
            .returning(work_item)
        )
        with database_errors(), self._engine.begin() as connection:
            row = connection.execute(start).one_or_none()
            if row is None:
                connection.execute(self._give_up(uid).where(open_))
                return None
        return from_row(row)

    def settle(self, connection: Connection, uid: str) -> bool:
        """Return whether another attempt is to be made; when not, end the work item."""
        row = connection.execute(select(work_item).where(_c.uid == uid).with_for_update()).one_or_none()
        if row is None or row.state in (State.COMPLETED, State.CANCELED):
            return False
        if row.cancellation_requested or row.attempts >= self._limit:
            connection.execute(self._give_up(uid))
            return False
        return True

    def _give_up(self, uid: str) -> Update:
        died = f"the process that did this ended unexpectedly {self._limit} times"
        return (
            update(work_item)
            .where(_c.uid == uid)
            .values(
                state=State.CANCELED,
                error=case((_c.cancellation_requested, None), else_=func.coalesce(_c.error, died)),
                error_kind=case((_c.cancellation_requested, None), else_=func.coalesce(_c.error_kind, "ProcessDied")),
                ended=_now,
                updated=_now,
            )
        )

    def _mine(self, uid: str, attempt: int) -> Update:
        return (
            update(work_item)
            .where(
                _c.uid == uid,
                _c.attempts == attempt,
                _c.worker == self._worker,
                _c.state == State.IN_PROGRESS,
            )
            .values(updated=_now)
        )

    def _write(self, statement: Update) -> bool:
        with database_errors(), self._engine.begin() as connection:
            return connection.execute(statement).rowcount == 1

    def report(self, uid: str, attempt: int, progress: Progress) -> None:
        # Another total is another piece of work, whose rate is not known yet; so is going back.
        afresh = or_(
            _c.progress_from_at.is_(None), _c.progress_total != progress.total, _c.progress_done > progress.done
        )
        self._write(
            self._mine(uid, attempt).values(
                progress_done=progress.done,
                progress_total=progress.total,
                progress_text=_plain(progress.text),
                progress_from=case((afresh, progress.done), else_=_c.progress_from),
                progress_from_at=case((afresh, _now), else_=_c.progress_from_at),
                progress_at=_now,
            )
        )

    def log(self, uid: str, attempt: int, line: str) -> None:
        """Add a line to the work item's log, which keeps the latest ones."""
        lines = func.array_cat(_c.log, array([literal(_plain(line), Text)]), type_=ARRAY(Text))
        first = func.greatest(func.coalesce(func.array_length(_c.log, 1), 0) + 2 - _LOG_LINES, 1)
        self._write(self._mine(uid, attempt).values(log=lines[first : _LOG_LINES * 2]))

    def complete(self, uid: str, attempt: int, outputs: Mapping[str, Any]) -> bool:
        return self._write(
            self._mine(uid, attempt).values(
                state=State.COMPLETED, outputs=dict(outputs), ended=_now, error=None, error_kind=None
            )
        )

    def fail(self, uid: str, attempt: int, error_kind: str, error: str) -> bool:
        return self._write(
            self._mine(uid, attempt).values(
                state=State.CANCELED, error=_plain(error), error_kind=error_kind, ended=_now
            )
        )

    def cancel(self, uid: str, attempt: int) -> bool:
        return self._write(
            self._mine(uid, attempt).values(state=State.CANCELED, error=None, error_kind=None, ended=_now)
        )

    def postpone(self, uid: str, attempt: int, error_kind: str, error: str) -> bool:
        """Note why this attempt came to nothing; return whether another one may be made."""
        if attempt >= self._limit:
            self.fail(uid, attempt, error_kind, error)
            return False
        self.log(uid, attempt, f"attempt {attempt}: {error}")
        return self._write(self._mine(uid, attempt).values(error=_plain(error), error_kind=error_kind))

    def hand_back(self, uid: str, attempt: int) -> bool:
        """Make as if the attempt had not been started."""
        return self._write(self._mine(uid, attempt).values(attempts=_c.attempts - 1, worker=None))


def _plain(text: str) -> str:
    # PostgreSQL's text takes no NUL.
    return text.replace("\0", "")[:_LINE_LENGTH]
