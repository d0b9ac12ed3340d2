"""Entries in the database. What these functions write is durable when their transaction is."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Self

from sqlalchemy import Connection, Row, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert as pg_insert

from dicomsvc.audit import Action, OrderRecord, Party, record
from dicomsvc.dicom.uids import new_uid
from dicomsvc.pacs.worklist.entry import EntryContent, Specimen, Status
from dicomsvc.pacs.worklist.items import item_attributes
from dicomsvc.pacs.worklist.tables import worklist_entry, worklist_message

_e, _m = worklist_entry.c, worklist_message.c
_REMEMBER: Final = timedelta(days=30)
_FORGET_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as it is kept. ``source`` is the way that it came, ``start`` local time."""

    uid: str
    content: EntryContent
    status: Status
    start: datetime
    source: str
    revision: int
    created: datetime
    updated: datetime
    updated_by: str

    @classmethod
    def of(cls, row: "Row[Any]") -> Self:
        return cls(
            uid=row.uid,
            content=EntryContent.model_validate(row.content),
            status=Status(row.status),
            start=datetime.strptime(row.start_date + row.start_time, "%Y%m%d%H%M%S"),
            source=row.source,
            revision=row.revision,
            created=row.created,
            updated=row.updated,
            updated_by=row.updated_by,
        )


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes, by what way, and which scanners an entry is for that names none."""

    who: str
    source: str
    stations: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Filter:
    """What a list is of; None asks nothing. ``start_from`` and ``start_before`` are local times."""

    statuses: frozenset[Status] | None = None
    accession_number: str | None = None
    placer_order_number: str | None = None
    container_identifier: str | None = None
    patient_id: str | None = None
    start_from: datetime | None = None
    start_before: datetime | None = None


def lock(connection: Connection, accession_numbers: Iterable[str]) -> None:
    """Keep other writers from these cases until the transaction ends."""
    for number in sorted(set(accession_numbers)):
        connection.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": f"worklist {number}"}
        )


def by_uid(connection: Connection, uid: str, *, to_change: bool = False) -> Entry | None:
    statement = select(worklist_entry).where(_e.uid == uid)
    row = connection.execute(statement.with_for_update() if to_change else statement).one_or_none()
    return None if row is None else Entry.of(row)


def item_of(connection: Connection, uid: str) -> dict[str, Any] | None:
    """Return the worklist's item of an entry, in DICOM JSON."""
    found: dict[str, Any] | None = connection.execute(select(_e.attributes).where(_e.uid == uid)).scalar_one_or_none()
    return found


def by_key(connection: Connection, key: tuple[str, str, str, str]) -> Entry | None:
    """Return the entry that `EntryContent.key` names."""
    accession_number, placer_order_number, step, container = key
    statement = select(worklist_entry).where(
        _e.accession_number == accession_number,
        _e.placer_order_number == placer_order_number,
        _e.step_id == step,
        _e.container_identifier == container,
    )
    row = connection.execute(statement.with_for_update()).one_or_none()
    return None if row is None else Entry.of(row)


def of_order(connection: Connection, placer_order_number: str, accession_number: str) -> list[Entry]:
    """Return the entries of an order, to be changed.

    The numbers that are given must be theirs; an entry without an accession number has not got its one yet.
    """
    statement = select(worklist_entry).order_by(_e.id).with_for_update()
    if placer_order_number:
        statement = statement.where(_e.placer_order_number == placer_order_number)
        if accession_number:
            statement = statement.where(_e.accession_number.in_((accession_number, "")))
    else:
        statement = statement.where(_e.accession_number == accession_number, _e.placer_order_number == "")
    return [Entry.of(row) for row in connection.execute(statement)]


def insert(connection: Connection, content: EntryContent, writer: Writer, status: Status = Status.SCHEDULED) -> Entry:
    """Make a new entry; no other has its key."""
    uid = uuid.uuid4().hex
    now = datetime.now()
    values = _values(connection, uid, content, status, writer, content.step.start or now, ())
    row = connection.execute(worklist_entry.insert().values(uid=uid, source=writer.source, **values).returning(*_e))
    record_order(connection, writer.who, Action.CREATE, content)
    return Entry.of(row.one())


def replace(
    connection: Connection, entry: Entry, content: EntryContent, writer: Writer, status: Status | None = None
) -> Entry:
    """Give an entry new content; UIDs and the start stay where the new content does not say them."""
    if content.study_instance_uid is None:
        content = content.model_copy(update={"study_instance_uid": _study_of_changed(connection, entry, content)})
    start = content.step.start or entry.start
    values = _values(connection, entry.uid, content, status or entry.status, writer, start, entry.content.specimens)
    statement = update(worklist_entry).where(_e.uid == entry.uid).values(**values, **_next_revision())
    record_order(connection, writer.who, Action.UPDATE, content)
    return Entry.of(connection.execute(statement.returning(*_e)).one())


def set_status(connection: Connection, entry: Entry, status: Status, writer: Writer) -> Entry:
    return entry if status is entry.status else replace(connection, entry, entry.content, writer, status)


def remove(connection: Connection, entry: Entry, who: str) -> None:
    """Delete an entry for good."""
    connection.execute(delete(worklist_entry).where(_e.uid == entry.uid))
    record_order(connection, who, Action.DELETE, entry.content)


def record_order(connection: Connection, who: str, action: Action, content: EntryContent) -> None:
    """Note for the audit trail what was done with an entry (PS3.15 A.5.3.13)."""
    record(connection, OrderRecord(user=Party(who), action=action, patient_id=content.patient.id))


def listed(connection: Connection, wanted: Filter, limit: int, offset: int) -> tuple[int, list[Entry]]:
    """Return how many entries there are, and a page of them by their start."""
    equal = {
        _e.accession_number: wanted.accession_number,
        _e.placer_order_number: wanted.placer_order_number,
        _e.container_identifier: wanted.container_identifier,
        _e.patient_id: wanted.patient_id,
    }
    conditions = [column == value for column, value in equal.items() if value is not None]
    if wanted.statuses is not None:
        conditions.append(_e.status.in_([status.value for status in wanted.statuses]))
    at = func.concat(_e.start_date, _e.start_time)
    if wanted.start_from is not None:
        conditions.append(at >= _sortable(wanted.start_from))
    if wanted.start_before is not None:
        conditions.append(at < _sortable(wanted.start_before))
    total = connection.execute(select(func.count()).select_from(worklist_entry).where(*conditions)).scalar_one()
    order = (_e.start_date, _e.start_time, _e.id)
    rows = connection.execute(select(worklist_entry).where(*conditions).order_by(*order).limit(limit).offset(offset))
    return total, [Entry.of(row) for row in rows]


def remember_message(connection: Connection, key: str) -> bool:
    """Note that an HL7 message is taken with this transaction; False: it was before, within thirty days."""
    old = select(_m.key).where(_m.received < func.now() - _REMEMBER).limit(_FORGET_AT_ONCE)
    connection.execute(delete(worklist_message).where(_m.key.in_(old)))
    statement = pg_insert(worklist_message).values(key=key).on_conflict_do_nothing().returning(_m.key)
    return connection.execute(statement).one_or_none() is not None


def _local(moment: datetime) -> datetime:
    """Return a moment in local time, to the second, as the worklist has it."""
    return (moment.astimezone().replace(tzinfo=None) if moment.tzinfo else moment).replace(microsecond=0)


def _sortable(moment: datetime) -> str:
    return f"{_local(moment):%Y%m%d%H%M%S}"


def _next_revision() -> dict[str, Any]:
    return {"revision": _e.revision + 1, "updated": func.clock_timestamp()}


def _values(
    connection: Connection,
    uid: str,
    content: EntryContent,
    status: Status,
    writer: Writer,
    start: datetime,
    known: Sequence[Specimen],
) -> dict[str, Any]:
    local = _local(start)
    content = _with_uids(connection, content, known)
    accession_number, placer_order_number, step, container = content.key
    return {
        "accession_number": accession_number,
        "placer_order_number": placer_order_number,
        "step_id": step,
        "container_identifier": container,
        "patient_id": content.patient.id,
        "status": status.value,
        "start_date": local.strftime("%Y%m%d"),
        "start_time": local.strftime("%H%M%S"),
        "content": content.model_dump(mode="json"),
        "attributes": item_attributes(content, uid, status, local, writer.stations),
        "updated_by": writer.who,
    }


def _with_uids(connection: Connection, content: EntryContent, known: Sequence[Specimen]) -> EntryContent:
    """Return the content with a study, which the slides of a case share, and with a UID for each specimen."""
    study = content.study_instance_uid or _study_of_case(connection, content) or new_uid()
    uids = {(specimen.identifier, specimen.issuer): specimen.uid for specimen in known}
    specimens = content.specimens
    if not specimens and content.container.identifier:
        specimens = (Specimen(),)
    with_uids = tuple(
        specimen.model_copy(
            update={"uid": specimen.uid or uids.get((specimen.identifier, specimen.issuer)) or new_uid()}
        )
        for specimen in specimens
    )
    return content.model_copy(update={"study_instance_uid": study, "specimens": with_uids})


def _study_of_changed(connection: Connection, entry: Entry, content: EntryContent) -> str | None:
    """Return the study that an entry had, unless it goes to another case; None: that case has none yet."""
    before, after = entry.content.accession_number, content.accession_number
    if after in ("", before):
        return entry.content.study_instance_uid
    return _study_of_case(connection, content) or (None if before else entry.content.study_instance_uid)


def _study_of_case(connection: Connection, content: EntryContent) -> str | None:
    if not content.accession_number:
        return None
    statement = (
        select(_e.content["study_instance_uid"].astext)
        .where(_e.accession_number == content.accession_number, _e.patient_id == content.patient.id)
        .order_by(_e.id)
        .limit(1)
    )
    found: str | None = connection.execute(statement).scalar_one_or_none()
    return found
