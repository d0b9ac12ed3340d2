"""The trail: messages in the order in which they joined it, each bound to all before it.

A row's hash is the SHA-256 over the hash before it and the row's own canonical bytes. One keeper at a time adds rows:
it takes the journal's rows, tells alike ones as one event, and appends the messages, in one transaction. So the chain
has no forks and no gaps, nobody who does something waits for it, and a keeper that is killed has done all or nothing.
"""

import hashlib
import json
import logging
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, cast

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    DateTime,
    Engine,
    LargeBinary,
    Row,
    SmallInteger,
    Table,
    Text,
    delete,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from dicomsvc.audit.deeds import event_in
from dicomsvc.audit.events import NAMES, Event, OnStudies, SecurityAlert
from dicomsvc.audit.message import AuditSource, Outcome, write_xml
from dicomsvc.audit.parties import Party, Share
from dicomsvc.config import Settings
from dicomsvc.store.database import database_errors
from dicomsvc.store.tables import audit, instance, metadata, study

_log = logging.getLogger(__name__)
FIRST_HASH: Final = bytes(32)
_ROWS_AT_ONCE: Final = 20_000
# What every collector takes (PS3.15 A.6), less the syslog header.
_LARGEST_MESSAGE: Final = 32_000

audit_event = Table(
    "audit_event",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("event", Text, nullable=False),
    Column("outcome", SmallInteger, nullable=False),
    Column("who", ARRAY(Text), nullable=False),
    Column("study_instance_uids", ARRAY(Text), nullable=False),
    Column("patient_ids", ARRAY(Text), nullable=False),
    Column("message", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)
audit_head = Table(
    "audit_head",
    metadata,
    Column("only_one", Boolean, primary_key=True),
    Column("id", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("pruned_id", BigInteger, nullable=False),
    Column("pruned_hash", LargeBinary, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Window:
    """How long alike events are waited for: until none came for ``quiet_seconds``, at most ``longest_seconds``."""

    quiet_seconds: float
    longest_seconds: float


WINDOWS: Final[Mapping[str, Window]] = {
    "stored": Window(5, 60),
    "instances-transferred": Window(5, 60),
    "instances-accessed": Window(60, 300),
    "security-alert": Window(2, 30),
    "user-authentication": Window(2, 30),
}
"""By what the journal calls them; all other events are told one by one, and at once."""

_DUE: Final = text("""
WITH windows AS (
  SELECT * FROM unnest(CAST(:actions AS text[]), CAST(:quiet AS float8[]), CAST(:longest AS float8[]))
    AS windows (action, quiet, longest)
), due AS (
  SELECT a.action, a.who, a.address, a.study_instance_uid FROM audit a LEFT JOIN windows w USING (action)
  GROUP BY a.action, a.who, a.address, a.study_instance_uid, w.quiet, w.longest
  HAVING w.quiet IS NULL
    OR max(a.at) <= clock_timestamp() - make_interval(secs => w.quiet)
    OR min(a.at) <= clock_timestamp() - make_interval(secs => w.longest)
    -- Noted by a machine whose clock is ahead.
    OR max(a.at) > clock_timestamp() + interval '5 seconds'
)
SELECT a.id FROM audit a JOIN due d ON (a.action, a.who) = (d.action, d.who)
  AND a.address IS NOT DISTINCT FROM d.address AND a.study_instance_uid IS NOT DISTINCT FROM d.study_instance_uid
ORDER BY a.id LIMIT :most
""")


@dataclass(frozen=True, slots=True)
class Link:
    """A row of the trail, whole."""

    id: int
    at: datetime
    event: str
    outcome: int
    who: tuple[str, ...]
    study_instance_uids: tuple[str, ...]
    patient_ids: tuple[str, ...]
    message: str

    def hash_after(self, before: bytes) -> bytes:
        """Return this row's hash, ``before`` being that of the row before it."""
        canonical = json.dumps(
            [
                self.id,
                self.at.astimezone(UTC).isoformat(timespec="microseconds"),
                self.event,
                self.outcome,
                self.who,
                self.study_instance_uids,
                self.patient_ids,
                self.message,
            ],
            ensure_ascii=False,
            separators=(",", ":"),
        )
        return hashlib.sha256(before + canonical.encode()).digest()


def link_of(row: "Row[Any]") -> Link:
    """Return a row of `audit_event`."""
    return Link(
        row.id,
        row.at,
        row.event,
        row.outcome,
        tuple(row.who),
        tuple(row.study_instance_uids),
        tuple(row.patient_ids),
        row.message,
    )


@dataclass(slots=True)
class _Told:
    event: Event
    at: datetime


@dataclass(slots=True)
class Keeper:
    """Takes what the journal holds into the trail."""

    engine: Engine
    settings: Settings
    windows: Mapping[str, Window] = field(default_factory=lambda: WINDOWS)

    def keep(self, *, everything: bool = False) -> int:
        """Append what is due, or ``everything``, and return the number of messages; 0 while another keeper does."""
        appended = 0
        while True:
            with database_errors(), self.engine.begin() as connection:
                rows, messages = self._keep_some(connection, everything=everything)
            appended += messages
            if rows < _ROWS_AT_ONCE:
                return appended

    def _keep_some(self, connection: Connection, *, everything: bool) -> tuple[int, int]:
        # Whoever wants all of it told waits for the keeper that is at work; others leave it to that one.
        head = connection.execute(select(audit_head).with_for_update(skip_locked=not everything)).one_or_none()
        if head is None:
            return 0, 0
        windows = {} if everything else self.windows
        due = connection.scalars(
            _DUE,
            {
                "actions": list(windows),
                "quiet": [float(window.quiet_seconds) for window in windows.values()],
                "longest": [float(window.longest_seconds) for window in windows.values()],
                "most": _ROWS_AT_ONCE,
            },
        ).all()
        if not due:
            return 0, 0
        rows = connection.execute(delete(audit).where(audit.c.id == func.any(list(due))).returning(audit)).all()
        told = _gathered(sorted(rows, key=lambda row: cast("int", row.id)))
        messages = self._append(connection, head.id, head.hash, _resolved(connection, told))
        return len(rows), messages

    def _append(self, connection: Connection, last: int, before: bytes, told: Sequence[_Told]) -> int:
        source = AuditSource(self.settings.audit.source_id or self.settings.dimse.ae_title, self.settings.audit.site)
        node = Party(self.settings.dimse.ae_title, socket.gethostname(), self.settings.dimse.ae_title)
        values = []
        for number, each in enumerate(told, last + 1):
            message = write_xml(each.event.message(each.at, node), source)
            if len(message) > _LARGEST_MESSAGE and isinstance(each.event, OnStudies):
                message = write_xml(each.event.shortened().message(each.at, node), source)
            link = _link(number, each, message)
            before = link.hash_after(before)
            values.append({name: getattr(link, name) for name in Link.__slots__} | {"hash": before})
        for row in values:
            for name in ("who", "study_instance_uids", "patient_ids"):
                row[name] = list(row[name])
        connection.execute(audit_event.insert(), values)
        connection.execute(update(audit_head).values(id=last + len(values), hash=before))
        return len(values)


def _link(number: int, told: _Told, message: str) -> Link:
    shares = told.event.shares if isinstance(told.event, OnStudies) else ()
    patients = (*(share.patient_id for share in shares), getattr(told.event, "patient_id", None))
    return Link(
        number,
        told.at,
        NAMES[type(told.event)],
        int(told.event.outcome),
        tuple(dict.fromkeys(party.user_id for party in told.event.parties())),
        tuple(share.study_instance_uid for share in shares if share.study_instance_uid),
        tuple(dict.fromkeys(each for each in patients if each)),
        message,
    )


def _gathered(rows: Sequence["Row[Any]"]) -> list[_Told]:
    """Return what rows of the journal tell, alike ones as one, of which the last one's time is the time."""
    told: dict[Any, _Told] = {}
    for row in rows:
        for event in _events(row):
            alike = (None if row.action in WINDOWS else row.id, event.kernel())
            known = told.get(alike)
            if known is None:
                told[alike] = _Told(event, row.at)
            else:
                known.event, known.at = known.event.merged(event), max(known.at, row.at)
    return list(told.values())


def _events(row: "Row[Any]") -> Sequence[Event]:
    try:
        return tuple(event_in(row).split())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        # One row that cannot be read must not hold up the trail, nor leave it in silence.
        _log.error("a row of the audit journal could not be read (%s)", type(error).__name__)
        strange = SecurityAlert(
            kind="SoftwareConfiguration",
            subject="urn:dicomsvc:audit",
            performer=Party(row.who),
            description=f"an event {row.action!r} could not be told in full",
            outcome=Outcome.MINOR_FAILURE,
        )
        return (strange,)


def _resolved(connection: Connection, told: Sequence[_Told]) -> list[_Told]:
    """Return the same with patients, accession numbers and SOP classes that the index knows filled in."""
    shares = [share for each in told if isinstance(each.event, OnStudies) for share in each.event.shares]
    studies = _studies(connection, {share.study_instance_uid for share in shares})
    classes = _classes(connection, {uid for share in shares for uid in share.instances.get("", ())})

    def whole(share: Share) -> Share:
        known = studies.get(share.study_instance_uid)
        if known is not None:
            share = replace(
                share, patient_id=share.patient_id or known.patient_id, accession_number=known.accession_number or ""
            )
        return _with_classes(share, classes)

    return [
        _Told(replace(each.event, shares=tuple(map(whole, each.event.shares))), each.at)
        if isinstance(each.event, OnStudies)
        else each
        for each in told
    ]


def _with_classes(share: Share, classes: Mapping[str, str]) -> Share:
    unclassed = share.instances.get("", ())
    if not unclassed:
        return share
    instances = {uid: some for uid, some in share.instances.items() if uid}
    counts = dict(share.classes)
    for sop_instance_uid in unclassed:
        uid = classes.get(sop_instance_uid, "")
        instances[uid] = (*instances.get(uid, ()), sop_instance_uid)
        counts[uid] = counts.get(uid, 0) + 1
    return replace(share, classes=counts, instances=instances)


def _studies(connection: Connection, uids: set[str]) -> Mapping[str, Any]:
    columns = study.c.study_instance_uid, study.c.patient_id, study.c.accession_number
    rows = connection.execute(select(*columns).where(study.c.study_instance_uid == func.any(list(uids))))
    return {row.study_instance_uid: row for row in rows}


def _classes(connection: Connection, uids: set[str]) -> Mapping[str, str]:
    if not uids:
        return {}
    columns = instance.c.sop_instance_uid, instance.c.sop_class_uid
    rows = connection.execute(select(*columns).where(instance.c.sop_instance_uid == func.any(list(uids))))
    return {row.sop_instance_uid: row.sop_class_uid for row in rows}
