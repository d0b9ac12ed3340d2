"""Versions that wait to be structured: taken, and written back with what was found."""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, func, select, text, update

from dicomsvc.reports.document import as_document
from dicomsvc.reports.repository.records import State, ValueReview
from dicomsvc.reports.repository.storable import storable
from dicomsvc.reports.repository.tables import report, report_value, report_version
from dicomsvc.reports.values import StructuredReport

ATTEMPTS: Final = 3
_r, _v = report.c, report_version.c


@dataclass(frozen=True, slots=True)
class Waiting:
    """A version that is about to be structured."""

    key: int
    number: int
    text: str


def take(connection: Connection, uid: str, number: int) -> Waiting | None:
    """Return a version that waits, and count the attempt; None when it does not wait any more.

    A version whose attempts are used up, since the process died each time, becomes `State.FAILED`.
    """
    statement = (
        select(report_version, _v.report.label("key"))
        .join(report, _r.id == _v.report)
        .where(_r.uid == uid, _v.number == number, _v.state == State.WAITING)
        .with_for_update(of=report_version)
    )
    row = connection.execute(statement).one_or_none()
    if row is None:
        return None
    if row.attempts >= ATTEMPTS:
        _settle(connection, row.key, number, State.FAILED, f"given up after {ATTEMPTS} attempts")
        return None
    this = (_v.report == row.key) & (_v.number == number)
    connection.execute(update(report_version).where(this).values(attempts=row.attempts + 1))
    return Waiting(row.key, number, row.text)


def waiting(connection: Connection, limit: int, *, older_than_seconds: float = 0) -> list[tuple[str, int]]:
    """Return ``uid`` and ``number`` of versions that wait, the oldest first."""
    statement = (
        select(_r.uid, _v.number)
        .join(report_version, _v.report == _r.id)
        .where(_v.state == State.WAITING)
        .where(_v.received < func.clock_timestamp() - text(f"interval '{older_than_seconds} seconds'"))
        .order_by(_v.received)
        .limit(limit)
    )
    return [(row.uid, row.number) for row in connection.execute(statement)]


def write(connection: Connection, version: Waiting, structured: StructuredReport) -> None:
    """Write what was found; values become rows when the version is the current one and holds."""
    document = as_document(structured)
    quality = structured.quality
    state = State.STRUCTURED if quality.structured else State.REFUSED
    current = connection.execute(select(_r.version).where(_r.id == version.key).with_for_update()).scalar_one()
    if not _settle(connection, version.key, version.number, state, quality.reason, document):
        return
    if current != version.number:
        return
    connection.execute(report_value.delete().where(report_value.c.report == version.key))
    rows = [value_row(version.key, ordinal, entry) for ordinal, entry in enumerate(document["values"], 1)]
    if rows:
        connection.execute(report_value.insert(), rows)
    connection.execute(
        update(report).where(_r.id == version.key).values(revision=_r.revision + 1, updated=func.clock_timestamp())
    )


def value_row(key: int, ordinal: int, found: dict[str, Any]) -> dict[str, Any]:
    """Return the row of a value as the software found it."""
    return {
        "report": key,
        "ordinal": ordinal,
        "review": ValueReview.OPEN,
        "found": found,
        "holds": found,
        **columns_of(found),
    }


def columns_of(holds: dict[str, Any]) -> dict[str, Any]:
    """Return the columns that a value is found by."""
    value = holds["value"]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return {
        "field": holds["field"],
        "part": holds["part"],
        "value_text": None if value is None else storable(str(value)),
        "value_number": float(value) if is_number else None,
        "status": holds["status"],
        "assertion": holds["assertion"],
    }


def _settle(
    connection: Connection,
    key: int,
    number: int,
    state: State,
    reason: str | None,
    document: dict[str, Any] | None = None,
) -> bool:
    """Write the end of the reading; False when somebody else was quicker."""
    this = (_v.report == key) & (_v.number == number) & (_v.state == State.WAITING)
    values = {"state": state, "reason": reason, "document": document, "structured_at": func.clock_timestamp()}
    return connection.execute(update(report_version).where(this).values(values)).rowcount == 1
