"""What a work item is, and what a handler of one gets and gives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Row

from dicomsvc.store import Store

OUTSIDE: Final = "outside"
"""Kind of the work items that others perform: no worker of ours takes them."""


class State(StrEnum):
    """Procedure Step State (PS3.4 CC.1.1). The last two are final."""

    SCHEDULED = "SCHEDULED"
    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"


class Priority(StrEnum):
    """Scheduled Procedure Step Priority (PS3.3 C.30.3)."""

    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    LOW = "LOW"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work is; ``total`` is 0 while unknown."""

    done: int = 0
    total: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True)
class WorkItem:
    """A Unified Procedure Step as it stands in the database.

    A step that failed is CANCELED with an `error` (PS3.4 CC knows no failed state); one that somebody stopped is
    CANCELED without. A step whose process died stays IN PROGRESS until its next attempt.
    """

    uid: str
    kind: str
    state: State
    priority: Priority
    requested_by: str
    retry_of: str | None
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    progress: Progress
    attempts: int
    error: str | None
    error_kind: str | None
    log: tuple[str, ...]
    cancellation_requested: bool
    worker: str | None
    created: datetime
    started: datetime | None
    ended: datetime | None
    updated: datetime
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """DICOM JSON of what the creator, or a performer outside, said and nothing else here holds."""
    cancellation: Mapping[str, Any] | None = None
    """The latest request to cancel, as DICOM JSON of PS3.4 CC.2.2.1."""
    study_instance_uid: str | None = None
    progress_from: int | None = None
    """``progress.done`` when this attempt first reported, at `progress_from_at`; it may have gone on from there."""
    progress_from_at: datetime | None = None
    progress_at: datetime | None = None

    @property
    def outside(self) -> bool:
        """Whether it is for performers outside to do."""
        return self.kind == OUTSIDE

    def time_left_seconds(self, now: datetime | None = None) -> float | None:
        """Return how long it will take from now on, by the rate of this attempt; None while that is not known."""
        if self.state is not State.IN_PROGRESS or self.progress_from_at is None or self.progress_at is None:
            return None
        done = self.progress.done - (self.progress_from or 0)
        spent = (self.progress_at - self.progress_from_at).total_seconds()
        if done <= 0 or spent <= 0 or not self.progress.total:
            return None
        since = ((now or datetime.now(UTC)) - self.progress_at).total_seconds()
        left = (self.progress.total - self.progress.done) * spent / done - max(since, 0.0)
        return round(max(left, 0.0), 1)

    @property
    def final(self) -> bool:
        return self.state in (State.COMPLETED, State.CANCELED)

    @property
    def succeeded(self) -> bool:
        """Whether all went well: COMPLETED, and no part of it failed."""
        return self.state is State.COMPLETED and not self.outputs.get("failed")

    @property
    def failed(self) -> bool:
        return self.state is State.CANCELED and self.error is not None

    def describe(self) -> str:
        """Return one line for people."""
        state = "FAILED" if self.failed else str(self.state)
        done, total, text = self.progress.done, self.progress.total, self.progress.text
        share = f" {100 * done // total} % {text}".rstrip() if total and not self.final else ""
        left = self.time_left_seconds()
        share += "" if left is None else f", {timedelta(seconds=round(left))} left"
        why = f": {self.error}" if self.failed else ""
        summary = f": {self.outputs['summary']}" if "summary" in self.outputs else ""
        return f"{self.uid}  {self.kind}  {state}{share}{why}{summary}"

    def as_dict(self) -> dict[str, Any]:
        """Return the work item as JSON."""
        return {
            "uid": self.uid,
            "kind": self.kind,
            "state": str(self.state),
            "priority": str(self.priority),
            "requested_by": self.requested_by,
            "retry_of": self.retry_of,
            "inputs": dict(self.inputs),
            "outputs": dict(self.outputs),
            "progress": {"done": self.progress.done, "total": self.progress.total, "text": self.progress.text},
            "time_left_seconds": self.time_left_seconds(),
            "attempts": self.attempts,
            "error": self.error,
            "error_kind": self.error_kind,
            "log": list(self.log),
            "cancellation_requested": self.cancellation_requested,
            "worker": self.worker,
            "created": self.created.isoformat(),
            "started": self.started and self.started.isoformat(),
            "ended": self.ended and self.ended.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Work:
    """What a handler gets. It runs in a process of its own; ``store`` is that process's.

    ``report`` tells progress, may be called as often as one likes, and raises `dicomsvc.errors.Cancelled` when
    somebody asked for a stop. ``log`` adds a line to the work item; the line must hold nothing of a patient.
    """

    uid: str
    kind: str
    inputs: Mapping[str, Any]
    requested_by: str
    attempt: int
    store: Store
    report: Callable[[Progress], None]
    log: Callable[[str], None]


class Later(Exception):
    """Raised by a handler that waits for something outside: it is called again after ``seconds``.

    Meanwhile no process is kept, and the attempt does not count.
    """

    def __init__(self, seconds: float, reason: str) -> None:
        super().__init__(reason)
        self.seconds = seconds


Handler = Callable[[Work], Mapping[str, Any]]
"""Does the work and returns the outputs (JSON). Bad input raises a `DicomsvcError` and is not tried again."""


def from_row(row: "Row[Any]") -> WorkItem:
    """Return the work item of a row of all columns."""
    return WorkItem(
        uid=row.uid,
        kind=row.kind,
        state=State(row.state),
        priority=Priority(row.priority),
        requested_by=row.requested_by,
        retry_of=row.retry_of,
        inputs=row.inputs,
        outputs=row.outputs,
        progress=Progress(row.progress_done, row.progress_total, row.progress_text),
        attempts=row.attempts,
        error=row.error,
        error_kind=row.error_kind,
        log=tuple(row.log),
        cancellation_requested=row.cancellation_requested,
        worker=row.worker,
        created=row.created,
        started=row.started,
        ended=row.ended,
        updated=row.updated,
        attributes=row.attributes,
        cancellation=row.cancellation,
        study_instance_uid=row.study_instance_uid,
        progress_from=row.progress_from,
        progress_from_at=row.progress_from_at,
        progress_at=row.progress_at,
    )
