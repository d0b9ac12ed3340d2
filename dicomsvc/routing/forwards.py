"""Forwards as people see them: what is to go where, how far it is, what is wrong; sent again, or dropped."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import BigInteger, Engine, Select, and_, cast, func, select, update

from dicomsvc.errors import BadRequest, Conflict, NotFound
from dicomsvc.jobs import Jobs
from dicomsvc.routing.tables import forward, forward_instance
from dicomsvc.store.database import database_errors


class ForwardState(StrEnum):
    """How a forward stands. The last three are final; ``dead`` can be sent again."""

    WAITING = "waiting"
    """For a place among those of its destination."""
    ORDERED = "ordered"
    """There is a work item, which no worker has begun."""
    RUNNING = "running"
    PAUSING = "pausing"
    """Before it is tried again."""
    CONFIRMING = "confirming"
    """All has been sent; the peer has not said yet whether it keeps it (Storage Commitment)."""
    DONE = "done"
    DEAD = "dead"
    """Some of it could not be sent."""
    DROPPED = "dropped"


FINAL: Final = (ForwardState.DONE, ForwardState.DEAD, ForwardState.DROPPED)
_f, _i = forward.c, forward_instance.c


@dataclass(frozen=True, slots=True)
class Forward:
    """What goes to one destination. Counts are of instances; ``reason``: why it is not further."""

    id: int
    rule: str
    action: str
    destination: str
    study_instance_uid: str
    series_instance_uid: str | None
    commitment: bool
    state: ForwardState
    tries: int
    due: datetime | None
    reason: str
    work_item: str | None
    transaction_uid: str | None
    created: datetime
    started: datetime | None
    ended: datetime | None
    instances: int
    waiting: int
    sent: int
    confirmed: int
    failed: int
    skipped: int
    answers: int
    bytes: int
    bytes_sent: int

    @property
    def final(self) -> bool:
        return self.state in FINAL

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)

    def describe(self) -> str:
        """Return one line for people."""
        where = self.series_instance_uid or self.study_instance_uid
        counts = f"{self.sent + self.confirmed} of {self.instances} instances"
        more = "".join(
            f", {count} {word}" for word, count in (("failed", self.failed), ("skipped", self.skipped)) if count
        )
        again = f", again at {self.due:%Y-%m-%d %H:%M:%S}" if self.due and self.state is ForwardState.PAUSING else ""
        reason = f": {self.reason}" if self.reason else ""
        what = f"{self.id}  {self.rule}  {self.action} {self.destination}  {self.state}  {where}"
        return f"{what}  {counts}{more}{again}{reason}"


@dataclass(frozen=True, slots=True)
class ForwardInstance:
    """One instance of a forward. ``status``: the destination's answer (PS3.7 C); ``answers``: how many it gave."""

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    size: int
    state: str
    status: int | None
    note: str
    answers: int
    sent_as: str | None
    at: datetime | None


def _statement() -> "Select[Any]":
    def count(state: str) -> Any:
        return func.count().filter(_i.state == state)

    size = func.coalesce(func.sum(_i.size), 0)
    gone = func.coalesce(func.sum(_i.size).filter(_i.state.in_(["sent", "confirmed"])), 0)
    counts = (
        select(
            func.count().label("instances"),
            *(count(state).label(state) for state in ("waiting", "sent", "confirmed", "failed", "skipped")),
            func.coalesce(func.sum(_i.answers), 0).label("answers"),
            cast(size, BigInteger).label("bytes"),
            cast(gone, BigInteger).label("bytes_sent"),
        )
        .where(_i.forward == _f.id)
        .lateral("counts")
    )
    return select(forward, *counts.c).select_from(forward.join(counts, and_(True)))


def _of(row: Any) -> Forward:
    values = {name: getattr(row, name) for name in Forward.__dataclass_fields__}
    return Forward(**{**values, "state": ForwardState(row.state)})


class Forwards:
    """The forwards in a store's database. Every method raises `OutOfResources` when that does not answer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def search(
        self,
        *,
        state: str | None = None,
        rule: str | None = None,
        destination: str | None = None,
        study_instance_uid: str | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[Forward]:
        """Return forwards, latest first.

        Raises
        ------
        BadRequest
            When there is no such state.
        """
        if state is not None and state not in list(ForwardState):
            raise BadRequest(f"a forward is one of {', '.join(ForwardState)}")
        asked = {"state": state, "rule": rule, "destination": destination, "study_instance_uid": study_instance_uid}
        conditions = [_f[name] == value for name, value in asked.items() if value is not None]
        statement = _statement().where(*conditions).order_by(_f.id.desc()).limit(limit).offset(offset)
        with database_errors(), self._engine.connect() as connection:
            return [_of(row) for row in connection.execute(statement)]

    def get(self, number: int) -> Forward:
        """Return a forward.

        Raises
        ------
        NotFound
            When there is none with this number.
        """
        with database_errors(), self._engine.connect() as connection:
            row = connection.execute(_statement().where(_f.id == number)).one_or_none()
        if row is None:
            raise NotFound(f"there is no forward {number}")
        return _of(row)

    def instances(
        self, number: int, *, state: str | None = None, limit: int = 1000, offset: int = 0
    ) -> list[ForwardInstance]:
        """Return instances of a forward."""
        names = list(ForwardInstance.__dataclass_fields__)
        statement = select(*(_i[name] for name in names)).where(_i.forward == number)
        if state is not None:
            statement = statement.where(_i.state == state)
        with database_errors(), self._engine.connect() as connection:
            rows = connection.execute(statement.order_by(_i.sop_instance_uid).limit(limit).offset(offset)).all()
        return [ForwardInstance(**row._mapping) for row in rows]

    def retry(self, number: int) -> Forward:
        """Send again what could not be sent; a forward that pauses is tried at once.

        Raises
        ------
        NotFound
            When there is none with this number.
        Conflict
            When there is nothing to send again.
        """
        found = self.get(number)
        if found.state not in (ForwardState.DEAD, ForwardState.DROPPED, ForwardState.PAUSING):
            raise Conflict(f"forward {number} is {found.state}; what is dead, dropped or pausing can be sent again")
        self._recall(found)
        with database_errors(), self._engine.begin() as connection:
            connection.execute(
                update(forward_instance)
                .where(_i.forward == number, _i.state == "failed")
                .values(state="waiting", status=None, note="")
            )
            connection.execute(
                update(forward)
                .where(_f.id == number, _f.state == found.state)
                .values(
                    state=ForwardState.WAITING,
                    holds=False,
                    tries=0,
                    due=None,
                    reason="",
                    work_item=None,
                    transaction_uid=None,
                    since=func.clock_timestamp(),
                    ended=None,
                    updated=func.clock_timestamp(),
                )
            )
        return self.get(number)

    def drop(self, number: int) -> Forward:
        """Give a forward up: what has not been sent is not sent any more.

        Raises
        ------
        NotFound
            When there is none with this number.
        Conflict
            When all of it has been sent.
        """
        found = self.get(number)
        if found.state is ForwardState.DONE:
            raise Conflict(f"forward {number} is done")
        with database_errors(), self._engine.begin() as connection:
            now = func.clock_timestamp()
            connection.execute(
                update(forward)
                .where(_f.id == number, _f.state != ForwardState.DONE)
                .values(state=ForwardState.DROPPED, holds=False, due=None, ended=now, updated=now)
            )
        self._recall(found)
        return self.get(number)

    def _recall(self, found: Forward) -> None:
        if found.work_item is None or found.action == "analyze":
            return
        jobs = Jobs(self._engine)
        if any(not item.final for item in jobs.get_all([found.work_item])):
            jobs.request_cancel(found.work_item)

    def counts(self) -> Mapping[str, int]:
        """Return how many forwards there are in each state."""
        with database_errors(), self._engine.connect() as connection:
            rows = connection.execute(select(_f.state, func.count()).group_by(_f.state)).all()
        return dict.fromkeys(ForwardState, 0) | {row[0]: row[1] for row in rows}

    def counts_of_rules(self) -> Mapping[str, Mapping[str, int]]:
        """Return how many forwards each rule has made, by state."""
        found: dict[str, dict[str, int]] = {}
        with database_errors(), self._engine.connect() as connection:
            for rule, state, count in connection.execute(
                select(_f.rule, _f.state, func.count()).group_by(_f.rule, _f.state)
            ):
                found.setdefault(rule, {})[state] = count
        return found
