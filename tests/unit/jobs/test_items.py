"""Work items as values."""

from datetime import UTC, datetime

from dicomsvc.jobs import Priority, Progress, State, WorkItem


def item(state: State, *, error: str | None = None, outputs: dict[str, object] | None = None) -> WorkItem:
    now = datetime.now(UTC)
    return WorkItem(
        uid="2.25.1",
        kind="convert",
        state=state,
        priority=Priority.MEDIUM,
        requested_by="tester",
        retry_of=None,
        inputs={},
        outputs=outputs or {},
        progress=Progress(1, 4, "level 1"),
        attempts=1,
        error=error,
        error_kind="ConversionError" if error else None,
        log=(),
        cancellation_requested=False,
        worker=None,
        created=now,
        started=now,
        ended=None,
        updated=now,
    )


def test_cancelled_with_an_error_is_failed_and_without_is_not() -> None:
    assert item(State.CANCELED, error="no").failed
    assert not item(State.CANCELED).failed
    assert not item(State.CANCELED).succeeded


def test_completed_with_failed_parts_did_not_succeed() -> None:
    assert item(State.COMPLETED).succeeded
    assert not item(State.COMPLETED, outputs={"failed": [{"file": "a"}]}).succeeded


def test_one_line_says_how_it_stands() -> None:
    assert item(State.IN_PROGRESS).describe() == "2.25.1  convert  IN PROGRESS 25 % level 1"
    assert item(State.CANCELED, error="no mpp").describe() == "2.25.1  convert  FAILED: no mpp"
