"""Every result of a search: first the keys of all rows, eight bytes each, then their attributes page by page.

No transaction stays open while a client takes its time, no result is left out or comes twice because others arrive
meanwhile, and a page costs the same wherever it lies. What is deleted between the two steps is left out.
"""

import sys
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Engine

from dicomsvc.store.database import database_errors
from dicomsvc.store.levels import PATIENT_TAGS
from dicomsvc.store.query.conditions import Parameters
from dicomsvc.store.query.documents import PLAIN, RELATED, element, needs_related
from dicomsvc.store.query.keys import Level, level_of
from dicomsvc.store.query.search import (
    FROM,
    JOINS,
    TABLES,
    Query,
    order_of,
    prepare,
    search_errors,
    where_clause,
)

_FIRST_PAGE: Final = 32
_LARGEST_PAGE: Final = 1000
_GROWTH: Final = 8
_PAGE_CHARACTERS: Final = 8 << 20
_SAMPLE: Final = 100
# A patient is an ID of one issuer; without an ID, a name (PS3.3 C.2.2, PS3.4 C.6.1.1.2).
_PATIENT: Final = (
    "coalesce(study.patient_id, ''), coalesce(study.attributes #>> '{00100021,Value,0}', ''),"
    " CASE WHEN study.patient_id IS NULL THEN study.patient_name END"
)
_SAME_PATIENT: Final = (
    "((s.patient_id = study.patient_id AND (s.attributes #> '{00100021,Value,0}')"
    " IS NOT DISTINCT FROM (study.attributes #> '{00100021,Value,0}'))"
    " OR (s.patient_id IS NULL AND study.patient_id IS NULL"
    " AND s.patient_name IS NOT DISTINCT FROM study.patient_name))"
)
_OF_PATIENT: Final = f"FROM study s WHERE {_SAME_PATIENT}"
_SERIES_OF_PATIENT: Final = f"FROM study s JOIN series r ON r.study_key = s.id WHERE {_SAME_PATIENT}"
PATIENT_COUNTS: Final = {
    "00201200": f"(SELECT count(*) {_OF_PATIENT})",
    "00201202": f"(SELECT count(*) {_SERIES_OF_PATIENT})",
    "00201204": f"(SELECT coalesce(sum(r.number_of_instances), 0) {_SERIES_OF_PATIENT})",
}
"""Number of Patient Related Studies, Series, Instances, as SQL expressions."""


Row = Sequence[str | None]
"""One result's attributes in the order of `Listing.asked`: the values of those in `PLAIN`, others as DICOM JSON.

None: it has no such attribute.
"""


@dataclass(frozen=True, slots=True)
class Listing:
    """What a listing returns of each result: the attributes that are ``asked`` for, as tags.

    ``level`` None lists patients; then `study.id` of one study of each stands for the patient.
    """

    level: Level | None
    asked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listed:
    """Keys of all results in the order of `search`, and the rows of the first page of them."""

    keys: "array[int]"
    first: Sequence[Row]


def list_results(engine: Engine, listing: Listing, query: Query, *, most: int | None = None) -> Listed:
    """Find all results of a query, at most ``most``.

    Raises
    ------
    BadRequest, OutOfResources
        As `search`.
    """
    statement, values = _finding(listing, query, most)
    keys = array("q")
    with database_errors(), search_errors(), engine.connect() as connection:
        prepare(connection)
        keys.frombytes(connection.exec_driver_sql(statement, values).scalar_one() or b"")
        if sys.byteorder == "little":
            keys.byteswap()
        first = _rows(connection, _reading(listing), keys[:_FIRST_PAGE])
    return Listed(keys, first)


def read_pages(engine: Engine, listing: Listing, listed: Listed) -> Iterator[Sequence[Row]]:
    """Yield the rows of all results in the order of their keys, a page at a time.

    Pages have as many rows as their length allows, going by some rows of the page before. The next one is read
    while a page is being used.

    Raises
    ------
    OutOfResources
        When the database does not answer.
    """
    start = size = _FIRST_PAGE
    rows = listed.first
    if start >= len(listed.keys):
        yield rows
        return
    statement = _reading(listing)
    with ThreadPoolExecutor(1, thread_name_prefix="listing") as reader:
        while start < len(listed.keys):
            some = rows[:: 1 + len(rows) // _SAMPLE]
            longest = max((sum(map(len, filter(None, row))) for row in some), default=0) + 1
            size = max(1, min(_GROWTH * size, _LARGEST_PAGE, _PAGE_CHARACTERS // longest))
            coming = reader.submit(_read_page, engine, statement, listed.keys[start : start + size])
            yield rows
            rows = coming.result()
            start += size
        yield rows


def _read_page(engine: Engine, statement: str, keys: "array[int]") -> Sequence[Row]:
    with database_errors(), search_errors(), engine.connect() as connection:
        prepare(connection, by_key=True)
        return _rows(connection, statement, keys)


def _rows(connection: Connection, statement: str, keys: "array[int]") -> Sequence[Row]:
    if not keys:
        return ()
    return connection.exec_driver_sql(statement, {"keys": f"{{{','.join(map(str, keys))}}}"}).all()


def _finding(listing: Listing, query: Query, most: int | None) -> tuple[str, dict[str, object]]:
    """Return the statement that finds the keys, as one value with eight bytes for each; all values are parameters."""
    parameters = Parameters()
    level = listing.level
    where = where_clause(level or Level.STUDY, query, parameters)
    limit = "" if most is None else f"LIMIT {parameters.add(most)}"
    if level is None:
        found = (
            f"SELECT DISTINCT ON ({_PATIENT}) study.id FROM study {where}"  # noqa: S608
            f" ORDER BY {_PATIENT}, study.study_date DESC NULLS LAST, study.id DESC {limit}"
        )
    else:
        order = order_of(level, query)
        found = f"SELECT {TABLES[level]}.id FROM {FROM[level]} {where} ORDER BY {order} {limit}"  # noqa: S608
    return f"SELECT string_agg(int8send(id), NULL) FROM ({found}) AS found", parameters.values  # noqa: S608


def _reading(listing: Listing) -> str:
    level = listing.level or Level.STUDY
    columns = ", ".join(_column(listing, tag) for tag in listing.asked) or "NULL"
    related = RELATED if needs_related(columns) else ""
    table = TABLES[level]
    return (
        f"SELECT {columns} FROM unnest(CAST(%(keys)s AS bigint[])) WITH ORDINALITY AS found (id, place)"  # noqa: S608
        f" JOIN {table} ON {table}.id = found.id{JOINS[level]} {related} ORDER BY found.place"
    )


def _column(listing: Listing, tag: str) -> str:
    level = listing.level
    if level is None and tag in PATIENT_COUNTS:
        return f"CAST(jsonb_build_object('vr', 'IS', 'Value', jsonb_build_array({PATIENT_COUNTS[tag]})) AS text)"
    returned = tag in PATIENT_TAGS if level is None else level_of(tag) <= level
    if not returned:
        return "CAST(NULL AS text)"
    return PLAIN.get(tag) or f"CAST({element(tag)} AS text)"
