"""What peers asked this node to commit to, and how far the answers are: rows that outlive processes.

Whoever works on a request holds it: its name stands in the row, and ``due_at`` says until when. When that time has
passed, the holder is gone and anybody may go on.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, text

from dicomsvc.dimse.commitment.model import COMMITTED, ActionInformation, EventInformation, FailureReason, Reference
from dicomsvc.errors import OutOfResources
from dicomsvc.store.database import database_errors

MOST_WAITING: Final = 1000
"""Requests of one application entity whose reports are due; the next one is refused."""


class State(StrEnum):
    """How far a request is."""

    REQUESTED = "requested"
    CHECKED = "checked"
    REPORTED = "reported"
    GIVEN_UP = "given up"


@dataclass(frozen=True, slots=True)
class Held:
    """A request that the caller holds. ``age_seconds``: since it was asked for."""

    key: int
    ae_title: str
    transaction_uid: str
    duplicate: bool
    attempts: int
    age_seconds: float


@dataclass(frozen=True, slots=True)
class Commitment:
    """A request as people look at it; ``instances``, ``committed`` and ``failed`` are counts."""

    key: int
    transaction_uid: str
    ae_title: str
    state: State
    requested_at: datetime
    checked_at: datetime | None
    reported_at: datetime | None
    attempts: int
    last_error: str | None
    instances: int
    committed: int
    failed: int


_COUNTS = text("SELECT state, count(*) AS requests FROM commitment GROUP BY state")
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('commitment ' || :ae_title || ' ' || :uid, 0))")
_WAITING = text("SELECT count(*) FROM commitment WHERE ae_title = :ae_title AND state IN ('requested', 'checked')")
_KNOWN = text(
    "SELECT id, content, state FROM commitment WHERE ae_title = :ae_title AND transaction_uid = :uid FOR UPDATE"
)
_INSERT = text(
    "INSERT INTO commitment (ae_title, transaction_uid, content, duplicate, state, holder, due_at)"
    " VALUES (:ae_title, :uid, :content, :duplicate, 'requested', :holder,"
    " clock_timestamp() + make_interval(secs => :seconds)) RETURNING id"
)
_INSERT_INSTANCES = text(
    "INSERT INTO commitment_instance (commitment, position, sop_class_uid, sop_instance_uid)"
    " SELECT :key, position, class, instance"
    " FROM unnest(CAST(:classes AS text[]), CAST(:instances AS text[])) WITH ORDINALITY"
    " AS reference (class, instance, position)"
)
_AGAIN = text(
    "UPDATE commitment SET state = 'requested', requested_at = clock_timestamp(), checked_at = NULL,"
    " reported_at = NULL, attempts = 0, last_error = NULL, holder = :holder,"
    " due_at = clock_timestamp() + make_interval(secs => :seconds) WHERE id = :key"
)
_FORGET_REASONS = text("UPDATE commitment_instance SET failure_reason = NULL WHERE commitment = :key")
_CLAIM_DUE = text(
    "UPDATE commitment SET holder = :holder, due_at = clock_timestamp() + make_interval(secs => :seconds) WHERE id = ("
    "SELECT id FROM commitment WHERE state = :state AND due_at <= clock_timestamp()"
    " AND (CAST(:ae_title AS text) IS NULL OR ae_title = :ae_title)"
    " ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED)"
    " RETURNING id, ae_title, transaction_uid, duplicate, attempts,"
    " CAST(extract(epoch FROM clock_timestamp() - requested_at) AS float) AS age_seconds"
)
_CLAIM = text(
    "UPDATE commitment SET holder = :holder, due_at = clock_timestamp() + make_interval(secs => :seconds) WHERE id = ("
    "SELECT id FROM commitment WHERE id = :key AND state = :state"
    " AND (holder IS NULL OR holder = :holder OR due_at <= clock_timestamp()) FOR UPDATE SKIP LOCKED)"
    " RETURNING id, ae_title, transaction_uid, duplicate, attempts,"
    " CAST(extract(epoch FROM clock_timestamp() - requested_at) AS float) AS age_seconds"
)
_RENEW = text(
    "UPDATE commitment SET due_at = clock_timestamp() + make_interval(secs => :seconds)"
    " WHERE id = :key AND holder = :holder"
)
_RELEASE = text("UPDATE commitment SET holder = NULL, due_at = clock_timestamp() WHERE id = :key AND holder = :holder")
_UNCHECKED = text(
    "SELECT position, sop_class_uid, sop_instance_uid FROM commitment_instance"
    " WHERE commitment = :key AND failure_reason IS NULL AND position > :after ORDER BY position LIMIT :limit"
)
_SET_REASONS = text(
    "UPDATE commitment_instance AS old SET failure_reason = found.reason"
    " FROM unnest(CAST(:positions AS integer[]), CAST(:reasons AS integer[])) AS found (position, reason)"
    " WHERE old.commitment = :key AND old.position = found.position"
)
_CHECKED = text(
    "UPDATE commitment SET state = 'checked', checked_at = clock_timestamp() WHERE id = :key AND holder = :holder"
)
_REPORTED = text(
    "UPDATE commitment SET state = 'reported', reported_at = clock_timestamp(), attempts = attempts + 1,"
    " holder = NULL, last_error = NULL WHERE id = :key AND holder = :holder"
)
_FAILED = text(
    "UPDATE commitment SET attempts = attempts + 1, holder = NULL, last_error = :error,"
    " state = CASE WHEN :final THEN 'given up' ELSE state END,"
    " due_at = clock_timestamp() + make_interval(secs => :seconds) WHERE id = :key AND holder = :holder"
)
_POSTPONE = text(
    "UPDATE commitment SET due_at = clock_timestamp() + make_interval(secs => :seconds)"
    " WHERE ae_title = :ae_title AND state = 'checked' AND holder IS NULL"
    " AND due_at < clock_timestamp() + make_interval(secs => :seconds)"
)
_INSTANCES = text(
    "SELECT sop_class_uid, sop_instance_uid, failure_reason FROM commitment_instance"
    " WHERE commitment = :key ORDER BY position"
)
_FOUND = text(
    "SELECT found.*, counted.* FROM ("
    "SELECT * FROM commitment WHERE CAST(:uid AS text) IS NULL OR transaction_uid = :uid"
    " ORDER BY requested_at DESC, id DESC LIMIT :limit) AS found CROSS JOIN LATERAL ("
    "SELECT count(*) AS instances, count(*) FILTER (WHERE failure_reason = 0) AS committed,"
    " count(*) FILTER (WHERE failure_reason <> 0) AS failed"
    " FROM commitment_instance WHERE commitment = found.id) AS counted"
    " ORDER BY requested_at DESC, id DESC"
)
_FAILURES = text(
    "SELECT sop_instance_uid, failure_reason FROM commitment_instance"
    " WHERE commitment = :key AND failure_reason <> 0 ORDER BY position"
)
_GIVEN_UP = text("SELECT id FROM commitment WHERE transaction_uid = :uid AND state = 'given up' FOR UPDATE")
_FORGET = text(
    "DELETE FROM commitment WHERE state IN ('reported', 'given up')"
    " AND requested_at < clock_timestamp() - make_interval(secs => :seconds)"
)


class Commitments:
    """The requests in a store's database. Every method raises `OutOfResources` when that does not answer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def accept(self, ae_title: str, action: ActionInformation, holder: str, *, lease_seconds: float) -> int | None:
        """Keep a request, held by ``holder``, and return its key; None when somebody is at work on it already.

        A request that is repeated after its report is checked and reported anew. Other instances under a Transaction
        UID that the application entity has used are kept too, to be reported as such (PS3.3 C.14.1.1, 0x0131).

        Raises
        ------
        OutOfResources
            When more than `MOST_WAITING` reports to the application entity are due.
        """
        same = {"ae_title": ae_title, "uid": action.transaction_uid}
        content = _content(action.references)
        lease = {"holder": holder, "seconds": lease_seconds}
        with database_errors(), self._engine.begin() as connection:
            connection.execute(_LOCK, same)
            known = {bytes(row.content): row for row in connection.execute(_KNOWN, same)}
            if content in known:
                return _accept_again(connection, known[content], lease)
            if (connection.scalar(_WAITING, {"ae_title": ae_title}) or 0) >= MOST_WAITING:
                raise OutOfResources("too many reports of storage commitment are due; try again later")
            values = {**same, **lease, "content": content, "duplicate": bool(known)}
            key: int = connection.execute(_INSERT, values).scalar_one()
            connection.execute(
                _INSERT_INSTANCES,
                {
                    "key": key,
                    "classes": [reference.sop_class_uid for reference in action.references],
                    "instances": [reference.sop_instance_uid for reference in action.references],
                },
            )
        return key

    def claim_due(self, state: State, holder: str, *, lease_seconds: float, ae_title: str | None = None) -> Held | None:
        """Hold the request in ``state`` that has been due for the longest time, of one application entity or of all."""
        values = {"state": state, "holder": holder, "seconds": lease_seconds, "ae_title": ae_title}
        with database_errors(), self._engine.begin() as connection:
            return _held(connection.execute(_CLAIM_DUE, values).one_or_none())

    def claim(self, key: int, state: State, holder: str, *, lease_seconds: float) -> Held | None:
        """Hold this request, unless it is in another state or somebody else holds it."""
        values = {"key": key, "state": state, "holder": holder, "seconds": lease_seconds}
        with database_errors(), self._engine.begin() as connection:
            return _held(connection.execute(_CLAIM, values).one_or_none())

    def renew(self, key: int, holder: str, *, lease_seconds: float) -> bool:
        """Hold a request for longer; false when it is held no more."""
        values = {"key": key, "holder": holder, "seconds": lease_seconds}
        with database_errors(), self._engine.begin() as connection:
            return bool(connection.execute(_RENEW, values).rowcount)

    def release(self, key: int, holder: str) -> None:
        """Let others have a request at once."""
        with database_errors(), self._engine.begin() as connection:
            connection.execute(_RELEASE, {"key": key, "holder": holder})

    def unchecked(self, key: int, after: int, limit: int) -> list[tuple[int, Reference]]:
        """Return instances that have not been checked, behind a position, with their positions."""
        values = {"key": key, "after": after, "limit": limit}
        with database_errors(), self._engine.connect() as connection:
            rows = connection.execute(_UNCHECKED, values)
            return [(row.position, Reference(row.sop_class_uid, row.sop_instance_uid)) for row in rows]

    def found(self, key: int, reasons: Iterable[tuple[int, int]]) -> None:
        """Keep the Failure Reason, or `COMMITTED`, of instances by their positions."""
        pairs = list(reasons)
        values = {"key": key, "positions": [pair[0] for pair in pairs], "reasons": [pair[1] for pair in pairs]}
        with database_errors(), self._engine.begin() as connection:
            connection.execute(_SET_REASONS, values)

    def checked(self, key: int, holder: str) -> bool:
        """Note that all instances have been checked; false when the request is held no more."""
        with database_errors(), self._engine.begin() as connection:
            return bool(connection.execute(_CHECKED, {"key": key, "holder": holder}).rowcount)

    def event(self, held: Held) -> EventInformation:
        """Return what is to be reported of a request that has been checked."""
        with database_errors(), self._engine.connect() as connection:
            rows = [
                (Reference(row.sop_class_uid, row.sop_instance_uid), row.failure_reason)
                for row in connection.execute(_INSTANCES, {"key": held.key})
            ]
        return EventInformation(
            held.transaction_uid,
            tuple(reference for reference, reason in rows if reason == COMMITTED),
            tuple(
                (reference, FailureReason.PROCESSING_FAILURE if reason is None else reason)
                for reference, reason in rows
                if reason != COMMITTED
            ),
        )

    def reported(self, key: int, holder: str) -> None:
        """Note that the peer has the report."""
        with database_errors(), self._engine.begin() as connection:
            connection.execute(_REPORTED, {"key": key, "holder": holder})

    def failed(self, key: int, holder: str, error: str, *, retry_in_seconds: float, final: bool = False) -> None:
        """Note that the report did not arrive; with ``final`` it is given up."""
        values = {"key": key, "holder": holder, "error": error, "seconds": retry_in_seconds, "final": final}
        with database_errors(), self._engine.begin() as connection:
            connection.execute(_FAILED, values)

    def postpone(self, ae_title: str, seconds: float) -> None:
        """Let the other reports to an application entity that cannot be reached wait too."""
        with database_errors(), self._engine.begin() as connection:
            connection.execute(_POSTPONE, {"ae_title": ae_title, "seconds": seconds})

    def latest(self, limit: int = 100) -> list[Commitment]:
        """Return the requests, the latest first."""
        return self._find(None, limit)

    def of_transaction(self, transaction_uid: str) -> list[Commitment]:
        """Return the requests under a Transaction UID, the latest first; several peers may have used it."""
        return self._find(transaction_uid, 100)

    def _find(self, transaction_uid: str | None, limit: int) -> list[Commitment]:
        with database_errors(), self._engine.connect() as connection:
            rows = connection.execute(_FOUND, {"uid": transaction_uid, "limit": limit})
            return [_commitment(row) for row in rows]

    def failures(self, key: int) -> dict[str, int]:
        """Return the Failure Reasons of a request by SOP Instance UID."""
        with database_errors(), self._engine.connect() as connection:
            rows = connection.execute(_FAILURES, {"key": key})
            return {row.sop_instance_uid: row.failure_reason for row in rows}

    def report_anew(self, transaction_uid: str) -> int:
        """Let reports that were given up be made and sent again, and return how many."""
        with database_errors(), self._engine.begin() as connection:
            keys = connection.scalars(_GIVEN_UP, {"uid": transaction_uid}).all()
            for key in keys:
                _begin_again(connection, key, {"holder": None, "seconds": 0})
        return len(keys)

    def counts(self) -> Mapping[str, int]:
        """Return how many requests there are in each state."""
        with database_errors(), self._engine.connect() as connection:
            rows = connection.execute(_COUNTS).all()
        return dict.fromkeys(State, 0) | {row.state: row.requests for row in rows}

    def forget(self, older_than_seconds: float) -> int:
        """Remove what ended long ago, and return how many requests that were."""
        with database_errors(), self._engine.begin() as connection:
            return connection.execute(_FORGET, {"seconds": older_than_seconds}).rowcount


def _accept_again(connection: Connection, known: "Row[Any]", lease: dict[str, Any]) -> int | None:
    if known.state in (State.REQUESTED, State.CHECKED):
        return None
    key: int = known.id
    _begin_again(connection, key, lease)
    return key


def _begin_again(connection: Connection, key: int, lease: dict[str, Any]) -> None:
    connection.execute(_AGAIN, {"key": key, **lease})
    connection.execute(_FORGET_REASONS, {"key": key})


def _content(references: Sequence[Reference]) -> bytes:
    """Return a digest of which instances are named, whatever their order."""
    return hashlib.sha256("\n".join(sorted(" ".join(reference) for reference in references)).encode("ascii")).digest()


def _held(row: "Row[Any] | None") -> Held | None:
    if row is None:
        return None
    return Held(row.id, row.ae_title, row.transaction_uid, row.duplicate, row.attempts, row.age_seconds)


def _commitment(row: "Row[Any]") -> Commitment:
    return Commitment(
        row.id,
        row.transaction_uid,
        row.ae_title,
        State(row.state),
        row.requested_at,
        row.checked_at,
        row.reported_at,
        row.attempts,
        row.last_error,
        row.instances,
        row.committed,
        row.failed,
    )
