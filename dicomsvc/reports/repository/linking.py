"""Which study a report belongs to: by its accession number and never by a guess; else the report is held."""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, func, or_, select, text, update

from dicomsvc.errors import Conflict, NotFound
from dicomsvc.reports.repository.records import Held
from dicomsvc.reports.repository.tables import report
from dicomsvc.store.tables import audit, study

BY_PERSON: Final = "person"
_LOCK: Final = text(
    "SELECT pg_advisory_xact_lock(hashtextextended(name, 5)) FROM unnest(CAST(:names AS text[])) AS name"
)
_c = report.c
_MATCHED_AT_ONCE: Final = 1000
# A report whose patient changed waits for a person.
_WAITING: Final = (Held.NO_STUDY, Held.SEVERAL_STUDIES, Held.OTHER_PATIENT)


@dataclass(frozen=True, slots=True)
class Link:
    """A study and by what it was found (``sender``, ``accession_number``, ``person``), or why there is none."""

    study_instance_uid: str | None = None
    linked_by: str | None = None
    held: str | None = None


def find_link(
    connection: Connection, accession_number: str, patient_id: str, named_study_instance_uid: str | None
) -> Link:
    """Return the study that the sender named or that has the accession number, if there is one, and one only.

    Where report and study both say a patient, it must be the same.
    """
    if named_study_instance_uid is None and not accession_number:
        return Link(held=Held.NO_ACCESSION_NUMBER)
    columns = study.c.study_instance_uid, study.c.patient_id
    if named_study_instance_uid is not None:
        by, condition = "sender", study.c.study_instance_uid == named_study_instance_uid
    else:
        by, condition = "accession_number", study.c.accession_number == accession_number
    found = connection.execute(select(*columns).where(condition).limit(100)).all()
    fitting = [row for row in found if not patient_id or not row.patient_id or row.patient_id == patient_id]
    if len(fitting) == 1:
        return Link(fitting[0].study_instance_uid, by)
    if not found:
        return Link(held=Held.NO_STUDY)
    return Link(held=Held.SEVERAL_STUDIES if fitting else Held.OTHER_PATIENT)


def match_held(connection: Connection) -> list[str]:
    """Link the held reports whose study has come, and return their UIDs."""
    may_match = (
        select(study.c.id)
        .where(
            or_(
                study.c.study_instance_uid == _c.named_study_instance_uid,
                (_c.accession_number != "") & (study.c.accession_number == _c.accession_number),
            )
        )
        .exists()
    )
    statement = (
        select(report)
        .where(_c.study_instance_uid.is_(None), _c.held.in_(_WAITING), may_match)
        .order_by(_c.id)
        .limit(_MATCHED_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    matched = []
    for row in connection.execute(statement).all():
        link = find_link(connection, row.accession_number, row.patient_id, row.named_study_instance_uid)
        if link.held != row.held:
            relink(connection, row, link)
        if link.study_instance_uid is not None:
            matched.append(row.uid)
    return matched


def hold_orphans(connection: Connection) -> int:
    """Hold the reports whose study was deleted, and return how many there were."""
    gone = ~select(study.c.id).where(study.c.study_instance_uid == _c.study_instance_uid).exists()
    values = {"study_instance_uid": None, "linked_by": None, "held": Held.NO_STUDY, **_changed()}
    return connection.execute(update(report).where(_c.study_instance_uid.is_not(None), gone).values(values)).rowcount


def match_by_hand(connection: Connection, uid: str, study_instance_uid: str | None, who: str) -> None:
    """Link a report to the study that a person names, or with None hold it again.

    Raises
    ------
    NotFound
        When there is no such report or study.
    Conflict
        When report and study are of different patients.
    """
    row = connection.execute(select(report).where(_c.uid == uid).with_for_update()).one_or_none()
    if row is None:
        raise NotFound(f"there is no report {uid}")
    if study_instance_uid is None:
        link = Link(held=Held.NO_STUDY if row.accession_number else Held.NO_ACCESSION_NUMBER)
    else:
        found = connection.execute(
            select(study.c.patient_id).where(study.c.study_instance_uid == study_instance_uid)
        ).one_or_none()
        if found is None:
            raise NotFound(f"there is no study {study_instance_uid}")
        if row.patient_id and found.patient_id and row.patient_id != found.patient_id:
            raise Conflict("the report and the study are of different patients")
        link = Link(study_instance_uid, BY_PERSON)
    relink(connection, row, link)
    detail = {"report": uid, "linked": study_instance_uid is not None}
    of_study = study_instance_uid or row.study_instance_uid
    connection.execute(
        audit.insert().values(who=who, action="report-match", study_instance_uid=of_study, detail=detail)
    )


def relink(connection: Connection, row: "Row[Any]", link: Link) -> None:
    """Write a link that has changed."""
    values = {
        "study_instance_uid": link.study_instance_uid,
        "linked_by": link.linked_by,
        "held": link.held,
        **_changed(),
    }
    connection.execute(update(report).where(_c.id == row.id).values(values))


def _changed() -> dict[str, Any]:
    return {"revision": _c.revision + 1, "updated": func.clock_timestamp()}


def lock(connection: Connection, *names: str) -> None:
    """Let only this transaction deal with what has these names until it ends."""
    statement = text(
        "SELECT pg_advisory_xact_lock(hashtextextended(name, 5)) FROM unnest(CAST(:names AS text[])) AS name"
    )
    connection.execute(statement, {"names": sorted(set(names))})
