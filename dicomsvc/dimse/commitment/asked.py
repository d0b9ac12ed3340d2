"""What this node asked other archives to commit to, and what they answered: rows that outlive processes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Engine, Row, text

from dicomsvc.dimse.commitment.model import COMMITTED, EventInformation, Reference
from dicomsvc.errors import NotFound
from dicomsvc.store.database import database_errors


class AskedState(StrEnum):
    """How far a request of ours is."""

    ASKING = "asking"
    """The peer has not taken it yet; it is tried again."""
    ASKED = "asked"
    """The peer has taken it, and its report is due."""
    ANSWERED = "answered"
    REFUSED = "refused"
    """The peer does not serve it, or not to us."""
    GIVEN_UP = "given up"


@dataclass(frozen=True, slots=True)
class CommitmentResult:
    """What is known of a request; SOP Instance UIDs. ``failed`` by Failure Reason (PS3.3 C.14.1.1)."""

    transaction_uid: str
    ae_title: str
    state: AskedState
    requested_at: datetime
    answered_at: datetime | None
    attempts: int
    last_error: str | None
    committed: tuple[str, ...]
    failed: Mapping[str, int]
    unanswered: tuple[str, ...]

    @property
    def ended(self) -> bool:
        """Whether nothing more is to be waited for."""
        return self.state in (AskedState.ANSWERED, AskedState.REFUSED, AskedState.GIVEN_UP)

    @property
    def all_committed(self) -> bool:
        """Whether the peer has taken responsibility for every instance."""
        return self.state is AskedState.ANSWERED and not self.failed and not self.unanswered


@dataclass(frozen=True, slots=True)
class AskedRequest:
    """A request as people look at it; ``instances``, ``committed`` and ``failed`` are counts."""

    transaction_uid: str
    ae_title: str
    state: AskedState
    requested_at: datetime
    answered_at: datetime | None
    attempts: int
    last_error: str | None
    instances: int
    committed: int
    failed: int


@dataclass(frozen=True, slots=True)
class Due:
    """A request that is to be asked again."""

    transaction_uid: str
    ae_title: str
    attempts: int
    requested_at: datetime


_INSERT = text(
    "INSERT INTO commitment_asked (transaction_uid, sent_as, ae_title, state, due_at)"
    " VALUES (:uid, '{}', :ae_title, 'asking', clock_timestamp() + make_interval(secs => :seconds))"
    " ON CONFLICT DO NOTHING"
)
_INSERT_INSTANCES = text(
    "INSERT INTO commitment_asked_instance (transaction_uid, position, sop_class_uid, sop_instance_uid)"
    " SELECT :uid, position, class, instance"
    " FROM unnest(CAST(:classes AS text[]), CAST(:instances AS text[])) WITH ORDINALITY"
    " AS reference (class, instance, position)"
)
_SENDING = text(
    "UPDATE commitment_asked SET sent_as = sent_as || CAST(:sent_as AS text), attempts = attempts + 1,"
    " state = 'asking', due_at = clock_timestamp() + make_interval(secs => :seconds)"
    " WHERE transaction_uid = :uid AND state <> 'answered'"
)
_SET = text(
    "UPDATE commitment_asked SET state = :state, last_error = :error,"
    " due_at = clock_timestamp() + make_interval(secs => :seconds)"
    " WHERE transaction_uid = :uid AND state <> 'answered'"
)
_CLAIM = text(
    "UPDATE commitment_asked SET due_at = clock_timestamp() + make_interval(secs => :seconds) WHERE transaction_uid = ("
    "SELECT transaction_uid FROM commitment_asked WHERE state IN ('asking', 'asked') AND due_at <= clock_timestamp()"
    " ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED)"
    " RETURNING transaction_uid, ae_title, attempts, requested_at"
)
_OF_EVENT = text(
    "SELECT transaction_uid FROM commitment_asked WHERE sent_as @> ARRAY[CAST(:sent_as AS text)]"
    " AND ae_title = :ae_title FOR UPDATE"
)
_EXPECTED = text("SELECT EXISTS (SELECT FROM commitment_asked WHERE ae_title = :ae_title)")
_SET_REASONS = text(
    "UPDATE commitment_asked_instance AS asked SET failure_reason = told.reason"
    " FROM unnest(CAST(:classes AS text[]), CAST(:instances AS text[]), CAST(:reasons AS integer[]))"
    " AS told (class, instance, reason)"
    " WHERE asked.transaction_uid = :uid AND asked.sop_instance_uid = told.instance"
    " AND asked.sop_class_uid = told.class"
)
_ANSWERED = text(
    "UPDATE commitment_asked SET state = 'answered', answered_at = clock_timestamp(), last_error = NULL"
    " WHERE transaction_uid = :uid"
)
_GET = text("SELECT * FROM commitment_asked WHERE transaction_uid = :uid")
_LATEST = text(
    "SELECT found.*, counted.* FROM ("
    "SELECT * FROM commitment_asked ORDER BY requested_at DESC, transaction_uid LIMIT :limit"
    ") AS found CROSS JOIN LATERAL ("
    "SELECT count(*) AS instances, count(*) FILTER (WHERE failure_reason = 0) AS committed,"
    " count(*) FILTER (WHERE failure_reason <> 0) AS failed"
    " FROM commitment_asked_instance AS instance WHERE instance.transaction_uid = found.transaction_uid) AS counted"
    " ORDER BY requested_at DESC, transaction_uid"
)
_GET_INSTANCES = text(
    "SELECT sop_class_uid, sop_instance_uid, failure_reason FROM commitment_asked_instance"
    " WHERE transaction_uid = :uid ORDER BY position"
)
_ANEW = text(
    "UPDATE commitment_asked SET state = 'asking', requested_at = clock_timestamp(), due_at = clock_timestamp(),"
    " attempts = 0 WHERE transaction_uid = :uid AND state IN ('refused', 'given up')"
)
_COUNTS = text("SELECT state, count(*) AS requests FROM commitment_asked GROUP BY state")
_FORGET = text(
    "DELETE FROM commitment_asked WHERE state NOT IN ('asking', 'asked')"
    " AND requested_at < clock_timestamp() - make_interval(secs => :seconds)"
)


def record_request(
    engine: Engine, transaction_uid: str, ae_title: str, references: Sequence[Reference], *, lease_seconds: float
) -> bool:
    """Keep a request before it is sent; false when there is one with this Transaction UID already."""
    with database_errors(), engine.begin() as connection:
        values = {"uid": transaction_uid, "ae_title": ae_title, "seconds": lease_seconds}
        if not connection.execute(_INSERT, values).rowcount:
            return False
        connection.execute(
            _INSERT_INSTANCES,
            {
                "uid": transaction_uid,
                "classes": [reference.sop_class_uid for reference in references],
                "instances": [reference.sop_instance_uid for reference in references],
            },
        )
    return True


def record_sending(engine: Engine, transaction_uid: str, sent_as: str, *, lease_seconds: float) -> bool:
    """Note under which Transaction UID the request goes out, before it does; false when it is answered already."""
    values = {"uid": transaction_uid, "sent_as": sent_as, "seconds": lease_seconds}
    with database_errors(), engine.begin() as connection:
        return bool(connection.execute(_SENDING, values).rowcount)


def record_state(
    engine: Engine, transaction_uid: str, state: AskedState, error: str | None = None, *, due_in_seconds: float = 0
) -> None:
    """Note how a request fared; an answer that came meanwhile stays."""
    values = {"uid": transaction_uid, "state": state, "error": error, "seconds": due_in_seconds}
    with database_errors(), engine.begin() as connection:
        connection.execute(_SET, values)


def claim_due(engine: Engine, *, lease_seconds: float) -> Due | None:
    """Return a request that is to be asked again and let nobody else have it for the time being."""
    with database_errors(), engine.begin() as connection:
        row = connection.execute(_CLAIM, {"seconds": lease_seconds}).one_or_none()
    return None if row is None else Due(row.transaction_uid, row.ae_title, row.attempts, row.requested_at)


def expects_reports(engine: Engine, ae_title: str) -> bool:
    """Whether an application entity was ever asked for anything."""
    with database_errors(), engine.connect() as connection:
        return bool(connection.scalar(_EXPECTED, {"ae_title": ae_title}))


def record_event(engine: Engine, ae_title: str, event: EventInformation) -> str | None:
    """Keep what a peer reports, and return the request's Transaction UID; None when it was asked for no such thing.

    Only instances that the request names count, and only with the SOP class that it gives them.
    """
    with database_errors(), engine.begin() as connection:
        uid = connection.scalar(_OF_EVENT, {"sent_as": event.transaction_uid, "ae_title": ae_title})
        if uid is None:
            return None
        _set_reasons(connection, uid, [(reference, COMMITTED) for reference in event.committed])
        _set_reasons(connection, uid, event.failed)
        connection.execute(_ANSWERED, {"uid": uid})
    return str(uid)


def _set_reasons(connection: Connection, uid: str, told: Iterable[tuple[Reference, int]]) -> None:
    told = list(told)
    if told:
        connection.execute(
            _SET_REASONS,
            {
                "uid": uid,
                "classes": [reference.sop_class_uid for reference, _ in told],
                "instances": [reference.sop_instance_uid for reference, _ in told],
                "reasons": [reason for _, reason in told],
            },
        )


def references_of(engine: Engine, transaction_uid: str) -> tuple[Reference, ...]:
    """Return the instances that a request names."""
    with database_errors(), engine.connect() as connection:
        rows = connection.execute(_GET_INSTANCES, {"uid": transaction_uid})
        return tuple(Reference(row.sop_class_uid, row.sop_instance_uid) for row in rows)


def commitment_result(engine: Engine, transaction_uid: str) -> CommitmentResult:
    """Return what is known of a request of ours.

    Raises
    ------
    NotFound
        When there was none, or it is so old that it was forgotten.
    """
    with database_errors(), engine.connect() as connection:
        row = connection.execute(_GET, {"uid": transaction_uid}).one_or_none()
        if row is None:
            raise NotFound(f"no storage commitment was asked for as {transaction_uid[:64]}")
        return _result(connection, row)


def latest_requests(engine: Engine, limit: int = 100) -> list[AskedRequest]:
    """Return the requests of this node, the latest first."""
    with database_errors(), engine.connect() as connection:
        return [
            AskedRequest(
                row.transaction_uid,
                row.ae_title,
                AskedState(row.state),
                row.requested_at,
                row.answered_at,
                row.attempts,
                row.last_error,
                row.instances,
                row.committed,
                row.failed,
            )
            for row in connection.execute(_LATEST, {"limit": limit})
        ]


def count_requests(engine: Engine) -> Mapping[str, int]:
    """Return how many requests of this node there are in each state."""
    with database_errors(), engine.connect() as connection:
        rows = connection.execute(_COUNTS).all()
    return dict.fromkeys(AskedState, 0) | {row.state: row.requests for row in rows}


def ask_anew(engine: Engine, transaction_uid: str) -> bool:
    """Let a request that was refused or given up be asked again; false when there is none."""
    with database_errors(), engine.begin() as connection:
        return bool(connection.execute(_ANEW, {"uid": transaction_uid}).rowcount)


def forget_requests(engine: Engine, older_than_seconds: float) -> int:
    """Remove what ended long ago, and return how many requests that were."""
    with database_errors(), engine.begin() as connection:
        return connection.execute(_FORGET, {"seconds": older_than_seconds}).rowcount


def _result(connection: Connection, row: "Row[Any]") -> CommitmentResult:
    instances = connection.execute(_GET_INSTANCES, {"uid": row.transaction_uid}).all()
    return CommitmentResult(
        row.transaction_uid,
        row.ae_title,
        AskedState(row.state),
        row.requested_at,
        row.answered_at,
        row.attempts,
        row.last_error,
        tuple(one.sop_instance_uid for one in instances if one.failure_reason == COMMITTED),
        {one.sop_instance_uid: one.failure_reason for one in instances if one.failure_reason},
        tuple(one.sop_instance_uid for one in instances if one.failure_reason is None),
    )
