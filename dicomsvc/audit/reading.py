"""Reading the trail, and removing its oldest part."""

import getpass
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import ColumnElement, Engine, delete, func, select, text, update

from dicomsvc.audit.events import AuditLogUsed, Export, SecurityAlert
from dicomsvc.audit.journal import record
from dicomsvc.audit.message import Outcome
from dicomsvc.audit.parties import Party
from dicomsvc.audit.trail import Link, audit_event, audit_head, link_of
from dicomsvc.audit.web import Named, shares_of
from dicomsvc.store.database import database_errors

TRAIL: Final = "urn:dicomsvc:audit"
_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows of the trail; None and empty: any. ``since`` is within, ``until`` is not."""

    since: datetime | None = None
    until: datetime | None = None
    events: Sequence[str] = ()
    user: str | None = None
    study_instance_uid: str | None = None
    patient_id: str | None = None
    failures: bool = False

    def conditions(self) -> list[ColumnElement[bool]]:
        columns = audit_event.c
        conditions: list[ColumnElement[bool]] = []
        if self.since is not None:
            conditions.append(columns.at >= self.since)
        if self.until is not None:
            conditions.append(columns.at < self.until)
        if self.events:
            conditions.append(columns.event.in_(self.events))
        if self.user is not None:
            conditions.append(columns.who.contains([self.user]))
        if self.study_instance_uid is not None:
            conditions.append(columns.study_instance_uids.contains([self.study_instance_uid]))
        if self.patient_id is not None:
            conditions.append(columns.patient_ids.contains([self.patient_id]))
        if self.failures:
            conditions.append(columns.outcome != int(Outcome.SUCCESS))
        return conditions


def read(engine: Engine, wanted: Wanted, reader: Party, *, limit: int | None = None) -> Iterator[Link]:
    """Yield the rows that are wanted, the oldest first; with ``limit`` the youngest so many.

    That somebody read is recorded before the first row is given (PS3.15 A.5.3.2).
    """
    record(engine, AuditLogUsed(user=reader, trail=TRAIL))
    conditions = wanted.conditions()
    after = 0
    if limit is not None:
        latest = select(audit_event.c.id).where(*conditions).order_by(audit_event.c.id.desc()).limit(limit).subquery()
        with database_errors(), engine.connect() as connection:
            after = (connection.scalar(select(func.min(latest.c.id))) or 1) - 1
    while True:
        page = select(audit_event).where(audit_event.c.id > after, *conditions).order_by(audit_event.c.id).limit(_PAGE)
        with database_errors(), engine.connect() as connection:
            rows = connection.execute(page).all()
        yield from map(link_of, rows)
        if len(rows) < _PAGE:
            return
        after = rows[-1].id


def document(link: Link) -> dict[str, Any]:
    """Return a row of the trail as JSON has it."""
    return {
        "id": link.id,
        "at": link.at.isoformat(),
        "event": link.event,
        "outcome": link.outcome,
        "who": link.who,
        "study_instance_uids": link.study_instance_uids,
        "patient_ids": link.patient_ids,
        "message": link.message,
    }


def prune(engine: Engine, before: datetime, who: Party, *, sent_to: str | None = None) -> int:
    """Remove the oldest rows, up to the first that is not before ``before``, and return how many there were.

    The hash of the last one is kept, so that the rest can be verified; who did it is recorded. With ``sent_to``, the
    address of a collector, nothing goes that it has not been sent.
    """
    with database_errors(), engine.begin() as connection:
        head = connection.execute(select(audit_head).with_for_update()).one()
        first_kept = connection.scalar(select(func.min(audit_event.c.id)).where(audit_event.c.at >= before))
        last = head.id if first_kept is None else first_kept - 1
        if sent_to is not None:
            sent = connection.scalar(text("SELECT id FROM audit_sent WHERE collector = :to"), {"to": sent_to})
            last = min(last, sent or 0)
        link = connection.execute(select(audit_event.c.hash).where(audit_event.c.id == last)).one_or_none()
        if link is None:
            return 0
        connection.execute(text("SET LOCAL dicomsvc.audit_prune = 'yes'"))
        removed = connection.execute(delete(audit_event).where(audit_event.c.id <= last)).rowcount
        connection.execute(update(audit_head).values(pruned_id=last, pruned_hash=link.hash))
        told = f"the audit trail's rows up to {last} were removed, {removed} of them"
        record(connection, SecurityAlert(kind="SecurityConfiguration", subject=TRAIL, performer=who, description=told))
    return removed


def export_of(instances: Iterable[Named], folder: Path, *, anonymized: bool) -> Export:
    """Return the event of instances that whoever runs this command has written into a folder."""
    return Export(
        user=operator(), medium=folder.absolute().as_uri(), anonymized=anonymized, shares=shares_of(instances)
    )


def operator() -> Party:
    """Return who runs this command, by the operating system's name of them."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    return Party(f"{name}@command-line")
