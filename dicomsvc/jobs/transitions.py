"""The rules by which a work item that others perform changes (PS3.4 CC.1.1, CC.2.1.3, CC.2.6.3).

Every rule answers with a `Status` of PS3.4 CC.2.1.4 and CC.2.6.4; the borders make HTTP or DIMSE of it.
"""

from collections.abc import Iterator, Mapping
from enum import IntEnum
from functools import cache
from typing import Any, Final

from pydicom.datadict import tag_for_keyword

from dicomsvc.jobs.items import State

Attributes = Mapping[str, Any]


class Status(IntEnum):
    """What came of a request to change a work item, as DIMSE says it."""

    SUCCESS = 0x0000
    ALREADY_CANCELED = 0xB304
    ALREADY_COMPLETED = 0xB306
    NO_LONGER = 0xC300
    """It may no longer be updated."""
    WRONG_TRANSACTION = 0xC301
    ALREADY_IN_PROGRESS = 0xC302
    ONLY_BY_CREATION = 0xC303
    """It may only become SCHEDULED by being created."""
    NOT_FINAL = 0xC304
    """It has not met the final state requirements."""
    NOT_IN_PROGRESS = 0xC310

    @property
    def refused(self) -> bool:
        return self >= 0xC000


@cache
def tag_of(keyword: str) -> str:
    """Return the tag of an attribute as DICOM JSON writes it.

    Raises
    ------
    KeyError
        When the dictionary lacks the keyword.
    """
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    return f"{tag:08X}"


# PS3.4 Table CC.1.1-2, with the correct Transaction UID: wanted state, then the state it is in.
_CHANGES: Final[Mapping[State, Mapping[State, Status]]] = {
    State.IN_PROGRESS: {
        State.SCHEDULED: Status.SUCCESS,
        State.IN_PROGRESS: Status.ALREADY_IN_PROGRESS,
        State.COMPLETED: Status.NO_LONGER,
        State.CANCELED: Status.NO_LONGER,
    },
    State.COMPLETED: {
        State.SCHEDULED: Status.NOT_IN_PROGRESS,
        State.IN_PROGRESS: Status.SUCCESS,
        State.COMPLETED: Status.ALREADY_COMPLETED,
        State.CANCELED: Status.NO_LONGER,
    },
    State.CANCELED: {
        State.SCHEDULED: Status.NOT_IN_PROGRESS,
        State.IN_PROGRESS: Status.SUCCESS,
        State.COMPLETED: Status.NO_LONGER,
        State.CANCELED: Status.ALREADY_CANCELED,
    },
}


def judge_change(state: State, wanted: State, lock: str | None, transaction_uid: str) -> Status:
    """Return what a request for another state comes to, final state requirements apart.

    Parameters
    ----------
    lock
        Transaction UID that the work item was claimed with, None when it was not.
    transaction_uid
        The one of the request; any claims a SCHEDULED work item that nobody has.
    """
    if wanted is State.SCHEDULED:
        return Status.ONLY_BY_CREATION
    claimed = state is not State.SCHEDULED
    correct = bool(transaction_uid) and (transaction_uid == lock if claimed else True)
    return _CHANGES[wanted][state] if correct else Status.WRONG_TRANSACTION


def judge_update(state: State, lock: str | None, transaction_uid: str) -> Status:
    """Return whether attributes may be set (PS3.4 CC.2.6.3)."""
    if state in (State.COMPLETED, State.CANCELED):
        return Status.NO_LONGER
    if state is State.SCHEDULED:
        return Status.NOT_IN_PROGRESS if transaction_uid else Status.SUCCESS
    return Status.SUCCESS if transaction_uid and transaction_uid == lock else Status.WRONG_TRANSACTION


_PROGRESS: Final = "ProcedureStepProgressInformationSequence"
_PERFORMED: Final = "UnifiedProcedureStepPerformedProcedureSequence"
# PS3.4 Table CC.2.5-3, column Final State: P for COMPLETED, X for CANCELED. R is met from creation on. The date and
# time of a cancellation is the provider's to fill in.
_REQUIRED: Final[Mapping[State, tuple[str, tuple[str, ...]]]] = {
    State.COMPLETED: (
        _PERFORMED,
        (
            "PerformedStationNameCodeSequence",
            "PerformedProcedureStepStartDateTime",
            "PerformedWorkitemCodeSequence",
            "PerformedProcedureStepEndDateTime",
            "OutputInformationSequence",
        ),
    ),
    State.CANCELED: (_PROGRESS, ("ProcedureStepDiscontinuationReasonCodeSequence",)),
}
# PS3.4 Table CC.2.5-3: without relevant output it has no items.
_MAY_BE_EMPTY: Final = frozenset({"OutputInformationSequence"})


def lacking(state: State, attributes: Attributes) -> tuple[str, ...]:
    """Return the keywords of what the final state requirements ask for and ``attributes`` do not have."""
    if state not in _REQUIRED:
        return ()
    sequence, keywords = _REQUIRED[state]
    items = attributes.get(tag_of(sequence), {}).get("Value") or [{}]
    return tuple(_lacking_in(items[0], keywords))


def _lacking_in(item: Attributes, keywords: tuple[str, ...]) -> Iterator[str]:
    for keyword in keywords:
        element = item.get(tag_of(keyword))
        if element is None or (keyword not in _MAY_BE_EMPTY and not element.get("Value")):
            yield keyword
