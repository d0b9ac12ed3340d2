from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydicom.sr.codedict import codes

from dicomsvc.jobs.cancellation import DISCONTINUED, LACKING_RESOURCES, with_cancellation
from dicomsvc.jobs.items import Priority, Progress, State, WorkItem
from dicomsvc.jobs.transitions import Status, judge_change, judge_update, lacking, tag_of

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
RUNNING = WorkItem(
    uid="1.2.3",
    kind="analyze",
    state=State.IN_PROGRESS,
    priority=Priority.MEDIUM,
    requested_by="tester",
    retry_of=None,
    inputs={},
    outputs={},
    progress=Progress(30, 100, ""),
    attempts=1,
    error=None,
    error_kind=None,
    log=(),
    cancellation_requested=False,
    worker="w",
    created=NOON,
    started=NOON,
    ended=None,
    updated=NOON,
    progress_from=10,
    progress_from_at=NOON,
    progress_at=NOON + timedelta(seconds=20),
)


def test_nobody_makes_a_work_item_scheduled_again() -> None:
    for state in State:
        assert judge_change(state, State.SCHEDULED, "1.2", "1.2") is Status.ONLY_BY_CREATION


def test_a_step_that_nobody_claimed_has_no_final_state() -> None:
    for wanted in (State.COMPLETED, State.CANCELED):
        assert judge_change(State.SCHEDULED, wanted, None, "1.2") is Status.NOT_IN_PROGRESS


def test_without_the_lock_nothing_changes() -> None:
    for state in (State.IN_PROGRESS, State.COMPLETED, State.CANCELED):
        for wanted in (State.IN_PROGRESS, State.COMPLETED, State.CANCELED):
            for transaction_uid in ("", "1.3"):
                assert judge_change(state, wanted, "1.2", transaction_uid) is Status.WRONG_TRANSACTION
    # An item of our own has no lock: an empty or absent Transaction UID is not the same as none.
    assert judge_change(State.IN_PROGRESS, State.COMPLETED, None, "") is Status.WRONG_TRANSACTION
    assert judge_update(State.IN_PROGRESS, None, "") is Status.WRONG_TRANSACTION


def test_completion_needs_what_was_performed_but_not_an_output() -> None:
    attributes = {tag_of("UnifiedProcedureStepPerformedProcedureSequence"): {"vr": "SQ", "Value": [{}]}}
    assert len(lacking(State.COMPLETED, attributes)) == 5
    item = {
        tag_of(keyword): {"vr": "SQ", "Value": ["anything"]}
        for keyword in lacking(State.COMPLETED, attributes)
        if keyword != "OutputInformationSequence"
    }
    item[tag_of("OutputInformationSequence")] = {"vr": "SQ"}
    attributes[tag_of("UnifiedProcedureStepPerformedProcedureSequence")]["Value"] = [item]
    assert lacking(State.COMPLETED, attributes) == ()


def test_a_cancellation_needs_its_reason_as_a_code() -> None:
    assert lacking(State.CANCELED, {}) == ("ProcedureStepDiscontinuationReasonCodeSequence",)
    assert lacking(State.CANCELED, with_cancellation({}, None)) == ()
    assert lacking(State.IN_PROGRESS, {}) == ()


def test_what_a_performer_said_of_a_cancellation_stays() -> None:
    sequence, reason = tag_of("ProcedureStepProgressInformationSequence"), tag_of("ReasonForCancellation")
    said = {sequence: {"vr": "SQ", "Value": [{reason: {"vr": "LT", "Value": ["out of focus"]}}]}}
    request = {reason: {"vr": "LT", "Value": ["asked for"]}}
    assert with_cancellation(said, request)[sequence]["Value"][0][reason]["Value"] == ["out of focus"]
    assert with_cancellation({}, request)[sequence]["Value"][0][reason]["Value"] == ["asked for"]


def test_codes_are_those_of_the_standard_s_table() -> None:
    assert tuple(DISCONTINUED) == tuple(codes.cid9300.DiscontinuedForUnspecifiedReason)[:3]
    assert tuple(LACKING_RESOURCES) == tuple(codes.cid9300.ResourceInadequate)[:3]


def test_the_time_left_is_reckoned_from_where_the_attempt_began() -> None:
    # 20 pieces in 20 seconds, 70 to go, 5 seconds since the last report.
    assert RUNNING.time_left_seconds(NOON + timedelta(seconds=25)) == pytest.approx(65.0)
    assert RUNNING.time_left_seconds(NOON + timedelta(hours=1)) == 0.0


@pytest.mark.parametrize(
    "unknown",
    [
        replace(RUNNING, state=State.COMPLETED),
        replace(RUNNING, progress=Progress(10, 100)),
        replace(RUNNING, progress=Progress(30, 0)),
        replace(RUNNING, progress_from_at=None),
        replace(RUNNING, progress_at=NOON),
    ],
)
def test_the_time_left_is_unknown_without_a_rate(unknown: WorkItem) -> None:
    assert unknown.time_left_seconds() is None
