"""What waits for somebody, and how the stored files stand, as metrics made at each scrape.

Of the whole service, not of a process: they are there even when the process is not that should do the work.
"""

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric

from dicomsvc.audit.sending import unsent
from dicomsvc.errors import DicomsvcError
from dicomsvc.pacs.commitment.overview import counts as commitment_counts
from dicomsvc.reports.repository.search import counts as report_counts
from dicomsvc.routing.forwards import Forwards
from dicomsvc.store import Store
from dicomsvc.store.database import database_errors
from dicomsvc.store.verification import upkeep


def backlog_metrics(store: Store) -> Iterator[Metric]:
    """Yield the metrics; what the database does not tell now is left out."""
    for make in _SOURCES:
        try:
            metrics = list(make(store))
        except DicomsvcError:
            continue
        yield from metrics


def _files(store: Store) -> Iterator[Metric]:
    files = upkeep(store.engine)
    yield _gauge("dicomsvc_store_damaged_files", "Damaged or missing files, not served", files.damaged)
    yield _gauge("dicomsvc_store_unread_files", "Files not yet read again since they came", files.unread)
    yield _gauge(
        "dicomsvc_store_longest_unread_seconds",
        "Time for which the file was not read that was not for longest",
        files.longest_unread_seconds,
    )


def _reports(store: Store) -> Iterator[Metric]:
    reports = GaugeMetricFamily("dicomsvc_reports", "Pathology reports by how they stand", labels=["what"])
    with database_errors(), store.engine.connect() as connection:
        for name, count in report_counts(connection).items():
            reports.add_metric([name], count)
    yield reports


def _forwards(store: Store) -> Iterator[Metric]:
    forwards = GaugeMetricFamily("dicomsvc_forwards", "Forwards by how they stand", labels=["state"])
    for state, count in Forwards(store.engine).counts().items():
        forwards.add_metric([state], count)
    yield forwards


def _commitments(store: Store) -> Iterator[Metric]:
    commitments = GaugeMetricFamily(
        "dicomsvc_commitments", "Requests for storage commitment by how they stand", labels=["direction", "state"]
    )
    for (direction, state), count in commitment_counts(store.engine).items():
        commitments.add_metric([direction, state], count)
    yield commitments


def _audit(store: Store) -> Iterator[Metric]:
    collector = store.settings.audit.collector
    if collector is None:
        return
    messages, seconds = unsent(store.engine, collector)
    yield _gauge("dicomsvc_audit_unsent", "Audit messages that the collector has not been told yet", messages)
    yield _gauge("dicomsvc_audit_unsent_seconds", "Age of the oldest of them", seconds)


def _gauge(name: str, documentation: str, value: float) -> Metric:
    gauge = GaugeMetricFamily(name, documentation)
    gauge.add_metric([], value)
    return gauge


_SOURCES: Final[tuple[Callable[[Store], Iterator[Metric]], ...]] = (_files, _reports, _forwards, _commitments, _audit)
