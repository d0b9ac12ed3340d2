"""Giving forwards to the workers: the oldest first, as many at a time as their destination is to have.

The queue holds no more than that, so a thousand series for an archive that is down cost it one try now and then, and
keep nothing from others.
"""

import logging
from collections.abc import Callable

from sqlalchemy import Engine, delete, func, select, text, update

from dicomsvc.config import RoutingSettings
from dicomsvc.errors import DicomsvcError, OutOfResources
from dicomsvc.jobs import Jobs, State
from dicomsvc.routing.forwarding import KIND
from dicomsvc.routing.forwards import ForwardState
from dicomsvc.routing.ledger import pause_seconds, plain
from dicomsvc.routing.tables import forward, forward_instance
from dicomsvc.store.database import database_errors

_log = logging.getLogger(__name__)
_f = forward.c
_now = func.clock_timestamp()

AnalysisOrder = Callable[[str, str, str, str], str | None]
"""Orders an analysis (study, series, model, idempotency key) and returns the work item; None: it is not to be analysed.

A series that a model made is not, so that no result is analysed again.
"""

_NEXT = text(
    """
    WITH held AS (
      SELECT action, destination, count(*) AS places FROM forward
       WHERE holds AND state NOT IN ('waiting', 'done', 'dead', 'dropped') GROUP BY action, destination
    ), candidate AS (
      SELECT id, action, destination, since,
             row_number() OVER (PARTITION BY action, destination ORDER BY since, id) AS place
        FROM forward
       WHERE state = 'waiting' AND action <> 'analyze' AND (due IS NULL OR due <= clock_timestamp())
    )
    SELECT candidate.id FROM candidate LEFT JOIN held USING (action, destination)
     WHERE candidate.place + coalesce(held.places, 0) <= :places ORDER BY candidate.since, candidate.id LIMIT 1000
    """
)
_ADMIT = text(
    "UPDATE forward SET state = 'ordered', holds = true, orders = orders + 1, work_item = NULL,"
    " updated = clock_timestamp() WHERE id = :id AND state = 'waiting' RETURNING id"
)
_TOLD = ("action", "destination", "study_instance_uid", "series_instance_uid")
_UNORDERED = select(forward).where(_f.state == ForwardState.ORDERED, _f.work_item.is_(None))


def admit(engine: Engine, routing: RoutingSettings) -> int:
    """Give forwards to the workers for every free place; return how many."""
    with database_errors(), engine.connect() as connection:
        numbers = connection.scalars(_NEXT, {"places": routing.per_destination}).all()
    for number in numbers:
        with database_errors(), engine.begin() as connection:
            connection.execute(_ADMIT, {"id": number})
    _make_work_items(engine)
    return len(numbers)


def _make_work_items(engine: Engine) -> None:
    """Make the work items of forwards that have been ordered; after a crash in between none is made twice."""
    with database_errors(), engine.connect() as connection:
        ordered = connection.execute(_UNORDERED).all()
    jobs = Jobs(engine)
    for row in ordered:
        inputs = {name: getattr(row, name) for name in _TOLD if getattr(row, name) is not None}
        inputs |= {"forward": row.id, "order": row.orders}
        item = jobs.create(KIND, inputs, f"routing rule {row.rule}", key=f"forward:{row.id}:{row.orders}")
        with database_errors(), engine.begin() as connection:
            mine = update(forward).where(_f.id == row.id, _f.orders == row.orders)
            connection.execute(mine.values(work_item=item.uid))


def order_analyses(engine: Engine, order: AnalysisOrder) -> int:
    """Order the analyses that rules ask for; return how many were asked for."""
    statement = (
        select(forward).where(_f.state == ForwardState.WAITING, _f.action == "analyze").order_by(_f.id).limit(100)
    )
    with database_errors(), engine.connect() as connection:
        rows = connection.execute(statement).all()
    for row in rows:
        state, reason, uid = ForwardState.DONE, "", None
        key = f"route:{row.rule}:{row.destination}:{row.series_instance_uid}"
        try:
            uid = order(row.study_instance_uid, row.series_instance_uid, row.destination, key)
            reason = "" if uid else "it is no slide, or was made by a model"
        except OutOfResources:
            raise
        except DicomsvcError as error:
            state, reason = ForwardState.DEAD, str(error)
        _conclude_analysis(engine, row.id, state, reason, uid)
    return len(rows)


def _conclude_analysis(engine: Engine, number: int, state: ForwardState, reason: str, uid: str | None) -> None:
    of_instances = {ForwardState.DEAD: "failed"}.get(state, "sent" if uid else "skipped")
    with database_errors(), engine.begin() as connection:
        connection.execute(
            update(forward)
            .where(_f.id == number)
            .values(state=state, reason=plain(reason), work_item=uid, started=_now, ended=_now, updated=_now)
        )
        connection.execute(
            update(forward_instance)
            .where(forward_instance.c.forward == number)
            .values(state=of_instances, note=plain(reason), at=_now)
        )


_ENDED = text(
    """
    SELECT forward.id, forward.orders, forward.tries, item.state, item.error,
           clock_timestamp() - forward.since > make_interval(secs => :seconds) AS overdue
      FROM forward LEFT JOIN work_item item ON item.uid = forward.work_item
     WHERE forward.state IN ('ordered', 'running', 'pausing', 'confirming') AND forward.work_item IS NOT NULL
       AND (item.uid IS NULL OR item.state IN ('COMPLETED', 'CANCELED'))
    """
)


def reconcile(engine: Engine, routing: RoutingSettings) -> int:
    """See to forwards whose work item has ended without them: tried again, given up, or dropped; return how many.

    A work item is given up when its process has died again and again; a forward is not.
    """
    with database_errors(), engine.connect() as connection:
        rows = connection.execute(_ENDED, {"seconds": routing.give_up_hours * 3600}).all()
    for row in rows:
        mine = update(forward).where(_f.id == row.id, _f.orders == row.orders)
        with database_errors(), engine.begin() as connection:
            if row.state == State.CANCELED and row.error is None:
                reason = "its work item was cancelled"
                connection.execute(
                    mine.values(state=ForwardState.DROPPED, holds=False, due=None, reason=reason, ended=_now)
                )
            elif row.overdue:
                connection.execute(
                    update(forward_instance)
                    .where(forward_instance.c.forward == row.id, forward_instance.c.state == "waiting")
                    .values(state="failed", note=plain(row.error or "it was tried for too long"), at=_now)
                )
                reason = plain(row.error or "it was tried for too long")
                connection.execute(
                    mine.values(state=ForwardState.DEAD, holds=False, due=None, reason=reason, ended=_now)
                )
            else:
                due = _now + func.make_interval(0, 0, 0, 0, 0, 0, pause_seconds(routing, row.tries))
                connection.execute(
                    mine.values(
                        state=ForwardState.WAITING,
                        holds=False,
                        tries=row.tries + 1,
                        due=due,
                        reason=plain(row.error or ""),
                        work_item=None,
                    )
                )
        _log.warning("the work item of forward %d ended without it", row.id)
    return len(rows)


def forget(engine: Engine, routing: RoutingSettings) -> int:
    """Remove the records of what was done, or dropped, long ago; return how many."""
    old = _f.ended < _now - func.make_interval(0, 0, 0, 0, 0, 0, routing.keep_days * 86400)
    statement = delete(forward).where(_f.state.in_([ForwardState.DONE, ForwardState.DROPPED]), old)
    with database_errors(), engine.begin() as connection:
        return connection.execute(statement).rowcount
