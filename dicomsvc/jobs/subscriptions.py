"""Who hears of which work items (PS3.4 CC.2.3), and what there is to hear (CC.2.4).

Events are written by a trigger of the table of work items, in the transaction that changes one, so that none is lost
whichever process made the change. A subscriber has a position in them: what happens while it is not connected waits.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Connection, Engine, and_, delete, exists, func, literal, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from dicomsvc.errors import NotFound
from dicomsvc.jobs.items import State
from dicomsvc.jobs.table import subscriber, subscription, work_item, work_item_event
from dicomsvc.store.database import database_errors

_w, _s, _l, _e = work_item.c, subscriber.c, subscription.c, work_item_event.c
_NOT_FINAL: Final = (State.SCHEDULED, State.IN_PROGRESS)
_KEPT: Final = timedelta(days=7)
Follows = Literal["none", "all", "filter"]


class EventType(IntEnum):
    """Event Type IDs (PS3.4 Table CC.2.4-1) that work items have."""

    STATE_REPORT = 1
    CANCEL_REQUESTED = 2
    PROGRESS_REPORT = 3
    ASSIGNED = 5


@dataclass(frozen=True, slots=True)
class Subscriber:
    """An Application Entity that hears of work items.

    Attributes
    ----------
    follows
        Its global subscription: none, all work items, or those that match ``filter`` (names and values of keys).
    position
        Sequence number of the last event that was sent.
    """

    aet: str
    follows: Follows
    filter: tuple[tuple[str, str], ...]
    deletion_lock: bool
    position: int


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a work item.

    Attributes
    ----------
    event_type
        One of `EventType`.
    detail
        The work item's columns that event reports are made of, as they were then.
    subscribed
        Whether the subscriber is subscribed to this work item; None: it follows those that match its filter.
    """

    sequence: int
    at: datetime
    uid: str
    event_type: int
    detail: dict[str, Any]
    subscribed: bool | None


class Subscriptions:
    """The subscriptions in a store's database. Methods raise `OutOfResources` when that does not answer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get(self, aet: str) -> Subscriber | None:
        with database_errors(), self._engine.connect() as connection:
            row = connection.execute(select(subscriber).where(_s.aet == aet)).one_or_none()
        if row is None:
            return None
        pairs = tuple((name, value) for name, value in row.filter)
        return Subscriber(row.aet, row.follows, pairs, row.deletion_lock, row.position)

    def subscribe(self, aet: str, uids: Iterable[str], *, deletion_lock: bool = False, report: bool = True) -> None:
        """Subscribe to work items; with ``report`` their states are events for this subscriber (PS3.4 CC.2.3.3).

        Raises
        ------
        NotFound
            When one of them does not exist.
        """
        wanted = list(uids)
        with database_errors(), self._engine.begin() as connection:
            known = set(connection.scalars(select(_w.uid).where(_w.uid.in_(wanted))))
            for uid in wanted:
                if uid not in known:
                    raise NotFound(f"there is no work item {uid[:64]}")
            _enter(connection, aet)
            for uid in wanted:
                _subscribe(connection, aet, uid, deletion_lock)
            if report and wanted:
                _report(connection, aet, _w.uid.in_(wanted))

    def follow(self, aet: str, *, keys: Sequence[tuple[str, str]] | None = None, deletion_lock: bool = False) -> None:
        """Subscribe globally, to all work items or those that match ``keys``.

        With a deletion lock, the state of each that is not final is an event for this subscriber (PS3.4 CC.2.4.3).
        """
        follows = "all" if keys is None else "filter"
        pairs = [list(pair) for pair in keys or ()]
        with database_errors(), self._engine.begin() as connection:
            _enter(connection, aet)
            connection.execute(
                update(subscriber)
                .where(_s.aet == aet)
                .values(follows=follows, filter=pairs, deletion_lock=deletion_lock)
            )
            connection.execute(delete(subscription).where(_l.aet == aet, ~_l.active))
            if deletion_lock and keys is None:
                unknown = ~exists().where(_l.aet == aet, _l.uid == _w.uid)
                _report(connection, aet, and_(_w.state.in_(_NOT_FINAL), unknown))

    def suspend(self, aet: str) -> None:
        """End a global subscription; subscriptions to work items that exist stay (PS3.4 CC.2.3.2).

        The caller subscribes to those that match a filter before.

        Raises
        ------
        NotFound
            When there is none.
        """
        with database_errors(), self._engine.begin() as connection:
            row = connection.execute(select(subscriber).where(_s.aet == aet).with_for_update()).one_or_none()
            if row is None or row.follows == "none":
                raise NotFound(f"{aet} has no global subscription")
            if row.follows == "all":
                open_ = select(literal(aet), _w.uid, literal(True), literal(row.deletion_lock)).where(
                    _w.state.in_(_NOT_FINAL)
                )
                names = ["aet", "uid", "active", "deletion_lock"]
                connection.execute(insert(subscription).from_select(names, open_).on_conflict_do_nothing())
            connection.execute(update(subscriber).where(_s.aet == aet).values(follows="none", filter=[]))

    def unsubscribe(self, aet: str, uid: str) -> None:
        """End the subscription to one work item.

        Raises
        ------
        NotFound
            When there is none.
        """
        with database_errors(), self._engine.begin() as connection:
            row = connection.execute(select(subscriber).where(_s.aet == aet).with_for_update()).one_or_none()
            active = connection.scalar(select(_l.active).where(_l.aet == aet, _l.uid == uid))
            item = connection.scalar(select(_w.uid).where(_w.uid == uid))
            if row is None or item is None or active is False or (active is None and row.follows == "none"):
                raise NotFound(f"{aet} is not subscribed to work item {uid[:64]}")
            # Kept as a row: a global subscription would otherwise bring it back.
            values = {"active": False, "deletion_lock": False}
            connection.execute(
                insert(subscription)
                .values(aet=aet, uid=uid, **values)
                .on_conflict_do_update(index_elements=[_l.aet, _l.uid], set_=values)
            )

    def unsubscribe_all(self, aet: str) -> None:
        """End all subscriptions, global and specific (PS3.4 CC.2.3.2).

        Raises
        ------
        NotFound
            When there is none.
        """
        with database_errors(), self._engine.begin() as connection:
            if connection.execute(delete(subscriber).where(_s.aet == aet)).rowcount == 0:
                raise NotFound(f"{aet} has no subscription")

    def anybody(self, uid: str) -> bool:
        """Whether somebody may hear of a work item."""
        statement = select(
            or_(exists().where(_l.uid == uid, _l.active), exists().where(_s.follows != "none")).label("found")
        )
        with database_errors(), self._engine.connect() as connection:
            return bool(connection.scalar(statement))

    def events(self, listener: Subscriber, after: int, limit: int = 200) -> list[Event]:
        """Return what happened after sequence number ``after`` and concerns a subscriber, oldest first."""
        concerns = or_(_e.aet == listener.aet, and_(_e.aet.is_(None), _l.active))
        if listener.follows != "none":
            concerns = or_(concerns, and_(_e.aet.is_(None), _l.active.is_(None)))
        undecided = listener.follows == "filter"
        statement = (
            select(work_item_event, _l.active)
            .outerjoin(subscription, and_(_l.aet == listener.aet, _l.uid == _e.uid))
            .where(_e.sequence > after, concerns)
            # As in the change feed: no event of a transaction that still runs may be passed over.
            .where(text("transaction < pg_snapshot_xmin(pg_current_snapshot())::text::bigint"))
            .order_by(_e.sequence)
            .limit(limit)
        )
        with database_errors(), self._engine.connect() as connection:
            return [
                Event(
                    row.sequence,
                    row.at,
                    row.uid,
                    row.event_type,
                    row.detail,
                    None if undecided and row.active is None and row.aet is None else True,
                )
                for row in connection.execute(statement)
            ]

    def sent(self, aet: str, position: int) -> None:
        """Note that a subscriber has been told everything up to an event."""
        with database_errors(), self._engine.begin() as connection:
            connection.execute(
                update(subscriber).where(_s.aet == aet, _s.position < position).values(position=position)
            )

    def forget(self) -> None:
        """Delete events that nobody fetched for a week."""
        with database_errors(), self._engine.begin() as connection:
            connection.execute(delete(work_item_event).where(_e.at < func.now() - _KEPT))


def _enter(connection: Connection, aet: str) -> None:
    latest = select(func.coalesce(func.max(_e.sequence), 0)).scalar_subquery()
    connection.execute(insert(subscriber).values(aet=aet, position=latest).on_conflict_do_nothing())


def _subscribe(connection: Connection, aet: str, uid: str, deletion_lock: bool) -> None:
    values = {"active": True, "deletion_lock": deletion_lock}
    connection.execute(
        insert(subscription)
        .values(aet=aet, uid=uid, **values)
        .on_conflict_do_update(index_elements=[_l.aet, _l.uid], set_=values)
    )


def _report(connection: Connection, aet: str, which: ColumnElement[bool]) -> None:
    """Write an initial state report for one subscriber."""
    states = select(
        _w.uid,
        literal(int(EventType.STATE_REPORT)),
        literal(aet),
        func.work_item_detail(text("work_item"), type_=_e.detail.type),
    ).where(which)
    connection.execute(insert(work_item_event).from_select(["uid", "event_type", "aet", "detail"], states))
