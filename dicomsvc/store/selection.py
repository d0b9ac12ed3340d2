"""Which instances a retrieval names, by the unique keys of the levels (PS3.4 C.4.2.2.1)."""

from array import array
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, Select, select

from dicomsvc.store.database import database_errors
from dicomsvc.store.tables import instance, series, study

_KEYS_A_FETCH = 10_000


@dataclass(frozen=True, slots=True)
class Selection:
    """Values of the unique keys; a level without any does not narrow the selection."""

    patient_ids: tuple[str, ...] = ()
    study_instance_uids: tuple[str, ...] = ()
    series_instance_uids: tuple[str, ...] = ()
    sop_instance_uids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Selected:
    """Keys of instances (see `Instances.read`), and the SOP classes and transfer syntaxes that they have."""

    keys: "array[int]"
    contexts: tuple[tuple[str, str], ...]


def select_instances(engine: Engine, selection: Selection) -> Selected:
    """Return what a selection names, in the order of arrival; it may be nothing.

    Raises
    ------
    OutOfResources
        When the database does not answer.
    """
    keys = array("q")
    contexts: dict[tuple[str, str], None] = {}
    statement = _narrowed(
        select(instance.c.id, instance.c.sop_class_uid, instance.c.transfer_syntax_uid), selection
    ).order_by(instance.c.id)
    with database_errors(), engine.connect() as connection:
        streaming = connection.execution_options(stream_results=True, max_row_buffer=_KEYS_A_FETCH)
        for rows in streaming.execute(statement).partitions(_KEYS_A_FETCH):
            keys.extend(row[0] for row in rows)
            contexts.update(dict.fromkeys((row[1], row[2]) for row in rows))
    return Selected(keys, tuple(contexts))


def _narrowed(statement: Select[Any], selection: Selection) -> Select[Any]:
    statement = statement.select_from(
        instance.join(series, instance.c.series_key == series.c.id).join(study, series.c.study_key == study.c.id)
    )
    for column, values in (
        (study.c.patient_id, selection.patient_ids),
        (study.c.study_instance_uid, selection.study_instance_uids),
        (series.c.series_instance_uid, selection.series_instance_uids),
        (instance.c.sop_instance_uid, selection.sop_instance_uids),
    ):
        if values:
            statement = statement.where(column.in_(values))
    return statement
