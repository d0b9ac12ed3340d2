"""Storage commitment as people look at it: what was asked of this node and what this node asked, side by side."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Engine

from dicomsvc.dimse.commitment import (
    AskedRequest,
    ask_anew,
    commitment_result,
    count_requests,
    latest_requests,
)
from dicomsvc.errors import Conflict, NotFound
from dicomsvc.pacs.commitment.records import Commitment, Commitments


class Direction(StrEnum):
    """Who asked whom."""

    RECEIVED = "received"
    """A peer asked this node."""
    SENT = "sent"
    """This node asked a peer."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A request. ``ended_at``: when its report was delivered, or came; the last three are counts of instances."""

    direction: Direction
    transaction_uid: str
    ae_title: str
    state: str
    requested_at: datetime
    ended_at: datetime | None
    attempts: int
    last_error: str | None
    instances: int
    committed: int
    failed: int

    def describe(self) -> str:
        """Return a line for people."""
        way = "from" if self.direction is Direction.RECEIVED else "to"
        counts = f"{self.committed} of {self.instances} committed, {self.failed} failed"
        trouble = f"  ({self.last_error})" if self.last_error else ""
        return (
            f"{self.requested_at:%Y-%m-%d %H:%M}  {way} {self.ae_title:16}  {self.state:9}  {counts}"
            f"  {self.transaction_uid}{trouble}"
        )


def latest(engine: Engine, limit: int = 100) -> list[Entry]:
    """Return the requests of both directions, the latest first."""
    received = map(_received, Commitments(engine).latest(limit))
    sent = map(_sent, latest_requests(engine, limit))
    return sorted((*received, *sent), key=lambda entry: entry.requested_at, reverse=True)[:limit]


def counts(engine: Engine) -> Mapping[tuple[Direction, str], int]:
    """Return how many requests there are, by direction and state."""
    received = {(Direction.RECEIVED, str(state)): count for state, count in Commitments(engine).counts().items()}
    return received | {(Direction.SENT, str(state)): count for state, count in count_requests(engine).items()}


def find(engine: Engine, transaction_uid: str) -> list[tuple[Entry, dict[str, int]]]:
    """Return the requests under a Transaction UID, each with its Failure Reasons by SOP Instance UID.

    Raises
    ------
    NotFound
        When there are none.
    """
    commitments = Commitments(engine)
    found = [(_received(one), commitments.failures(one.key)) for one in commitments.of_transaction(transaction_uid)]
    try:
        result = commitment_result(engine, transaction_uid)
    except NotFound:
        if not found:
            raise NotFound(f"no storage commitment is known as {transaction_uid[:64]}") from None
        return found
    entry = Entry(
        Direction.SENT,
        result.transaction_uid,
        result.ae_title,
        result.state,
        result.requested_at,
        result.answered_at,
        result.attempts,
        result.last_error,
        len(result.committed) + len(result.failed) + len(result.unanswered),
        len(result.committed),
        len(result.failed),
    )
    return [*found, (entry, dict(result.failed))]


def again(engine: Engine, transaction_uid: str) -> None:
    """Let what was given up, or refused to this node, be tried again.

    Raises
    ------
    NotFound
        When there is no request under the Transaction UID.
    Conflict
        When none of them has ended that way.
    """
    if not Commitments(engine).report_anew(transaction_uid) + ask_anew(engine, transaction_uid):
        find(engine, transaction_uid)
        raise Conflict(f"nothing of storage commitment {transaction_uid} was given up or refused")


def _received(one: Commitment) -> Entry:
    return Entry(
        Direction.RECEIVED,
        one.transaction_uid,
        one.ae_title,
        one.state,
        one.requested_at,
        one.reported_at,
        one.attempts,
        one.last_error,
        one.instances,
        one.committed,
        one.failed,
    )


def _sent(one: AskedRequest) -> Entry:
    return Entry(
        Direction.SENT,
        one.transaction_uid,
        one.ae_title,
        one.state,
        one.requested_at,
        one.answered_at,
        one.attempts,
        one.last_error,
        one.instances,
        one.committed,
        one.failed,
    )
