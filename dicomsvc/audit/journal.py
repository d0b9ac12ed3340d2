"""Where events are noted: the table `audit`, in the transaction of the deed, or in batches by a thread of the process.

The journal costs the deed an inserted row and no lock. From there the keeper (`dicomsvc.audit.trail`) takes the rows
into the chain, some seconds later. Whatever changes the store is noted in the transaction that changes it, so an
acknowledged instance and its row are durable together. What only reads (queries, retrievals) or is refused is noted
within half a second; that much is lost when a process is killed.
"""

import base64
import logging
import os
import socket
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine

from dicomsvc.audit.events import (
    EVENTS,
    NAMES,
    ApplicationActivity,
    Event,
    InstancesAccessed,
    InstancesTransferred,
    SecurityAlert,
    UserAuthentication,
)
from dicomsvc.audit.message import Action, Outcome, clean
from dicomsvc.audit.parties import Party, Share
from dicomsvc.errors import DicomsvcError
from dicomsvc.store.database import database_errors
from dicomsvc.store.tables import audit

_log = logging.getLogger(__name__)
_PERIOD_SECONDS: Final = 0.5
_MOST_WAITING: Final = 100_000
_BATCH: Final = 1000
_LONGEST_TEXT: Final = 1024
_FREQUENT: Final = (InstancesAccessed, InstancesTransferred, SecurityAlert, UserAuthentication)


def record(where: Engine | Connection, *events: Event) -> None:
    """Note events: with a connection in its transaction; with an engine soon, and without making anybody wait.

    Raises
    ------
    OutOfResources
        When the database does not answer, and the process has no `recording`.
    """
    if not events:
        return
    if isinstance(where, Connection):
        where.execute(audit.insert(), [row_of(event, datetime.now(UTC)) for event in events])
        return
    recorder = _recorders.get(where)
    if recorder is not None:
        recorder.take(events)
        return
    with database_errors(), where.begin() as connection:
        record(connection, *events)


class Recorder:
    """Notes events in batches from a thread of its own, until `stop`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: list[tuple[Event, datetime]] = []
        self._lost = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopped = False
        self._before_stop: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._run, name="audit-recorder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def take(self, events: tuple[Event, ...]) -> None:
        now = datetime.now(UTC)
        with self._lock:
            room = _MOST_WAITING - len(self._waiting)
            self._waiting.extend((event, now) for event in events[:room])
            self._lost += max(0, len(events) - room)

    def before_stop(self, call: Callable[[], None]) -> None:
        """Have ``call`` record what it still holds before the thread ends."""
        self._before_stop.append(call)

    def stop(self) -> None:
        for call in self._before_stop:
            call()
        self._stopped = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped:
            self._wake.wait(_PERIOD_SECONDS)
            try:
                self._write()
            except DicomsvcError as error:
                _log.warning("audit trail: %s", error)
            except Exception as error:  # noqa: BLE001 - the border: the trail must go on, and the log must not quote it
                _log.error("audit trail: noting events failed (%s)", type(error).__name__)

    def _write(self) -> None:
        while True:
            with self._lock:
                batch, lost = self._waiting[:_BATCH], self._lost
            rows = [row_of(event, at) for event, at in _alike_as_one(batch)]
            if lost:
                rows.append(row_of(_stopped(lost), datetime.now(UTC)))
            if not rows:
                return
            with database_errors(), self._engine.begin() as connection:
                connection.execute(audit.insert(), rows)
            with self._lock:
                del self._waiting[: len(batch)]
                self._lost -= lost


def _alike_as_one(batch: Sequence[tuple[Event, datetime]]) -> list[tuple[Event, datetime]]:
    """Return the events with those that may happen by the thousand told as one."""
    told: dict[Hashable, tuple[Event, datetime]] = {}
    for number, (event, at) in enumerate(batch):
        for one in event.split():
            alike = one.kernel() if isinstance(one, _FREQUENT) else number
            known = told.get(alike)
            told[alike] = (one if known is None else known[0].merged(one), at)
    return list(told.values())


def _stopped(lost: int) -> SecurityAlert:
    return SecurityAlert(
        kind="AuditRecordingStopped",
        subject="urn:dicomsvc:audit",
        description=f"{lost} events were not recorded, since the database did not answer",
        outcome=Outcome.MAJOR_FAILURE,
    )


_recorders: "WeakKeyDictionary[Engine, Recorder]" = WeakKeyDictionary()


@contextmanager
def recording(engine: Engine) -> Iterator[None]:
    """Let `record` note this process's events in the background; at the end all are written."""
    recorder = Recorder(engine)
    recorder.start()
    _recorders[engine] = recorder
    try:
        yield
    finally:
        del _recorders[engine]
        recorder.stop()


@contextmanager
def serving(engine: Engine, role: str, ae_title: str = "") -> Iterator[None]:
    """Have a `recording`, and record that this process of the service starts and stops."""
    host = socket.gethostname()
    process = Party(f"{role}/{os.getpid()}@{host}", host, ae_title)
    with recording(engine):
        record(engine, ApplicationActivity(process=process, started=True))
        try:
            yield
        finally:
            record(engine, ApplicationActivity(process=process, started=False))


def before_stop(engine: Engine, call: Callable[[], None]) -> None:
    """Have ``call`` record what it still holds before this process's `recording` ends."""
    recorder = _recorders.get(engine)
    if recorder is not None:
        recorder.before_stop(call)


def row_of(event: Event, at: datetime) -> dict[str, Any]:
    """Return an event as a row of the journal."""
    first = next(iter(event.parties()), Party(""))
    shares: tuple[Share, ...] = getattr(event, "shares", ())
    return {
        "at": at,
        "who": _storable(first.user_id),
        "address": _storable(first.address),
        "action": NAMES[type(event)],
        "study_instance_uid": _storable(shares[0].study_instance_uid) if len(shares) == 1 else None,
        "outcome": int(event.outcome),
        "detail": {each.name: _plain(getattr(event, each.name)) for each in fields(event)},
    }


def event_of(name: str, detail: Mapping[str, Any]) -> Event:
    """Return the event that `row_of` made a row of."""
    kind = EVENTS[name]
    return kind(**{each.name: _whole(each.name, detail[each.name]) for each in fields(kind) if each.name in detail})


def _plain(value: Any) -> Any:
    if isinstance(value, Party):
        return [_storable(value.user_id), _storable(value.address), _storable(value.ae_title)]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, str):
        return _storable(value)
    if isinstance(value, tuple):
        return [
            {
                "study": _storable(share.study_instance_uid),
                "patient": None if share.patient_id is None else _storable(share.patient_id),
                "classes": dict(share.classes),
                "instances": {uid: list(some) for uid, some in share.instances.items()},
            }
            for share in value
        ]
    return value


def _whole(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in ("peer", "user", "requestor", "performer", "process"):
        return Party(*value)
    if name == "shares":
        return tuple(
            Share(
                each["study"],
                each["patient"],
                each["classes"],
                {uid: tuple(some) for uid, some in each["instances"].items()},
            )
            for each in value
        )
    if name == "query":
        return base64.b64decode(value)
    if name == "outcome":
        return Outcome(value)
    return Action(value) if name == "action" else value


def _storable(text: str) -> str:
    """Return a text of a peer as PostgreSQL and XML can hold it, and not longer than a name may be."""
    return clean(text)[:_LONGEST_TEXT]
