"""Work items as performers outside change them: claim, update, complete, give up (PS3.4 CC.2.1, CC.2.6)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, func, select, update

from dicomsvc.errors import NotFound, TooLarge
from dicomsvc.jobs.cancellation import with_cancellation
from dicomsvc.jobs.delivery import deliver, reprioritise
from dicomsvc.jobs.items import OUTSIDE, Priority, State
from dicomsvc.jobs.table import work_item
from dicomsvc.jobs.transitions import Attributes, Status, judge_change, judge_update, lacking, tag_of
from dicomsvc.store.database import database_errors

_now = func.clock_timestamp()
_c = work_item.c
_MOST_CHARACTERS: Final = 1 << 20
_READINESS: Final = tag_of("InputReadinessState")
_PRIORITY: Final = tag_of("ScheduledProcedureStepPriority")
# What says what our own workers shall do: another wish is another work item.
_STEERING: Final = frozenset(
    map(
        tag_of,
        (
            "ScheduledWorkitemCodeSequence",
            "ScheduledProcessingParametersSequence",
            "InputInformationSequence",
            "ProcedureStepProgressInformationSequence",
            "UnifiedProcedureStepPerformedProcedureSequence",
        ),
    )
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a request came to; ``reason`` says why it was refused."""

    status: Status
    reason: str = ""


_DONE: Final = Verdict(Status.SUCCESS)
_OURS: Final = "it is performed by this service's own workers"


class Steps:
    """Changes that performers outside make. Every method raises `OutOfResources` when the database does not answer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def change_state(self, uid: str, wanted: State, transaction_uid: str) -> Verdict:
        """Change the state if PS3.4 CC.1.1 allows it.

        Raises
        ------
        NotFound
            When there is no such work item.
        """
        with database_errors(), self._engine.begin() as connection:
            row = _locked(connection, uid)
            verdict = _judge(row, wanted, transaction_uid)
            if verdict.status is Status.SUCCESS:
                connection.execute(
                    update(work_item).where(_c.uid == uid).values(**_changes(row, wanted, transaction_uid))
                )
        return verdict

    def update(self, uid: str, transaction_uid: str, attributes: Attributes) -> Verdict:
        """Set attributes; a sequence is replaced as a whole.

        Raises
        ------
        NotFound
            When there is no such work item.
        TooLarge
            When all that was said of it would be more than a mebibyte.
        """
        with database_errors(), self._engine.begin() as connection:
            row = _locked(connection, uid)
            state = State(row.state)
            status = judge_update(state, row.transaction_uid, transaction_uid)
            if status is not Status.SUCCESS:
                return Verdict(status, f"it is {state}")
            if row.kind != OUTSIDE and not _STEERING.isdisjoint(attributes):
                return Verdict(Status.ALREADY_IN_PROGRESS, f"{_OURS}; cancel it and make another one")
            connection.execute(update(work_item).where(_c.uid == uid).values(**_updates(row, attributes)))
            if row.kind != OUTSIDE:
                _queue(connection, row, attributes)
        return _DONE


def _locked(connection: Connection, uid: str) -> "Row[Any]":
    row = connection.execute(select(work_item).where(_c.uid == uid).with_for_update()).one_or_none()
    if row is None:
        raise NotFound(f"there is no work item {uid[:64]}")
    return row


def _judge(row: "Row[Any]", wanted: State, transaction_uid: str) -> Verdict:
    state = State(row.state)
    status = judge_change(state, wanted, row.transaction_uid, transaction_uid)
    if status is not Status.SUCCESS:
        return Verdict(status, f"it is {state}")
    if row.kind != OUTSIDE:
        return Verdict(Status.ALREADY_IN_PROGRESS, _OURS)
    missing = lacking(wanted, row.attributes)
    if missing:
        return Verdict(Status.NOT_FINAL, f"{wanted} needs {', '.join(missing)}")
    return _DONE


def _changes(row: "Row[Any]", wanted: State, transaction_uid: str) -> dict[str, object]:
    changes: dict[str, object] = {"state": wanted, "updated": _now}
    if wanted is State.IN_PROGRESS:
        return changes | {"transaction_uid": transaction_uid, "started": _now}
    if wanted is State.CANCELED:
        changes["attributes"] = with_cancellation(row.attributes, None)
    return changes | {"ended": _now}


def _queue(connection: Connection, row: "Row[Any]", attributes: Attributes) -> None:
    """Bring the queue up to date with an update of our own work."""
    priority = Priority(_value(attributes, _PRIORITY) or row.priority)
    if row.delivery is not None:
        reprioritise(connection, row.delivery, priority)
    elif _value(attributes, _READINESS) == "READY":
        delivery = deliver(connection, row.uid, row.kind, priority)
        connection.execute(update(work_item).where(_c.uid == row.uid).values(delivery=delivery))


def _updates(row: "Row[Any]", attributes: Attributes) -> dict[str, object]:
    merged = {**row.attributes, **attributes}
    if len(json.dumps(merged)) > _MOST_CHARACTERS:
        raise TooLarge(f"the attributes of work item {row.uid} would be more than a mebibyte")
    changes: dict[str, object] = {"attributes": merged, "updated": _now}
    priority = _value(attributes, _PRIORITY)
    if priority is not None:
        changes["priority"] = priority
    return changes


def _value(attributes: Mapping[str, Any], tag: str) -> str | None:
    values = attributes.get(tag, {}).get("Value")
    return str(values[0]) if values else None
