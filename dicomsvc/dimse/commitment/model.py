"""What a storage commitment says: Action Information and Event Information (PS3.4 J.3.2.1.1, J.3.3.1.1)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NamedTuple

from pydicom import Dataset

from dicomsvc.dicom.uids import is_valid_uid
from dicomsvc.errors import BadRequest

SOP_CLASS: Final = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model."""
WELL_KNOWN_INSTANCE: Final = "1.2.840.10008.1.20.1.1"

REQUEST_STORAGE_COMMITMENT: Final = 1
"""The only Action Type."""
ALL_COMMITTED: Final = 1
FAILURES_EXIST: Final = 2
"""The two Event Types."""

COMMITTED: Final = 0
"""Stands where a Failure Reason would stand."""


class FailureReason(IntEnum):
    """Why an instance is not committed (PS3.3 C.14.1.1)."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_OBJECT_INSTANCE = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119
    REFERENCED_SOP_CLASS_NOT_SUPPORTED = 0x0122
    DUPLICATE_TRANSACTION_UID = 0x0131
    RESOURCE_LIMITATION = 0x0213


class Reference(NamedTuple):
    """An instance, as a Referenced SOP Sequence names it."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class ActionInformation:
    """What is asked for: each instance once, in the order of the request."""

    transaction_uid: str
    references: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class EventInformation:
    """What became of a request; ``failed`` with the Failure Reason of each."""

    transaction_uid: str
    committed: tuple[Reference, ...]
    failed: tuple[tuple[Reference, int], ...]

    @property
    def event_type(self) -> int:
        return FAILURES_EXIST if self.failed else ALL_COMMITTED


def read_action(ds: Dataset) -> ActionInformation:
    """Return what an N-ACTION asks for.

    Raises
    ------
    BadRequest
        When a UID is missing or malformed, or no instance is named.
    """
    references = tuple(dict.fromkeys(_reference(item) for item in _items(ds, "ReferencedSOPSequence")))
    if not references:
        raise BadRequest("the Referenced SOP Sequence is missing or empty")
    return ActionInformation(_uid(ds, "TransactionUID"), references)


def read_event(ds: Dataset) -> EventInformation:
    """Return what an N-EVENT-REPORT tells.

    Raises
    ------
    BadRequest
        When a UID or a Failure Reason is missing or malformed.
    """
    return EventInformation(
        _uid(ds, "TransactionUID"),
        tuple(_reference(item) for item in _items(ds, "ReferencedSOPSequence")),
        tuple((_reference(item), _failure_reason(item)) for item in _items(ds, "FailedSOPSequence")),
    )


def action_data_set(action: ActionInformation) -> Dataset:
    ds = Dataset()
    ds.TransactionUID = action.transaction_uid
    ds.ReferencedSOPSequence = _sequence(action.references)
    return ds


def event_data_set(event: EventInformation, retrieve_ae_title: str) -> Dataset:
    """Return the Event Information; ``retrieve_ae_title`` is from where the instances can be retrieved."""
    ds = Dataset()
    ds.RetrieveAETitle = retrieve_ae_title
    ds.TransactionUID = event.transaction_uid
    if event.failed:
        ds.FailedSOPSequence = _sequence(reference for reference, _ in event.failed)
        for item, (_, reason) in zip(ds.FailedSOPSequence, event.failed, strict=True):
            item.FailureReason = reason
    if event.committed:
        ds.ReferencedSOPSequence = _sequence(event.committed)
    return ds


def _sequence(references: Iterable[Reference]) -> list[Dataset]:
    items = []
    for reference in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = reference
        items.append(item)
    return items


def _items(ds: Dataset, keyword: str) -> Sequence[Dataset]:
    value: Any = ds.get(keyword)
    if value is None:
        return ()
    if ds[keyword].VR != "SQ":
        raise BadRequest(f"{keyword} is no sequence")
    items: Sequence[Dataset] = value
    return items


def _reference(item: Dataset) -> Reference:
    return Reference(_uid(item, "ReferencedSOPClassUID"), _uid(item, "ReferencedSOPInstanceUID"))


def _uid(ds: Dataset, keyword: str) -> str:
    value = str(ds.get(keyword, ""))
    if not is_valid_uid(value):
        raise BadRequest(f"{keyword} is missing or no UID")
    return value


def _failure_reason(item: Dataset) -> int:
    value = item.get("FailureReason")
    # A reason of nought would read as "committed".
    return value if isinstance(value, int) and value > 0 else FailureReason.PROCESSING_FAILURE
