"""Entering a report as it came: a new one, a new version of one that is here, or one that came before."""

import hashlib
import uuid
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, func, select, update

from dicomsvc.audit import Action, Party, PatientRecord, record
from dicomsvc.dicom.uids import is_valid_uid
from dicomsvc.reports.intake.received import Answer, Outcome, ReceivedReport, ReportStatus
from dicomsvc.reports.repository.linking import BY_PERSON, Link, find_link, lock
from dicomsvc.reports.repository.records import Held, Review, State
from dicomsvc.reports.repository.storable import bigrams, storable
from dicomsvc.reports.repository.tables import report, report_value, report_version

LARGEST_TEXT: Final = 16 << 20
"""Characters; a longer text is rejected, and a shorter one that is still no report is kept and refused."""
_LONGEST_NAME: Final = 256
_NAMES: Final = (
    "report_id",
    "placer_order_number",
    "accession_number",
    "patient_id",
    "issuer_of_patient_id",
    "sender",
    "control_id",
)
_SHARED: Final = ("placer_order_number", "accession_number", "patient_id", "issuer_of_patient_id")
_r, _v = report.c, report_version.c


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a report: ``uid`` and ``version`` of the one that is kept, None and 0 when it was rejected."""

    outcome: Outcome
    uid: str | None = None
    version: int = 0


def cleaned(received: ReceivedReport) -> ReceivedReport:
    """Return the report with texts that can be stored; a study that no UID can name is none."""
    study = received.study_instance_uid
    names: dict[str, Any] = {name: storable(getattr(received, name)).strip() for name in _NAMES}
    return replace(
        received,
        text=storable(received.text),
        study_instance_uid=study if study and is_valid_uid(study) else None,
        **names,
    )


def objection(received: ReceivedReport) -> str | None:
    """Return why a report cannot be kept; None when it can."""
    cancelled = received.status is ReportStatus.CANCELLED
    if not cancelled and not received.text.strip():
        return "the report has no text"
    if len(received.text) > LARGEST_TEXT:
        return f"the report is longer than {LARGEST_TEXT} characters"
    if cancelled and not received.report_id:
        return "a cancelled report must say which by its identifier"
    long = [name for name in _NAMES if len(getattr(received, name)) > _LONGEST_NAME]
    return f"{long[0]} is longer than {_LONGEST_NAME} characters" if long else None


def enter(connection: Connection, received: ReceivedReport, who: str) -> Receipt:
    """Write a `cleaned` report without an `objection`; it is durable when the transaction is."""
    digest = hashlib.sha256(received.text.encode()).digest()
    key = received.message_key
    lock(connection, f"report {received.sender}|{received.report_id or digest.hex()}", f"message {key}")
    if key is not None:
        known = _of_message(connection, key)
        if known is not None:
            return Receipt(Outcome(Answer.DUPLICATE), *known)
    row = _known(connection, received, digest)
    if row is not None and _says_the_same(row, received, digest):
        return Receipt(Outcome(Answer.DUPLICATE), row.uid, row.version)
    if row is None:
        receipt, action = _insert(connection, received, digest, who), Action.CREATE
    else:
        receipt, action = _add_version(connection, row, received, digest, who), Action.UPDATE
    patient_id = received.patient_id or None
    record(
        connection,
        PatientRecord(user=Party(who), action=action, report=receipt.uid or "", patient_id=patient_id),
    )
    return receipt


def _of_message(connection: Connection, key: str) -> tuple[str, int] | None:
    statement = select(_r.uid, _v.number).join(report_version, _v.report == _r.id).where(_v.message_key == key)
    row = connection.execute(statement).one_or_none()
    return None if row is None else (row.uid, row.number)


def _known(connection: Connection, received: ReceivedReport, digest: bytes) -> "Row[Any] | None":
    """Return the report of which this is a version; one without an identifier only when it says the very same."""
    statement = (
        select(report, _v.sha256, _v.observed.label("observed"))
        .join(report_version, (_v.report == _r.id) & (_v.number == _r.version))
        .with_for_update(of=report)
    )
    if received.report_id:
        same = (_r.sender == received.sender) & (_r.report_id == received.report_id)
        return connection.execute(statement.where(same)).one_or_none()
    if not received.accession_number:
        return None
    same = (_v.sha256 == digest) & (_r.report_id == "") & (_r.accession_number == received.accession_number)
    same &= (_r.sender == received.sender) & (_r.patient_id == received.patient_id)
    return connection.execute(statement.where(same).order_by(_r.id).limit(1)).one_or_none()


def _says_the_same(row: "Row[Any]", received: ReceivedReport, digest: bytes) -> bool:
    return (
        row.sha256 == digest
        and row.status == received.status
        and all(getattr(row, name) == getattr(received, name) for name in _SHARED)
        and (received.study_instance_uid or row.named_study_instance_uid) == row.named_study_instance_uid
    )


def _insert(connection: Connection, received: ReceivedReport, digest: bytes, who: str) -> Receipt:
    uid = uuid.uuid4().hex
    link = find_link(connection, received.accession_number, received.patient_id, received.study_instance_uid)
    values = {
        "uid": uid,
        "sender": received.sender,
        "report_id": received.report_id,
        **{name: getattr(received, name) for name in _SHARED},
        "named_study_instance_uid": received.study_instance_uid,
        "study_instance_uid": link.study_instance_uid,
        "linked_by": link.linked_by,
        "held": link.held,
        "version": 1,
        "status": received.status,
        "review": Review.OPEN,
        "revision": 1,
    }
    report_key = connection.execute(report.insert().values(values).returning(_r.id)).scalar_one()
    _insert_version(connection, report_key, 1, received, digest, who)
    return Receipt(Outcome(Answer.ACCEPTED), uid, 1)


def _insert_version(
    connection: Connection, report_key: int, number: int, received: ReceivedReport, digest: bytes, who: str
) -> None:
    cancelled = received.status is ReportStatus.CANCELLED
    values = {
        "report": report_key,
        "number": number,
        "text": received.text,
        "sha256": digest,
        "source": received.source,
        "status": received.status,
        "observed": None if received.observed is None else received.observed.isoformat(),
        "control_id": received.control_id,
        "message_key": received.message_key,
        "received_by": who,
        "state": State.WITHDRAWN if cancelled else State.WAITING,
        "attempts": 0,
        "bigrams": bigrams(received.text),
    }
    connection.execute(report_version.insert().values(values))


def _add_version(connection: Connection, row: "Row[Any]", received: ReceivedReport, digest: bytes, who: str) -> Receipt:
    last = connection.execute(select(func.max(_v.number)).where(_v.report == row.id)).scalar_one()
    number = last + 1
    _insert_version(connection, row.id, number, received, digest, who)
    if not _supersedes(row, received):
        # It came late: it is kept, and what holds stays.
        return Receipt(Outcome(Answer.ACCEPTED), row.uid, number)
    shared = {name: getattr(received, name) or getattr(row, name) for name in _SHARED}
    named = received.study_instance_uid or row.named_study_instance_uid
    link = _link_of_version(connection, row, shared, named)
    values = {
        **shared,
        "named_study_instance_uid": named,
        "study_instance_uid": link.study_instance_uid,
        "linked_by": link.linked_by,
        "held": link.held,
        "version": number,
        "status": received.status,
        # What people said was of another text.
        "review": Review.OPEN,
        "signed_by": None,
        "signed_name": None,
        "signed_organisation": None,
        "signed_at": None,
        "revision": row.revision + 1,
        "updated": func.clock_timestamp(),
    }
    connection.execute(update(report).where(_r.id == row.id).values(values))
    connection.execute(report_value.delete().where(report_value.c.report == row.id))
    return Receipt(Outcome(Answer.ACCEPTED), row.uid, number)


def _link_of_version(connection: Connection, row: "Row[Any]", shared: dict[str, str], named: str | None) -> Link:
    if row.patient_id and shared["patient_id"] != row.patient_id:
        return Link(held=Held.PATIENT_CHANGED)
    if row.held == Held.PATIENT_CHANGED:
        return Link(held=row.held)
    same = shared["accession_number"] == row.accession_number and named == row.named_study_instance_uid
    if row.linked_by == BY_PERSON and same:
        return Link(row.study_instance_uid, BY_PERSON)
    return find_link(connection, shared["accession_number"], shared["patient_id"], named)


def _supersedes(row: "Row[Any]", received: ReceivedReport) -> bool:
    """Whether a version that comes after another was also made after it: messages overtake each other."""
    before = None if row.observed is None else datetime.fromisoformat(row.observed)
    after = received.observed
    if before is not None and after is not None and (before.tzinfo is None) == (after.tzinfo is None):
        return after >= before
    return not (received.status is ReportStatus.PRELIMINARY and row.status != ReportStatus.PRELIMINARY)
