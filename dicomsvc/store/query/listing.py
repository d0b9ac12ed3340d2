"""Every result of a search: first the keys of all rows, eight bytes each, then their documents page by page.

No transaction stays open while a client takes its time, no result is left out or comes twice because others arrive
meanwhile, and a page costs the same wherever it lies. What is deleted between the two steps is left out.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Engine

from dicomsvc.store.database import database_errors
from dicomsvc.store.levels import PATIENT_TAGS
from dicomsvc.store.query.conditions import Parameters
from dicomsvc.store.query.documents import RELATED, document, needs_related
from dicomsvc.store.query.keys import Level
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

_KEYS_A_FETCH: Final = 10_000
_FIRST_PAGE: Final = 32
_LARGEST_PAGE: Final = 500
_PAGE_CHARACTERS: Final = 8 << 20
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


@dataclass(frozen=True, slots=True)
class Listing:
    """What a listing returns of each result: exactly the attributes that are ``asked`` for, as tags.

    ``level`` None lists patients; then `study.id` of one study of each stands for the patient.
    """

    level: Level | None
    asked: tuple[str, ...]


def find_all(engine: Engine, level: Level | None, query: Query, *, most: int | None = None) -> "array[int]":
    """Return the keys of all results in the order of `search`, at most ``most``; ``level`` None finds patients.

    Raises
    ------
    BadRequest, OutOfResources
        As `search`.
    """
    parameters = Parameters()
    where = where_clause(level or Level.STUDY, query, parameters)
    limit = "" if most is None else f"LIMIT {parameters.add(most)}"
    # All values are parameters.
    if level is None:
        statement = (
            f"SELECT DISTINCT ON ({_PATIENT}) study.id FROM study {where}"  # noqa: S608
            f" ORDER BY {_PATIENT}, study.study_date DESC NULLS LAST, study.id DESC {limit}"
        )
    else:
        order = order_of(level, query)
        statement = f"SELECT {TABLES[level]}.id FROM {FROM[level]} {where} ORDER BY {order} {limit}"  # noqa: S608
    found = array("q")
    with database_errors(), search_errors(), engine.connect() as connection:
        prepare(connection)
        streaming = connection.execution_options(stream_results=True, max_row_buffer=_KEYS_A_FETCH)
        for rows in streaming.exec_driver_sql(statement, parameters.values).partitions(_KEYS_A_FETCH):
            found.extend(row[0] for row in rows)
    return found


def read_pages(engine: Engine, listing: Listing, keys: "array[int]") -> Iterator[Sequence[str]]:
    """Yield the documents (DICOM JSON texts) of results in the order of their keys, a page at a time.

    Pages have as many documents as their length allows, going by the longest one of the page before.

    Raises
    ------
    OutOfResources
        When the database does not answer.
    """
    statement = _statement(listing)
    start, size = 0, _FIRST_PAGE
    while start < len(keys):
        values = {"keys": list(keys[start : start + size])}
        with database_errors(), search_errors(), engine.connect() as connection:
            prepare(connection)
            documents = [row[0] for row in connection.exec_driver_sql(statement, values)]
        yield documents
        start += size
        longest = max(map(len, documents), default=1)
        size = max(1, min(_LARGEST_PAGE, _PAGE_CHARACTERS // longest))


def _statement(listing: Listing) -> str:
    level = listing.level or Level.STUDY
    tags = [tag for tag in listing.asked if listing.level is not None or tag in PATIENT_TAGS]
    result = document(level, asked=tags, defaults=False)
    if listing.level is None:
        counts = [tag for tag in listing.asked if tag in PATIENT_COUNTS]
        for tag in counts:
            of = f"jsonb_build_object('vr', 'IS', 'Value', jsonb_build_array({PATIENT_COUNTS[tag]}))"
            result += f" || jsonb_build_object('{tag}', {of})"
    related = RELATED if needs_related(result) else ""
    table = TABLES[level]
    return (
        f"SELECT CAST({result} AS text) FROM unnest(CAST(%(keys)s AS bigint[])) WITH ORDINALITY AS found (id, place)"  # noqa: S608
        f" JOIN {table} ON {table}.id = found.id{JOINS[level]} {related} ORDER BY found.place"
    )
