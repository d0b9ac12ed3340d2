"""Telling a collector: the trail is the spool, and how far the collector has been told is kept beside it."""

import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import BigInteger, Column, Connection, DateTime, Engine, Table, Text, func, select, text
from sqlalchemy.dialects.postgresql import insert

from dicomsvc.audit.syslog import Collector, frame
from dicomsvc.audit.trail import audit_event, audit_head, link_of
from dicomsvc.config import AuditSettings
from dicomsvc.store.database import database_errors
from dicomsvc.store.tables import metadata

_MESSAGES_AT_ONCE: Final = 200
# Only one process sends at a time, so that messages come in their order; the number is the lock's name.
_LOCK: Final = 0x41554454

audit_sent = Table(
    "audit_sent",
    metadata,
    Column("collector", Text, primary_key=True),
    Column("id", BigInteger, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)


class Sender:
    """Sends what the collector has not been told yet, in the trail's order; any number of processes may have one."""

    def __init__(self, engine: Engine, settings: AuditSettings) -> None:
        self._engine = engine
        self._collector = Collector(settings)
        self.sent = 0

    def send(self) -> int:
        """Send the next messages and return how many; 0 also while another process sends.

        A batch that broke off is sent again whole: a collector may see a message twice, but none is left out.

        Raises
        ------
        PeerFailure
            When the collector does not take them; they are sent again next time.
        OutOfResources
            When the database does not answer.
        """
        # No row is written before all is sent: a transaction that has written would hold back readers of changes.
        with database_errors(), self._engine.begin() as connection:
            if not connection.scalar(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _LOCK}):
                self._collector.close()
                return 0
            position = self._position(connection)
            rows = connection.execute(
                select(audit_event)
                .where(audit_event.c.id > position)
                .order_by(audit_event.c.id)
                .limit(_MESSAGES_AT_ONCE)
            ).all()
            if not rows:
                return 0
            host = socket.gethostname()
            self._collector.send([frame(link_of(row), host) for row in rows])
            values = {"id": rows[-1].id, "at": func.now()}
            statement = insert(audit_sent).values(collector=self._collector.address, **values)
            connection.execute(statement.on_conflict_do_update(index_elements=[audit_sent.c.collector], set_=values))
        self.sent += len(rows)
        return len(rows)

    def counters(self) -> Mapping[str, float]:
        """Return how far behind the collector is: messages, and the age in seconds of the oldest of them."""
        behind, age = unsent(self._engine, self._collector.address)
        return {
            "dicomsvc_audit_sent_total": self.sent,
            "dicomsvc_audit_unsent": behind,
            "dicomsvc_audit_unsent_seconds": age,
        }

    def close(self) -> None:
        self._collector.close()

    def _position(self, connection: Connection) -> int:
        return _position(connection, self._collector.address)


def unsent(engine: Engine, collector: str) -> tuple[int, float]:
    """Return how many messages a collector has not been told yet, and the age in seconds of the oldest of them."""
    with database_errors(), engine.connect() as connection:
        position = _position(connection, collector)
        behind = (connection.scalar(select(audit_head.c.id)) or 0) - position
        oldest = connection.scalar(
            select(audit_event.c.at).where(audit_event.c.id > position).order_by(audit_event.c.id).limit(1)
        )
    return behind, 0.0 if oldest is None else max(0.0, (datetime.now(UTC) - oldest).total_seconds())


def _position(connection: Connection, collector: str) -> int:
    sent = connection.scalar(select(audit_sent.c.id).where(audit_sent.c.collector == collector))
    pruned: int = connection.scalar(select(audit_head.c.pruned_id)) or 0
    return max(pruned, sent or 0)
