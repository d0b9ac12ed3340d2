"""Search (PS3.18 11.9): work items as documents, matched by the rules of all searches (PS3.4 C.2.2.2).

What a work item says is made from its row, its creator's words and the store, so there is no column for most keys.
Columns narrow the rows down where they can; the database matches the documents made of these.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from sqlalchemy import Engine
from sqlalchemy.exc import DataError

from dicomsvc.dicomweb.workitems.around import surroundings
from dicomsvc.dicomweb.workitems.mapping import procedure_step
from dicomsvc.errors import BadRequest, OutOfResources
from dicomsvc.jobs import WorkItem
from dicomsvc.jobs.transitions import tag_of
from dicomsvc.jobs.worklist import candidates, decided, key_conditions
from dicomsvc.store import Store
from dicomsvc.store.database import database_errors
from dicomsvc.store.query import Key, Query
from dicomsvc.store.query.conditions import Parameters

_BATCH: Final = 100
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
_REFERENCES: Final = tag_of("ReferencedSOPSequence")


@dataclass(frozen=True, slots=True)
class Found:
    """A page of results, as documents; ``more``: there are others behind them."""

    documents: tuple[dict[str, Any], ...]
    more: bool


def search_workitems(store: Store, query: Query, root: str) -> Found:
    """Return the work items that match, latest first.

    Raises
    ------
    BadRequest
        When a key cannot be matched.
    OutOfResources
        When the database does not answer, or the search takes too long.
    """
    wanted = query.offset + query.limit + 1
    found = list(islice(find_workitems(store, query.keys), wanted))
    shown = found[query.offset : query.offset + query.limit]
    around = surroundings(store, shown, root)
    documents = tuple(_reduced(procedure_step(item, around), query) for item in shown)
    return Found(documents, len(found) >= wanted)


def find_workitems(store: Store, keys: Sequence[Key]) -> Iterator[WorkItem]:
    """Yield the work items that match, latest first; raises as `search_workitems` does."""
    deadline = time.monotonic() + _TIME_LIMIT_SECONDS
    after: WorkItem | None = None
    while batch := candidates(store.engine, keys, after=after, limit=_BATCH):
        yield from matching(store, batch, keys)
        if len(batch) < _BATCH:
            return
        after = batch[-1]
        if time.monotonic() > deadline:
            raise OutOfResources("the search takes too long; ask for something more specific")


def matching(store: Store, items: Sequence[WorkItem], keys: Sequence[Key]) -> list[WorkItem]:
    """Return those of the `candidates` that match, in the order given."""
    open_ = [key for key in keys if not decided(key)]
    if not open_ or not items:
        return list(items)
    around = surroundings(store, items, "", references=any(_REFERENCES in key.attribute.path for key in open_))
    return _match(store.engine, items, [procedure_step(item, around) for item in items], open_)


def _match(
    engine: Engine, items: Sequence[WorkItem], documents: list[dict[str, Any]], keys: Sequence[Key]
) -> list[WorkItem]:
    asked = {key.attribute.tag for key in keys}
    parts = [{tag: element for tag, element in document.items() if tag in asked} for document in documents]
    parameters = Parameters()
    sent = parameters.add(json.dumps(parts))
    conditions = " AND ".join(key_conditions("document", keys, parameters))
    # The conditions hold placeholders and tags only; what a client said is in the parameters.
    statement = (
        "SELECT position FROM jsonb_array_elements(CAST("  # noqa: S608
        f"{sent} AS jsonb)) WITH ORDINALITY AS candidate(document, position) WHERE {conditions} ORDER BY position"
    )
    try:
        with database_errors(), engine.connect() as connection:
            return [items[int(row[0]) - 1] for row in connection.exec_driver_sql(statement, parameters.values)]
    except DataError as error:
        raise BadRequest("a value of the search cannot be matched") from error


def _reduced(document: dict[str, Any], query: Query) -> dict[str, Any]:
    if query.everything:
        return document
    asked = {key.attribute.tag for key in query.keys} | {attribute.tag for attribute in query.include}
    return {tag: element for tag, element in document.items() if tag in _RETURNED or tag in asked}
