"""Many reports as a table: filters on any field, words in the text, order, pages."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, and_, func, not_, select

from dicomsvc.errors import BadRequest
from dicomsvc.reports.intake.received import ReportStatus
from dicomsvc.reports.repository.filters import FieldFilter, condition
from dicomsvc.reports.repository.highlights import Found, found_in, headline
from dicomsvc.reports.repository.records import ReportRecord, ValueRecord, ValueReview, record_of
from dicomsvc.reports.repository.storable import bigrams, is_chinese, storable
from dicomsvc.reports.repository.tables import report, report_value, report_version
from dicomsvc.reports.repository.whole import CURRENT, RECORD, values_of

_r, _v, _value = report.c, report_version.c, report_value.c
SORTED_BY: Final = {
    name: _r[name]
    for name in ("received", "updated", "accession_number", "patient_id", "report_id", "status", "review")
}
_TERM: Final = re.compile(r'-?"[^"]*"|\S+')
_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class ReportQuery:
    """What is looked for; what is None or empty does not matter.

    ``held`` True asks for reports without a study. Cancelled reports are left out unless ``status`` asks for them.
    """

    words: str = ""
    fields: tuple[FieldFilter, ...] = ()
    status: str | None = None
    state: str | None = None
    review: str | None = None
    source: str | None = None
    held: bool | None = None
    accession_number: str | None = None
    patient_id: str | None = None
    report_id: str | None = None
    study_instance_uid: str | None = None
    received_from: datetime | None = None
    received_before: datetime | None = None
    sort: str = "-received"


@dataclass(frozen=True, slots=True)
class Hit:
    """One report of the answer, with the values of the columns asked for and the places of the words."""

    record: ReportRecord
    values: Sequence[ValueRecord] = ()
    found: Found | None = None


@dataclass(frozen=True, slots=True)
class _Words:
    """The two ways of looking: PostgreSQL's English words, and substrings where words have no blanks between them."""

    english: str = ""
    substrings: tuple[str, ...] = ()
    without: tuple[str, ...] = field(default=())

    @classmethod
    def of(cls, said: str) -> "_Words":
        english, substrings, without = [], [], []
        for term in _TERM.findall(storable(said)):
            word = term.lstrip("-").strip('"')
            if not is_chinese(word):
                english.append(term)
            elif term.startswith("-"):
                without.append(word)
            else:
                substrings.append(word)
        return cls(" ".join(english), tuple(substrings), tuple(without))

    @property
    def query(self) -> ColumnElement[object]:
        return func.websearch_to_tsquery("pg_catalog.english", self.english)


def search(
    connection: Connection, query: ReportQuery, columns: Sequence[str], limit: int, offset: int
) -> tuple[int, list[Hit]]:
    """Return how many reports there are in all, and one page of them.

    Raises
    ------
    BadRequest
        When the order is by nothing that there is.
    """
    words = _Words.of(query.words)
    conditions = _conditions(query, words)
    joined = select(*RECORD, *([_v.text] if query.words else [])).join(report_version, CURRENT)
    if words.english:
        joined = joined.add_columns(headline(words.query).label("marked"))
    counted = select(func.count()).select_from(report.join(report_version, CURRENT)).where(*conditions)
    total = connection.execute(counted).scalar_one()
    page = _ordered(joined.where(*conditions), query.sort).limit(limit).offset(offset)
    rows = connection.execute(page).all()
    values = values_of(connection, [row.id for row in rows], columns) if columns else {}
    hits = []
    for row in rows:
        found = None
        if query.words:
            found = found_in(row.text, row.marked if words.english else None, words.substrings)
        hits.append(Hit(record_of(row), values.get(row.id, ()), found))
    return total, hits


def find_uids(connection: Connection, query: ReportQuery) -> Iterator[Sequence[str]]:
    """Yield the UIDs of all reports that fit, some hundred at a time, in the query's order."""
    statement = select(_r.uid).select_from(report.join(report_version, CURRENT))
    statement = statement.where(*_conditions(query, _Words.of(query.words)))
    uids = connection.execute(_ordered(statement, query.sort)).scalars().all()
    for start in range(0, len(uids), _PAGE):
        yield uids[start : start + _PAGE]


def counts(connection: Connection) -> Mapping[str, int]:
    """Return how many reports there are by the state of their reading, by their review, and held."""
    by_state = select(_v.state, func.count()).select_from(report.join(report_version, CURRENT)).group_by(_v.state)
    found = {f"state_{state}": count for state, count in connection.execute(by_state).tuples()}
    by_review = select(_r.review, func.count()).group_by(_r.review)
    found |= {f"review_{review}": count for review, count in connection.execute(by_review).tuples()}
    held = select(func.count()).where(_r.study_instance_uid.is_(None), _r.status != ReportStatus.CANCELLED)
    found["held"] = connection.execute(held).scalar_one()
    return found


def _conditions(query: ReportQuery, words: _Words) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [condition(each) for each in query.fields]
    found.append(_r.status == query.status if query.status else _r.status != ReportStatus.CANCELLED)
    for name in ("review", "accession_number", "patient_id", "report_id", "study_instance_uid"):
        if (wanted := getattr(query, name)) is not None:
            found.append(_r[name] == storable(wanted))
    for name in ("state", "source"):
        if (wanted := getattr(query, name)) is not None:
            found.append(_v[name] == wanted)
    if query.held is not None:
        found.append(_r.study_instance_uid.is_(None) == query.held)
    if query.received_from is not None:
        found.append(_r.received >= query.received_from)
    if query.received_before is not None:
        found.append(_r.received < query.received_before)
    return found + _of_words(words)


def _of_words(words: _Words) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if words.english:
        found.append(_v.search.op("@@", is_comparison=True)(words.query))
    for wanted in words.substrings:
        # The index finds those that have all pairs of characters, the text says whether in this order.
        pairs = [gram for gram in bigrams(wanted) if len(gram) == 2] or bigrams(wanted)
        found.append(and_(_v.bigrams.contains(pairs), _v.text.icontains(wanted, autoescape=True)))
    found.extend(not_(_v.text.icontains(wanted, autoescape=True)) for wanted in words.without)
    return found


def _ordered(statement: Select[Any], sort: str) -> Select[Any]:
    name = sort.removeprefix("-")
    orders: list[ColumnElement[Any]]
    if name.startswith("field."):
        one = (_value.report == _r.id) & (_value.field == name[6:]) & (_value.review != ValueReview.REMOVED)
        orders = [
            select(_value[column]).where(one).order_by(_value.ordinal).limit(1).scalar_subquery()
            for column in ("value_number", "value_text")
        ]
    elif name in SORTED_BY:
        orders = [SORTED_BY[name]]
    else:
        raise BadRequest(f"reports are sorted by {', '.join(SORTED_BY)}, or field.NAME")
    down = sort.startswith("-")
    directed = [(order.desc() if down else order.asc()).nulls_last() for order in orders]
    return statement.order_by(*directed, _r.id.desc() if down else _r.id.asc())
