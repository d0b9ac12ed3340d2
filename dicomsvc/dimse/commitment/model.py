"""What a storage commitment says: Action Information and Event Information (PS3.4 J.3.2.1.1, J.3.3.1.1)."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

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
