"""The C-STORE sub-operations of a C-GET or C-MOVE, as they are counted and told (PS3.4 C.4.2, C.4.3)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pydicom import Dataset

from dicomsvc.dimse.commands import (
    COMPLETED_SUBOPERATIONS,
    FAILED_SUBOPERATIONS,
    REMAINING_SUBOPERATIONS,
    SUCCESS,
    WARNING_SUBOPERATIONS,
)

SUB_OPERATIONS_FAILED: Final = 0xA702
SOME_FAILED: Final = 0xB000
_MOST_COUNTED: Final = 0xFFFF
# What the length field of VR UI holds in an explicit transfer syntax, in UIDs of the greatest length.
_MOST_LISTED: Final = 0xFFFE // 65


@dataclass(slots=True)
class SubOperations:
    """Counts of sub-operations, all of which remain at first."""

    remaining: int
    completed: int = 0
    failed: int = 0
    warnings: int = 0
    _failed_uids: list[str] = field(default_factory=list)

    def done(self, sop_instance_uid: str, status: int | None) -> None:
        """Count one that ended with the status of its C-STORE; None: it had none."""
        self.remaining -= 1
        if status == SUCCESS:
            self.completed += 1
        elif status is not None and status >> 12 == 0xB:
            self.warnings += 1
        else:
            self.failed += 1
            if len(self._failed_uids) < _MOST_LISTED:
                self._failed_uids.append(sop_instance_uid)

    def lost(self) -> None:
        """Count those that remain as failed: their instances are there no more."""
        self.failed += self.remaining
        self.remaining = 0

    @property
    def status(self) -> int:
        """Status of the final response."""
        if self.failed and not self.completed and not self.warnings:
            return SUB_OPERATIONS_FAILED
        return SOME_FAILED if self.failed or self.warnings else SUCCESS

    def elements(self, *, with_remaining: bool) -> Mapping[int, int]:
        """Return the counts as elements of a response; greater ones than its fields hold as the greatest they hold."""
        counts = {
            COMPLETED_SUBOPERATIONS: self.completed,
            FAILED_SUBOPERATIONS: self.failed,
            WARNING_SUBOPERATIONS: self.warnings,
        }
        if with_remaining:
            counts[REMAINING_SUBOPERATIONS] = self.remaining
        return {element: min(count, _MOST_COUNTED) for element, count in counts.items()}

    def identifier(self) -> Dataset | None:
        """Return the final response's Identifier, which lists the instances that failed; None when none did."""
        if not self._failed_uids:
            return None
        identifier = Dataset()
        identifier.FailedSOPInstanceUIDList = self._failed_uids
        return identifier
