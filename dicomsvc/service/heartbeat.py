"""Each process of a service says in the database that it lives, where it answers and what it counted.

So that one health page and one metrics page tell of all processes, on however many machines.
"""

import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, Column, DateTime, Engine, Integer, Table, Text, delete, func, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as pg_insert

from dicomsvc.errors import OutOfResources
from dicomsvc.store.database import database_errors
from dicomsvc.store.tables import metadata

_log = logging.getLogger(__name__)
PERIOD_SECONDS = 5
_FORGET_SECONDS = 60

process = Table(
    "process",
    metadata,
    Column("id", Text, primary_key=True),
    Column("role", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("address", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("resident_bytes", BigInteger, nullable=False),
    Column("counters", JSONB, nullable=False),
)


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """What a living process last said. ``counters`` by metric name with its labels."""

    role: str
    host: str
    pid: int
    address: str
    at: datetime
    resident_bytes: int
    counters: Mapping[str, float]


class Heartbeat:
    """Writes this process's row every few seconds from a thread of its own, until `stop`.

    ``address`` is where the process answers, or for one that answers nobody how it stands.
    """

    def __init__(
        self,
        engine: Engine,
        role: str,
        address: str | Callable[[], str],
        counters: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        self._engine = engine
        self._role = role
        self._address = address
        self._counters = counters
        self._id = uuid.uuid4().hex
        self._stopped = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def beat_now(self) -> None:
        """Say it at once, since something has changed."""
        self._wake.set()

    def stop(self) -> None:
        """End the thread and take the row out."""
        self._stopped = True
        self._wake.set()
        self._thread.join()
        try:
            with database_errors(), self._engine.begin() as connection:
                connection.execute(delete(process).where(process.c.id == self._id))
        except OutOfResources:
            _log.info("the database is gone before this process; its heartbeat row will expire")

    def _run(self) -> None:
        while True:
            try:
                self._beat()
            except OutOfResources as error:
                _log.warning("heartbeat: %s", error)
            self._wake.wait(PERIOD_SECONDS)
            if self._stopped:
                return
            self._wake.clear()

    def _beat(self) -> None:
        values = {
            "role": self._role,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "address": self._address if isinstance(self._address, str) else self._address(),
            "at": func.now(),
            "resident_bytes": resident_bytes(),
            "counters": dict(self._counters()),
        }
        statement = pg_insert(process).values(id=self._id, **values)
        with database_errors(), self._engine.begin() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=[process.c.id], set_=values))
            connection.execute(
                delete(process).where(process.c.at < func.now() - text(f"interval '{_FORGET_SECONDS} seconds'"))
            )


def living_processes(engine: Engine) -> list[ProcessStatus]:
    """Return the processes that were heard of within three periods."""
    fresh = func.now() - text(f"interval '{3 * PERIOD_SECONDS} seconds'")
    with database_errors(), engine.connect() as connection:
        rows = connection.execute(select(process).where(process.c.at > fresh).order_by(process.c.role, process.c.host))
        return [
            ProcessStatus(row.role, row.host, row.pid, row.address, row.at, row.resident_bytes, row.counters)
            for row in rows
        ]


def resident_bytes() -> int:
    """Return the memory that this process holds now."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - a fixed file of the kernel
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
