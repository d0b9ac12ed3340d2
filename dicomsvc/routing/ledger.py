"""What the process that carries a forward out writes about it: so that another one goes on where it was."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import uniform
from typing import Any, Final

from sqlalchemy import func, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from dicomsvc.config import RoutingSettings
from dicomsvc.jobs import Later
from dicomsvc.routing.forwards import FINAL, Forward, Forwards, ForwardState
from dicomsvc.routing.statuses import Answer, Verdict
from dicomsvc.routing.tables import forward, forward_instance
from dicomsvc.store import Store
from dicomsvc.store.database import database_errors
from dicomsvc.store.tables import instance, series, study

_NOTE_LENGTH: Final = 500
_BUSY_SECONDS: Final = 5.0
_LOCK: Final = text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))")
_UNLOCK: Final = text("SELECT pg_advisory_unlock_all()")
# What is lost when the database's machine dies is sent once more, at most.
_NO_WAIT: Final = text("SET LOCAL synchronous_commit = off")
_FROM_OTHERS: Final = ("dimse", "stow")
_IDENTITY_REMOVED: Final = study.c.attributes["00120062"]["Value"][0].astext
_f, _i = forward.c, forward_instance.c
_now = func.clock_timestamp()


@dataclass(frozen=True, slots=True)
class Item:
    """An instance that is to go: as it is stored."""

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    size: int
    sha256: bytes
    damaged: bool
    path: Path
    deidentified_elsewhere: bool = False
    """Another node brought it without identity: Patient Identity Removed (0012,0062) is YES."""


class Ledger:
    """One forward, for one attempt to carry it out."""

    def __init__(self, store: Store, number: int, order: int) -> None:
        self._store = store
        self._engine = store.engine
        self._number = number
        self._order = order
        self._routing: RoutingSettings = store.settings.routing

    def load(self) -> Forward | None:
        """Return the forward, or None when this attempt is not asked for any more."""
        found = Forwards(self._engine).get(self._number)
        with database_errors(), self._engine.connect() as connection:
            order = connection.scalar(select(_f.orders).where(_f.id == self._number))
        return None if found.final or order != self._order else found

    @contextmanager
    def place(self, record: Forward) -> Iterator[None]:
        """Hold the forward, and a place among those of its destination, until the end.

        Raises
        ------
        Later
            When another process still has the forward, or all places are taken.
        """
        slots = range(self._routing.per_destination)
        with database_errors(), self._engine.connect() as connection:
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            try:
                if not connection.scalar(_LOCK, {"name": f"forward {record.id}"}):
                    raise Later(_BUSY_SECONDS, "another process is about to end its attempt")
                stem = f"forward place {record.action} {record.destination}"
                if not any(connection.scalar(_LOCK, {"name": f"{stem} {slot}"}) for slot in slots):
                    raise Later(_BUSY_SECONDS * uniform(1, 2), "all places of the destination are taken")  # noqa: S311
                yield
            finally:
                with suppress(SQLAlchemyError):
                    connection.execute(_UNLOCK)

    def start(self) -> bool:
        """Note that it is being carried out; false when that is not asked for any more."""
        return self._set(state=ForwardState.RUNNING, holds=True, due=None, started=func.coalesce(_f.started, _now))

    def _set(self, **values: object) -> bool:
        with database_errors(), self._engine.begin() as connection:
            statement = (
                update(forward)
                .where(_f.id == self._number, _f.orders == self._order, _f.state.not_in(FINAL))
                .values(updated=_now, **values)
            )
            return connection.execute(statement).rowcount == 1

    def items(self) -> list[Item]:
        """Return what is still to go; what has been deleted meanwhile is noted as skipped.

        What was not tried yet comes first: one that the destination cannot take keeps none from it.
        """
        waiting = select(_i.sop_instance_uid).where(_i.forward == self._number, _i.state == "waiting")
        statement = (
            select(instance, _i.series_instance_uid, _IDENTITY_REMOVED.label("identity_removed"))
            .join(forward_instance, _i.sop_instance_uid == instance.c.sop_instance_uid)
            .join(series, series.c.id == instance.c.series_key)
            .join(study, study.c.id == series.c.study_key)
            .where(_i.forward == self._number, _i.state == "waiting")
            .order_by(_i.at.nulls_first(), _i.series_instance_uid, instance.c.instance_number, instance.c.id)
        )
        with database_errors(), self._engine.begin() as connection:
            rows = connection.execute(statement).all()
            gone = set(connection.scalars(waiting)) - {row.sop_instance_uid for row in rows}
            if gone:
                connection.execute(
                    update(forward_instance)
                    .where(_i.forward == self._number, _i.sop_instance_uid.in_(gone))
                    .values(state="skipped", note="deleted before it was sent", at=_now)
                )
        return [
            Item(
                row.sop_instance_uid,
                row.sop_class_uid,
                row.series_instance_uid,
                row.transfer_syntax_uid,
                row.size,
                row.sha256,
                row.damaged,
                self._store.layout.instance_path(row.file_key),
                row.identity_removed == "YES" and row.source in _FROM_OTHERS,
            )
            for row in rows
        ]

    def record(self, answer: Answer) -> None:
        """Note what became of an instance."""
        state = {Verdict.AGAIN: "waiting"}.get(answer.verdict, str(answer.verdict))
        answered = 0 if answer.status is None else 1
        values: dict[str, Any] = {"state": state, "status": answer.status, "note": plain(answer.note), "at": _now}
        if answer.sent_as is not None:
            values["sent_as"] = answer.sent_as
        with database_errors(), self._engine.begin() as connection:
            connection.execute(_NO_WAIT)
            connection.execute(
                update(forward_instance)
                .where(_i.forward == self._number, _i.sop_instance_uid == answer.sop_instance_uid)
                .values(answers=_i.answers + answered, **values)
            )

    def pause(self, record: Forward, reason: str, *, holds: bool, progress: bool) -> Later:
        """Note that it is tried again, and return what to raise; what has been tried for too long is given up.

        Parameters
        ----------
        holds
            The destination could not even be asked: others do not take the place meanwhile.
        progress
            Something went across this time: the next pause is the first one again.
        """
        tries = 0 if progress else record.tries
        seconds = self.pause_seconds(tries)
        due = _now + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
        self._set(state=ForwardState.PAUSING, holds=holds, tries=tries + 1, due=due, reason=plain(reason))
        return Later(seconds, reason)

    def pause_seconds(self, tries: int) -> float:
        """Return the next pause: doubling, with chance, so that many do not come at once."""
        return pause_seconds(self._routing, tries)

    def given_up(self) -> bool:
        """Whether it has been tried for as long as the settings say."""
        with database_errors(), self._engine.connect() as connection:
            hours = connection.scalar(
                select(func.extract("epoch", _now - _f.since) / 3600).where(_f.id == self._number)
            )
        return hours is not None and float(hours) >= self._routing.give_up_hours

    def fail_rest(self, note: str, *, states: Sequence[str] = ("waiting",)) -> None:
        """Note that what is in one of ``states`` will not be sent."""
        with database_errors(), self._engine.begin() as connection:
            connection.execute(
                update(forward_instance)
                .where(_i.forward == self._number, _i.state.in_(states))
                .values(state="failed", note=plain(note), at=_now)
            )

    def begin_confirming(self, transaction_uid: str, reason: str) -> None:
        self._set(
            state=ForwardState.CONFIRMING, holds=False, transaction_uid=transaction_uid, reason=plain(reason), due=None
        )

    def committable(self) -> list[tuple[str, str, str]]:
        """Return what has been sent: SOP Class UID, SOP Instance UID here, and at the destination."""
        statement = select(_i.sop_class_uid, _i.sop_instance_uid, func.coalesce(_i.sent_as, _i.sop_instance_uid))
        with database_errors(), self._engine.connect() as connection:
            rows = connection.execute(statement.where(_i.forward == self._number, _i.state == "sent"))
            return [(row[0], row[1], row[2]) for row in rows]

    def confirm(self, uids: Sequence[str], failed: Mapping[str, str]) -> None:
        """Note what the destination keeps, and what it does not and why; by SOP Instance UID here."""
        with database_errors(), self._engine.begin() as connection:
            mine = update(forward_instance).where(_i.forward == self._number)
            connection.execute(mine.where(_i.sop_instance_uid.in_(uids)).values(state="confirmed", at=_now))
            for uid, note in failed.items():
                connection.execute(mine.where(_i.sop_instance_uid == uid).values(state="failed", note=note, at=_now))

    def mark_all(self, state: str, status: int | None, note: str) -> None:
        """Note one answer for all that waits."""
        with database_errors(), self._engine.begin() as connection:
            connection.execute(
                update(forward_instance)
                .where(_i.forward == self._number, _i.state == "waiting")
                .values(state=state, status=status, note=plain(note), answers=_i.answers + 1, at=_now)
            )

    def finish(self, reason: str = "") -> Forward:
        """End it: done, or dead when something of it failed."""
        found = Forwards(self._engine).get(self._number)
        state = ForwardState.DEAD if found.failed else ForwardState.DONE
        why = reason or (self._first_failure() if found.failed else "")
        self._set(state=state, holds=False, due=None, ended=_now, reason=plain(why))
        return Forwards(self._engine).get(self._number)

    def _first_failure(self) -> str:
        with database_errors(), self._engine.connect() as connection:
            row = connection.execute(
                select(_i.status, _i.note)
                .where(_i.forward == self._number, _i.state == "failed")
                .order_by(_i.sop_instance_uid)
                .limit(1)
            ).one()
        return row.note if row.status is None else f"{row.note or 'refused'} (status {row.status:#06x})"


def pause_seconds(routing: RoutingSettings, tries: int) -> float:
    """Return how long is waited after so many tries that brought nothing, in seconds."""
    pause = min(routing.first_pause_seconds * 2.0 ** min(tries, 30), routing.longest_pause_seconds)
    return pause * uniform(0.8, 1.2)  # noqa: S311 - spreads load, keeps no secret


def plain(note: str) -> str:
    """Return a note as the database takes it."""
    return note.replace("\0", "")[:_NOTE_LENGTH]
