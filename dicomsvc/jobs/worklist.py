"""Which work items a search may find: what columns can say of its keys (PS3.4 CC.2.8).

Much of what a work item says as a Unified Procedure Step is in no column: it is made from kind and inputs, or is the
patient of a stored study. So columns only narrow the rows down; whoever makes the documents matches those.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.exc import DataError

from dicomsvc.errors import BadRequest
from dicomsvc.jobs.items import OUTSIDE, WorkItem, from_row
from dicomsvc.jobs.transitions import tag_of
from dicomsvc.store.database import database_errors
from dicomsvc.store.query import Key
from dicomsvc.store.query.conditions import (
    COLUMNS,
    Parameters,
    column_condition,
    element_condition,
    sequence_condition,
    value_condition,
)
from dicomsvc.store.query.values import Empty, Match, Texts

_ATTRIBUTES: Final = "work_item.attributes"
_OWN: Final = {
    tag_of("ProcedureStepState"): "work_item.state",
    tag_of("ScheduledProcedureStepPriority"): "work_item.priority",
    tag_of("SOPInstanceUID"): "work_item.uid",
}
_PATIENT: Final = frozenset(map(tag_of, ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")))
_STUDY: Final = tag_of("StudyInstanceUID")
_CODE: Final = (tag_of("ScheduledWorkitemCodeSequence"), tag_of("CodeValue"))
_INPUT_STUDY: Final = (tag_of("InputInformationSequence"), _STUDY)
# Of others' work, the creator's words alone say these.
_SAID: Final = frozenset(
    map(
        tag_of,
        (
            "ProcedureStepLabel WorklistLabel ScheduledProcedureStepStartDateTime InputReadinessState "
            "ScheduledWorkitemCodeSequence ScheduledStationNameCodeSequence ScheduledStationClassCodeSequence "
            "ScheduledHumanPerformersSequence InputInformationSequence ScheduledProcessingParametersSequence"
        ).split(),
    )
)
# And of our own work, these columns.
_SAID_BY_COLUMNS: Final[Mapping[tuple[str, ...], str]] = {
    _CODE: "coalesce(work_item.inputs ->> 'model', work_item.kind)",
    _INPUT_STUDY: "coalesce(work_item.inputs ->> 'study_instance_uid', '')",
}


def decided(key: Key) -> bool:
    """Whether the rows of `candidates` all match a key, so that nobody needs to look again."""
    if key.match is None:
        return True
    plain = isinstance(key.match, Texts) and not any(set("*?") & set(value) for value in key.match.values)
    return plain and len(key.attribute.path) == 1 and key.attribute.tag in _OWN


def candidates(engine: Engine, keys: Sequence[Key], *, after: WorkItem | None, limit: int) -> list[WorkItem]:
    """Return the next work items ``after`` one, latest first; all that match ``keys`` are among them.

    Raises
    ------
    BadRequest
        When PostgreSQL cannot evaluate a key.
    """
    parameters = Parameters()
    conditions = [condition for condition in _conditions(keys, parameters) if condition]
    if after is not None:
        conditions.append(
            f"(work_item.created, work_item.uid) < ({parameters.add(after.created)}, {parameters.add(after.uid)})"
        )
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    # What a client said is in the parameters.
    statement = f"SELECT * FROM work_item {where} ORDER BY created DESC, uid DESC LIMIT {parameters.add(limit)}"  # noqa: S608
    try:
        with database_errors(), engine.connect() as connection:
            return [from_row(row) for row in connection.exec_driver_sql(statement, parameters.values)]
    except DataError as error:
        raise BadRequest("a value of the search cannot be matched") from error


def key_conditions(document: str, keys: Sequence[Key], parameters: Parameters) -> list[str]:
    """Return the conditions that a whole document, an SQL expression of its DICOM JSON, fulfils ``keys``."""
    conditions = []
    nested: dict[str, list[tuple[tuple[str, ...], str, Match]]] = {}
    for key in keys:
        if key.match is None:
            continue
        if len(key.attribute.path) > 1:
            # One item of the sequence has to fulfil all of them.
            nested.setdefault(key.attribute.tag, []).append((key.attribute.path, key.attribute.vr, key.match))
        else:
            conditions.append(element_condition(document, key.attribute, key.match, parameters))
    return conditions + [sequence_condition(document, group, parameters) for group in nested.values()]


def _conditions(keys: Sequence[Key], parameters: Parameters) -> list[str]:
    return [
        _condition(key, key.match, parameters)
        for key in keys
        if key.match is not None and not isinstance(key.match, Empty)
    ]


def _condition(key: Key, match: Match, parameters: Parameters) -> str:
    tag, path = key.attribute.tag, key.attribute.path

    def said() -> str:
        [condition] = key_conditions(_ATTRIBUTES, [key], parameters)
        return condition

    if len(path) == 1 and tag in _OWN:
        return value_condition(_OWN[tag], match, parameters)
    if path == (_STUDY,):
        return f"({value_condition('work_item.study_instance_uid', match, parameters)} OR {said()})"
    if len(path) == 1 and tag in _PATIENT:
        return f"({said()} OR {_of_study(key, match, parameters)})"
    if tag in _SAID:
        return _of_creator(path, match, said, parameters)
    return ""


def _of_study(key: Key, match: Match, parameters: Parameters) -> str:
    column = COLUMNS.get(key.attribute.tag)
    if column is None:
        condition = element_condition("study.attributes", key.attribute, match, parameters)
    else:
        condition = column_condition(column, match, parameters)
    return f"work_item.study_instance_uid IN (SELECT study.study_instance_uid FROM study WHERE {condition})"  # noqa: S608


def _of_creator(path: tuple[str, ...], match: Match, said: Callable[[], str], parameters: Parameters) -> str:
    ours = f"work_item.kind <> '{OUTSIDE}'"
    column = _SAID_BY_COLUMNS.get(path)
    if column is not None:
        ours = f"{ours} AND {value_condition(column, match, parameters)}"
    return f"({ours} OR {said()})"
