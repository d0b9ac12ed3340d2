"""Accepting and rejecting results: a person's verdict, recorded as a new version of the report."""

import threading
from dataclasses import dataclass
from datetime import UTC, datetime

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage
from sqlalchemy import text

import dicomsvc
from dicomsvc.errors import Conflict, NotFound
from dicomsvc.jobs import State, WorkItem
from dicomsvc.objects.provenance import Equipment
from dicomsvc.objects.report import report_file
from dicomsvc.objects.verification import Judgement, Verdict, judged, judgement_of
from dicomsvc.store import Source, Store
from dicomsvc.store.database import database_errors
from dicomsvc.store.tables import audit

# A verdict holds one connection and needs another: several at a time could wait for each other's.
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a person says of a result; ``person_name`` is a Person Name (PS3.5 6.2.1)."""

    verdict: Verdict
    person_name: str
    organisation: str
    comment: str = ""


def latest_report(store: Store, item: WorkItem) -> Dataset:
    """Return the newest version of an analysis's report.

    Raises
    ------
    NotFound
        When the analysis made none, or it was deleted.
    Conflict
        When the analysis has not ended well.
    """
    if item.state is not State.COMPLETED:
        raise Conflict(f"analysis {item.uid} is {item.state} and has no report")
    made = [each for each in item.outputs["instances"] if each["sop_class_uid"] == Comprehensive3DSRStorage]
    if not made:
        raise NotFound(f"analysis {item.uid} made no report")
    records = store.instances.find(made[0]["study_instance_uid"], made[0]["series_instance_uid"])
    reports = [dcmread(record.readable_path()) for record in records]
    return max(reports, key=lambda report: int(report.InstanceNumber))


def current_judgement(store: Store, item: WorkItem) -> Judgement | None:
    """Return the latest verdict on an analysis, or None while nobody has given one; see `latest_report`."""
    return judgement_of(latest_report(store, item))


def judge(store: Store, item: WorkItem, opinion: Opinion, who: str) -> Judgement:
    """Record a verdict; a later one goes before an earlier one, and both are kept.

    ``who`` is the user who is logged in.

    Raises
    ------
    NotFound, Conflict
        As `latest_report`.
    BadRequest
        When name or organisation are missing or not valid.
    """
    judgement = Judgement(
        opinion.verdict, opinion.person_name, opinion.organisation, datetime.now(UTC), opinion.comment
    )
    equipment = Equipment("dicomsvc", "dicomsvc", store.settings.dimse.ae_title, (dicomsvc.__version__,))
    # Two people at a time would make two second versions.
    with _one_at_a_time, database_errors(), store.engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:uid))"), {"uid": item.uid})
        report = judged(latest_report(store, item), judgement, equipment)
        with store.spool() as file:
            file.write(report_file(report))
            stored = store.add(file, Source("verdict", who))
        detail = {"analysis": item.uid, "verdict": opinion.verdict, "sop_instance_uid": stored.sop_instance_uid}
        connection.execute(audit.insert().values(who=who, action="verdict", detail=detail))
    return judgement
