"""What the DICOM service counts, for metrics."""

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counts:
    """Figures since the start, but `associations_open`, which is a gauge."""

    connections: int = 0
    associations: int = 0
    associations_open: int = 0
    rejected: Counter[int] = field(default_factory=Counter)
    """Rejected associations by reason (PS3.8 table 9-21)."""
    aborted: int = 0
    """Connections that ended without a release."""
    stored: int = 0
    stored_with_warnings: int = 0
    failed: Counter[int] = field(default_factory=Counter)
    """C-STORE requests refused, by status."""
    bytes_received: int = 0


class Counters:
    """`Counts` that many threads add to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = Counts()

    def connected(self) -> None:
        with self._lock:
            self._counts.connections += 1

    def associated(self) -> None:
        with self._lock:
            self._counts.associations += 1
            self._counts.associations_open += 1

    def ended(self, *, released: bool, associated: bool, bytes_received: int) -> None:
        with self._lock:
            self._counts.associations_open -= associated
            self._counts.aborted += not released
            self._counts.bytes_received += bytes_received

    def rejected(self, reason: int) -> None:
        with self._lock:
            self._counts.rejected[reason] += 1

    def stored(self, *, with_warnings: bool) -> None:
        with self._lock:
            self._counts.stored += 1
            self._counts.stored_with_warnings += with_warnings

    def failed(self, status: int) -> None:
        with self._lock:
            self._counts.failed[status] += 1

    def snapshot(self) -> Counts:
        """Return the figures as they are now."""
        with self._lock:
            counts = self._counts
            return Counts(
                counts.connections,
                counts.associations,
                counts.associations_open,
                Counter(counts.rejected),
                counts.aborted,
                counts.stored,
                counts.stored_with_warnings,
                Counter(counts.failed),
                counts.bytes_received,
            )


def metrics(counts: Counts) -> Mapping[str, float]:
    """Return the figures by metric name with its labels, as `dicomsvc.service` reports them."""
    named: dict[str, float] = {
        "dicomsvc_dimse_connections_total": counts.connections,
        "dicomsvc_dimse_associations_total": counts.associations,
        "dicomsvc_dimse_associations_open": counts.associations_open,
        "dicomsvc_dimse_aborted_total": counts.aborted,
        "dicomsvc_dimse_stored_total": counts.stored,
        "dicomsvc_dimse_stored_with_warnings_total": counts.stored_with_warnings,
        "dicomsvc_dimse_received_bytes_total": counts.bytes_received,
    }
    for reason, count in counts.rejected.items():
        named[f'dicomsvc_dimse_rejected_total{{reason="{reason}"}}'] = count
    for status, count in counts.failed.items():
        named[f'dicomsvc_dimse_failed_total{{status="0x{status:04X}"}}'] = count
    return named
