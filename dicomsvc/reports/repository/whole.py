"""One report with all that is known of it, and reports as they hold after review."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from dicomsvc.errors import NotFound
from dicomsvc.reports.repository.records import (
    ObjectRecord,
    ReportRecord,
    ReviewRecord,
    State,
    ValueRecord,
    ValueReview,
    VersionRecord,
    WholeReport,
    record_of,
)
from dicomsvc.reports.repository.tables import report, report_object, report_review, report_value, report_version
from dicomsvc.reports.values import Assertion, Coding, Evidence, FieldValue, Quality, Status, StructuredReport

_r, _v = report.c, report_version.c
RECORD = (report, _v.source, _v.observed, _v.state, _v.reason)
"""The columns of a `ReportRecord`."""
CURRENT = (_v.report == _r.id) & (_v.number == _r.version)


@dataclass(frozen=True, slots=True)
class HeldReport:
    """A report as it holds now: what people corrected is corrected, what they removed is gone."""

    record: ReportRecord
    structured: StructuredReport


def whole_report(connection: Connection, uid: str) -> WholeReport:
    """Return a report with text, values, reviews and versions.

    Raises
    ------
    NotFound
        When there is none with this UID.
    """
    statement = select(*RECORD, _v.text, _v.document).join(report_version, CURRENT).where(_r.uid == uid)
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise NotFound(f"there is no report {uid}")
    versions = connection.execute(select(report_version).where(_v.report == row.id).order_by(_v.number))
    reviews = connection.execute(
        select(report_review).where(report_review.c.report == row.id).order_by(report_review.c.id)
    )
    objects = connection.execute(
        select(report_object).where(report_object.c.report == row.id).order_by(report_object.c.at)
    )
    return WholeReport(
        record=record_of(row),
        text=row.text,
        document=row.document,
        values=values_of(connection, [row.id]).get(row.id, []),
        reviews=[_as(ReviewRecord, each) for each in reviews],
        versions=[_as(VersionRecord, each) for each in versions],
        objects=[_as(ObjectRecord, each) for each in objects],
    )


def text_of_version(connection: Connection, uid: str, number: int) -> tuple[str, Mapping[str, Any] | None]:
    """Return text and master document of one version.

    Raises
    ------
    NotFound
        When there is no such report or version.
    """
    statement = select(_v.text, _v.document).join(report, _v.report == _r.id).where(_r.uid == uid, _v.number == number)
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise NotFound(f"report {uid} has no version {number}")
    return row.text, row.document


def values_of(
    connection: Connection, keys: Iterable[int], fields: Iterable[str] | None = None
) -> dict[int, list[ValueRecord]]:
    """Return the values of reports by the reports' keys, those of some fields only where they are given."""
    c = report_value.c
    statement = select(report_value).where(c.report.in_(list(keys))).order_by(c.report, c.ordinal)
    if fields is not None:
        statement = statement.where(c.field.in_(list(fields)))
    found: dict[int, list[ValueRecord]] = {}
    for row in connection.execute(statement):
        found.setdefault(row.report, []).append(_as(ValueRecord, row))
    return found


def held_reports(connection: Connection, uids: Iterable[str]) -> Iterator[HeldReport]:
    """Yield reports as they hold, in the order given; one that was not read yields nothing."""
    wanted = list(uids)
    statement = select(*RECORD, _v.text, _v.document).join(report_version, CURRENT).where(_r.uid.in_(wanted))
    rows = {row.uid: row for row in connection.execute(statement)}
    values = values_of(connection, [row.id for row in rows.values()])
    for uid in wanted:
        row = rows.get(uid)
        if row is not None and row.document is not None and row.state in (State.STRUCTURED, State.REFUSED):
            yield HeldReport(record_of(row), _structured(row.text, row.document, values.get(row.id, [])))


def _structured(text: str, document: Mapping[str, Any], values: Iterable[ValueRecord]) -> StructuredReport:
    holding = tuple(field_value(each.holds) for each in values if each.review != ValueReview.REMOVED)
    quality = Quality(**document["quality"])
    return StructuredReport(text, quality, tuple(document["organs"]), holding, document["version"])


def field_value(document: Mapping[str, Any]) -> FieldValue:
    """Return the value of a master form's entry (`dicomsvc.reports.document`)."""
    code = document.get("code")
    return FieldValue(
        field=document["field"],
        value=document["value"],
        status=Status(document["status"]),
        assertion=Assertion(document["assertion"]),
        evidence=tuple(Evidence(place["start"], place["end"]) for place in document["evidence"]),
        raw=document.get("raw", ""),
        unit=document.get("unit"),
        code=None if code is None else Coding(**code),
        part=document.get("part"),
        confidence=document.get("confidence", 0.0),
        rule=document.get("rule", ""),
        qualifiers=dict(document.get("qualifiers", {})),
    )


def _as(kind: Any, row: Any) -> Any:
    return kind(**{name: getattr(row, name) for name in kind.__slots__})
