"""Search (PS3.18 11.9): work items as documents, matched by the rules of all searches (PS3.4 C.2.2.2).

What a work item says is made from its row, its creator's words and the store, so there is no column for most keys.
Columns narrow the rows down where they can; the database matches the documents made of these.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Engine
from sqlalchemy.exc import DataError

from dicomsvc.dicomweb.workitems.around import surroundings
from dicomsvc.dicomweb.workitems.mapping import procedure_step
from dicomsvc.errors import BadRequest, OutOfResources
from dicomsvc.jobs import Jobs, WorkItem
from dicomsvc.jobs.transitions import tag_of
from dicomsvc.store import Store
from dicomsvc.store.database import database_errors
from dicomsvc.store.query import Key, Query
from dicomsvc.store.query.conditions import Parameters, element_condition, sequence_condition
from dicomsvc.store.query.values import Texts

_BATCH: Final = 200
_TIME_LIMIT_SECONDS: Final = 30.0
# PS3.4 Table CC.2.5-3, column Return Key: types 1 and 2.
_RETURNED: Final = frozenset(
    map(
        tag_of,
        (
            "SpecificCharacterSet SOPClassUID SOPInstanceUID ScheduledProcedureStepPriority "
            "ScheduledProcedureStepModificationDateTime ProcedureStepLabel WorklistLabel "
            "ScheduledProcessingParametersSequence ScheduledStationNameCodeSequence ScheduledStationClassCodeSequence "
            "ScheduledStationGeographicLocationCodeSequence ScheduledHumanPerformersSequence "
            "ScheduledProcedureStepStartDateTime ScheduledWorkitemCodeSequence InputReadinessState "
            "InputInformationSequence StudyInstanceUID PatientName PatientID IssuerOfPatientID "
            "IssuerOfPatientIDQualifiersSequence OtherPatientIDsSequence PatientBirthDate PatientSex AdmissionID "
            "IssuerOfAdmissionIDSequence AdmittingDiagnosesDescription AdmittingDiagnosesCodeSequence "
            "ReferencedRequestSequence ProcedureStepState ProcedureStepProgressInformationSequence MedicalAlerts "
            "PregnancyStatus SpecialNeeds"
        ).split(),
    )
)
_COLUMNS: Final = {
    tag_of("ProcedureStepState"): "states",
    tag_of("ScheduledProcedureStepPriority"): "priorities",
    tag_of("SOPInstanceUID"): "uids",
}


@dataclass(frozen=True, slots=True)
class Found:
    """A page of results, as documents; ``more``: there are others behind them."""

    documents: tuple[dict[str, Any], ...]
    more: bool


def search_workitems(store: Store, jobs: Jobs, query: Query, root: str) -> Found:
    """Return the work items that match, latest first.

    Raises
    ------
    BadRequest
        When a key cannot be matched.
    OutOfResources
        When the database does not answer, or the search takes too long.
    """
    wanted = query.offset + query.limit + 1
    found: list[dict[str, Any]] = []
    narrowed = _narrowed(query.keys)
    deadline = time.monotonic() + _TIME_LIMIT_SECONDS
    after: WorkItem | None = None
    while len(found) < wanted:
        batch = jobs.scan(**narrowed, after=after, limit=_BATCH)
        found += matching(store, batch, query.keys, root)
        if len(batch) < _BATCH:
            break
        after = batch[-1]
        if time.monotonic() > deadline:
            raise OutOfResources("the search takes too long; ask for something more specific")
    shown = found[query.offset : query.offset + query.limit]
    return Found(tuple(_reduced(document, query) for document in shown), len(found) >= wanted)


def matching(store: Store, items: Sequence[WorkItem], keys: Sequence[Key], root: str = "") -> list[dict[str, Any]]:
    """Return the documents of those work items that match, in the order given."""
    around = surroundings(store, items, root)
    documents = [procedure_step(item, around) for item in items]
    asking = [key for key in keys if key.match is not None]
    if not asking or not documents:
        return documents
    return [documents[position] for position in _match(store.engine, documents, asking)]


def _match(engine: Engine, documents: list[dict[str, Any]], keys: Sequence[Key]) -> list[int]:
    parameters = Parameters()
    candidates = parameters.add(json.dumps(documents))
    conditions = " AND ".join(_conditions(keys, parameters))
    # The conditions hold placeholders and tags only; what a client said is in the parameters.
    statement = (
        "SELECT position FROM jsonb_array_elements(CAST("  # noqa: S608
        f"{candidates} AS jsonb)) WITH ORDINALITY AS candidate(document, position) WHERE {conditions} ORDER BY position"
    )
    try:
        with database_errors(), engine.connect() as connection:
            return [int(row[0]) - 1 for row in connection.exec_driver_sql(statement, parameters.values)]
    except DataError as error:
        raise BadRequest("a value of the search cannot be matched") from error


def _conditions(keys: Sequence[Key], parameters: Parameters) -> list[str]:
    conditions = []
    nested: dict[str, list[Any]] = {}
    for key in keys:
        if key.match is None:
            continue
        if len(key.attribute.path) > 1:
            nested.setdefault(key.attribute.tag, []).append((key.attribute.path, key.attribute.vr, key.match))
        else:
            conditions.append(element_condition("document", key.attribute, key.match, parameters))
    return conditions + [sequence_condition("document", group, parameters) for group in nested.values()]


def _narrowed(keys: Sequence[Key]) -> dict[str, Any]:
    """Return what columns can be asked for."""
    narrowed: dict[str, Any] = {}
    for key in keys:
        name = _COLUMNS.get(key.attribute.tag) if len(key.attribute.path) == 1 else None
        if name and isinstance(key.match, Texts) and not any(set("*?") & set(value) for value in key.match.values):
            narrowed[name] = key.match.values
    return narrowed


def _reduced(document: dict[str, Any], query: Query) -> dict[str, Any]:
    if query.everything:
        return document
    asked = {key.attribute.tag for key in query.keys} | {attribute.tag for attribute in query.include}
    return {tag: element for tag, element in document.items() if tag in _RETURNED or tag in asked}
