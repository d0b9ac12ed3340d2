"""How a work item reaches a worker: procrastinate, on the same PostgreSQL and in our transactions.

One task, whose only argument is the work item's UID; one queue for each kind, so that a worker takes only what it can
do. A finished delivery's row is deleted: the work item is the record.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from procrastinate import App, PsycopgConnector, SyncPsycopgConnector
from procrastinate.sql import queries
from sqlalchemy import Connection, Engine, text

from dicomsvc.config import Settings
from dicomsvc.errors import ConfigurationError
from dicomsvc.jobs.items import Priority
from dicomsvc.store.database import database_errors

TASK = "dicomsvc:run_work_item"
_PRIORITIES = {Priority.HIGH: 1, Priority.MEDIUM: 0, Priority.LOW: -1}
# Opened never: it only writes through connections that it is handed.
_sender = App(connector=SyncPsycopgConnector())


def conninfo(settings: Settings) -> str:
    """Return the database's URL as libpq reads it."""
    if settings.database.url is None:
        raise ConfigurationError("database.url is not set and no embedded server was started")
    return settings.database.url.get_secret_value().replace("postgresql+psycopg://", "postgresql://", 1)


def receiver(settings: Settings) -> App:
    """Return a procrastinate application for a worker's event loop."""
    return App(connector=PsycopgConnector(conninfo=conninfo(settings), min_size=1, max_size=4, timeout=10))


def deliver(connection: Connection, uid: str, kind: str, priority: Priority) -> int:
    """Queue a work item in the connection's transaction and return the delivery's number."""
    task = _sender.configure_task(
        TASK,
        queue=kind,
        priority=_PRIORITIES[priority],
        connection=connection.connection.driver_connection,
    )
    return task.defer(uid=uid)


def reprioritise(connection: Connection, delivery: int, priority: Priority) -> None:
    """Give a delivery that waits another place in the queue."""
    connection.execute(
        text("UPDATE procrastinate_jobs SET priority = :priority WHERE id = :id AND status = 'todo'"),
        {"priority": _PRIORITIES[priority], "id": delivery},
    )


def recall(connection: Connection, delivery: int | None) -> bool:
    """Take a delivery back, or ask the worker that has it to stop; return whether no worker has it."""
    if delivery is None:
        return True
    _sender.job_manager.cancel_job_by_id(
        delivery, abort=True, delete_job=True, connection=connection.connection.driver_connection
    )
    found = connection.scalar(text("SELECT 1 FROM procrastinate_jobs WHERE id = :id"), {"id": delivery})
    return found is None


def living_workers(connection: Connection, seconds: float) -> int:
    """Return how many workers gave a sign of life within this time."""
    statement = text(
        "SELECT count(*) FROM procrastinate_workers WHERE last_heartbeat > now() - make_interval(secs => :seconds)"
    )
    return int(connection.execute(statement, {"seconds": seconds}).scalar_one())


_LOST = text(
    """
    SELECT job.id, job.args->>'uid' AS uid
      FROM procrastinate_jobs job LEFT JOIN procrastinate_workers worker ON worker.id = job.worker_id
     WHERE job.status = 'doing' AND job.task_name = :task
       AND (worker.id IS NULL OR worker.last_heartbeat < now() - make_interval(secs => :seconds))
       FOR UPDATE OF job SKIP LOCKED
    """
)


def recover(engine: Engine, stalled_seconds: float, settle: Callable[[Connection, str], bool]) -> list[str]:
    """Queue deliveries again whose workers gave no sign of life, and return the UIDs of their work items.

    Workers do this at the same time; the rows' locks give each delivery to one of them. ``settle`` says whether there
    is another attempt to make, and ends the work item when not.
    """
    with database_errors(), engine.begin() as connection:
        lost = connection.execute(_LOST, {"task": TASK, "seconds": stalled_seconds}).all()
        for row in lost:
            if settle(connection, row.uid):
                arguments = {"new_priority": None, "new_queue_name": None, "new_lock": None}
                _call(connection, "retry_job", job_id=row.id, retry_at=datetime.now(UTC), **arguments)
            else:
                _call(connection, "finish_job", job_id=row.id, status="failed", delete_job=True)
    return [row.uid for row in lost]


def _call(connection: Connection, query: str, **arguments: object) -> None:
    _sender.connector.get_sync_connector().execute_query_all_with_connection(
        connection.connection.driver_connection, query=queries[query], **arguments
    )
