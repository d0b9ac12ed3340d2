"""One search: a statement made from its keys, run with its values, answered with finished documents."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, OperationalError

from dicomsvc.errors import BadRequest, OutOfResources
from dicomsvc.store.database import database_errors
from dicomsvc.store.query.conditions import (
    COLUMNS,
    SPECIMEN_IDENTIFIER,
    Parameters,
    column_condition,
    element_condition,
    sequence_condition,
    specimen_condition,
)
from dicomsvc.store.query.documents import RELATED, document, needs_related
from dicomsvc.store.query.keys import Attribute, Level
from dicomsvc.store.query.values import Match, Range, Texts

_TIME_LIMIT_MS: Final = 30_000
_PREPARATION: Final = (
    "SELECT set_config('plan_cache_mode', 'force_custom_plan', true), set_config('jit', 'off', true),"
    f" set_config('statement_timeout', '{_TIME_LIMIT_MS}', true)"
)
_BY_KEY: Final = ", set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)"
FROM: Final = (
    "study",
    "series JOIN study ON study.id = series.study_key",
    "instance JOIN series ON series.id = instance.series_key JOIN study ON study.id = series.study_key",
)
TABLES: Final = ("study", "series", "instance")
_DATE_PAIRS: Final = (("00080020", "00080030"),)
_STUDY_UID, _SERIES_UID = "0020000D", "0020000E"
# What it computes is there for every instance: keys on it ask nothing.
_ALWAYS: Final = frozenset({"00080005", "00080056", "00081190", "00080201"})


@dataclass(frozen=True, slots=True)
class Key:
    """An attribute and what is asked of it; None: only that it is returned (universal matching)."""

    attribute: Attribute
    match: Match | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """A search below a study or series, or anywhere.

    Attributes
    ----------
    include
        Attributes returned beside the level's defaults and the keys.
    everything
        Return all attributes that the index has.
    """

    keys: tuple[Key, ...] = ()
    study_instance_uid: str | None = None
    series_instance_uid: str | None = None
    include: tuple[Attribute, ...] = ()
    everything: bool = False
    limit: int = 100
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """Results as DICOM JSON texts; ``more``: there are others behind them."""

    documents: tuple[str, ...]
    more: bool


def search(engine: Engine, level: Level, query: Query, *, root: str | None = None) -> Page:
    """Return the results of a search, in a stable order: studies by date, newest first, others as they are numbered.

    Parameters
    ----------
    root
        URL that each RetrieveURL begins with, without a slash at the end; None: results have no RetrieveURL.

    Raises
    ------
    BadRequest
        When PostgreSQL cannot evaluate a key.
    OutOfResources
        When the database does not answer, or not in time.
    """
    statement, values = make_statement(level, query, root)
    with database_errors(), engine.connect() as connection:
        rows = run(connection, statement, values)
    return Page(tuple(row[0] for row in rows[: query.limit]), len(rows) > query.limit)


def run(connection: Connection, statement: str, values: dict[str, object]) -> Sequence[tuple[str]]:
    """Run a search's statement and return the texts of its only column.

    Raises
    ------
    BadRequest, OutOfResources
        As `search`.
    """
    with search_errors():
        prepare(connection)
        return [(str(row[0]),) for row in connection.exec_driver_sql(statement, values)]


def prepare(connection: Connection, *, by_key: bool = False) -> None:
    """Have the transaction plan each search for its own values, and end one that takes too long.

    ``by_key``: what follows finds each row by its key, and shall not read a whole table for many of them.
    """
    # A plan that fits all values fits none; compiling one takes longer than the search.
    connection.exec_driver_sql(_PREPARATION + _BY_KEY if by_key else _PREPARATION)


@contextmanager
def search_errors() -> Iterator[None]:
    """Turn what PostgreSQL says of a search's values, and of its length, into errors of ours."""
    try:
        yield
    except DataError as error:
        raise BadRequest("a value of the search cannot be matched") from error
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) == "57014":
            raise OutOfResources("the search takes too long; ask for something more specific") from error
        raise


def make_statement(level: Level, query: Query, root: str | None) -> tuple[str, dict[str, object]]:
    """Return the statement and its parameters; it finds one result more than the limit."""
    parameters = Parameters()
    where = where_clause(level, query, parameters)
    order = order_of(level, query)
    table = TABLES[level]
    above = [] if level is Level.STUDY else _levels_above(level, query)
    asked = [key.attribute.tag for key in query.keys] + [attribute.tag for attribute in query.include]
    result = document(
        level,
        above=above,
        asked=asked,
        everything=query.everything,
        root=None if root is None else parameters.add(root),
    )
    related = RELATED if needs_related(result) else ""
    limits = f"LIMIT {parameters.add(query.limit + 1)} OFFSET {parameters.add(query.offset)}"
    # Documents are made for the results of this page only, hence the two steps. All values are parameters.
    statement = (
        f"WITH found AS MATERIALIZED (SELECT {table}.id FROM {FROM[level]} {where} ORDER BY {order} {limits}) "  # noqa: S608
        f"SELECT CAST({result} AS text) FROM found JOIN {table} ON {table}.id = found.id{JOINS[level]} {related} "
        f"ORDER BY {order}"
    )
    return statement, parameters.values


JOINS: Final = (
    "",
    " JOIN study ON study.id = series.study_key",
    " JOIN series ON series.id = instance.series_key JOIN study ON study.id = series.study_key",
)


def _levels_above(level: Level, query: Query) -> list[Level]:
    """Return the levels whose attributes a client does not know from its own URL (PS3.18 10.6.3.3)."""
    above = []
    if query.study_instance_uid is None:
        above.append(Level.STUDY)
    if level is Level.INSTANCE and query.series_instance_uid is None:
        above.append(Level.SERIES)
    return above


def order_of(level: Level, query: Query) -> str:
    """Return the order of a search's results."""
    one_study = query.study_instance_uid is not None or _one_uid(query, _STUDY_UID)
    if level is Level.STUDY:
        return "study.study_date DESC NULLS LAST, study.study_time DESC NULLS LAST, study.id DESC"
    if level is Level.SERIES:
        return "series.series_number, series.id" if one_study else "series.id"
    if one_study or _one_uid(query, _SERIES_UID):
        return "series.series_number, series.id, instance.instance_number, instance.id"
    return "instance.id"


def _one_uid(query: Query, tag: str) -> bool:
    return any(
        key.attribute.path == (tag,) and isinstance(key.match, Texts) and len(key.match.values) == 1
        for key in query.keys
    )


def where_clause(level: Level, query: Query, parameters: Parameters) -> str:
    """Return what a search at a level demands of the rows of `FROM`."""
    conditions = []
    if query.study_instance_uid is not None:
        conditions.append(f"study.study_instance_uid = {parameters.add(query.study_instance_uid)}")
    if query.series_instance_uid is not None:
        conditions.append(f"series.series_instance_uid = {parameters.add(query.series_instance_uid)}")
    asking = [key for key in query.keys if key.match is not None and key.attribute.tag not in _ALWAYS]
    for date, time in _DATE_PAIRS:
        combined, asking = _combined(asking, date, time, parameters)
        conditions.extend(combined)
    here = [key for key in asking if key.attribute.level <= level]
    below = [key for key in asking if key.attribute.level > level]
    conditions.extend(_key_conditions(here, parameters))
    if below:
        conditions.append(_below(level, below, parameters))
    return f"WHERE {' AND '.join(conditions)}" if conditions else ""


def _below(level: Level, keys: list[Key], parameters: Parameters) -> str:
    """Return the condition that one series, or instance, below the result fulfils all ``keys``."""
    deepest = max(key.attribute.level for key in keys)
    inside = " AND ".join(_key_conditions(keys, parameters))
    if level is Level.SERIES:
        return f"EXISTS (SELECT FROM instance WHERE instance.series_key = series.id AND {inside})"
    joined = "series JOIN instance ON instance.series_key = series.id" if deepest is Level.INSTANCE else "series"
    return f"EXISTS (SELECT FROM {joined} WHERE series.study_key = study.id AND {inside})"


def _key_conditions(keys: list[Key], parameters: Parameters) -> list[str]:
    conditions = []
    in_sequences: dict[str, list[Key]] = {}
    for key in keys:
        match = key.match
        if match is None:
            continue
        if len(key.attribute.path) > 1:
            in_sequences.setdefault(key.attribute.tag, []).append(key)
        elif key.attribute.tag in COLUMNS:
            conditions.append(column_condition(COLUMNS[key.attribute.tag], match, parameters))
        else:
            table = TABLES[key.attribute.level]
            conditions.append(element_condition(f"{table}.attributes", key.attribute, match, parameters))
    for group in in_sequences.values():
        conditions.extend(_sequence_conditions(group, parameters))
    return conditions


def _sequence_conditions(keys: list[Key], parameters: Parameters) -> list[str]:
    table = TABLES[keys[0].attribute.level]
    conditions = []
    for key in keys:
        if key.attribute.path == SPECIMEN_IDENTIFIER and isinstance(key.match, Texts):
            conditions.append(specimen_condition(key.match, parameters))
    nested = [(key.attribute.path, key.attribute.vr, key.match) for key in keys if key.match is not None]
    conditions.append(sequence_condition(f"{table}.attributes", nested, parameters))
    return [condition for condition in conditions if condition]


def _combined(keys: list[Key], date: str, time: str, parameters: Parameters) -> tuple[list[str], list[Key]]:
    """Take a range of dates together with one of times as one range of date-times (PS3.4 C.2.2.2.5)."""
    dates = [key.match for key in keys if key.attribute.path == (date,)]
    times = [key.match for key in keys if key.attribute.path == (time,)]
    if len(dates) != 1 or len(times) != 1:
        return [], keys
    dated, timed = dates[0], times[0]
    if not isinstance(dated, Range) or not isinstance(timed, Range) or not dated.open:
        return [], keys
    columns = f"({COLUMNS[date].name}, {COLUMNS[time].name})"
    conditions = []
    if dated.low is not None:
        low = f"({parameters.add(dated.low)}, {parameters.add(timed.low or '000000.000000')})"
        conditions.append(f"{columns} >= {low}")
    if dated.high is not None:
        high = f"({parameters.add(dated.high)}, {parameters.add(timed.high or '235959.999999')})"
        conditions.append(f"{columns} <= {high}")
    return conditions, [key for key in keys if key.attribute.path not in ((date,), (time,))]
