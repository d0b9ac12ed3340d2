"""The change feed: what was stored and deleted, in an order that no reader can miss an entry of.

Sequence numbers are drawn before their transactions commit, so a reader that stops at the highest it sees could skip a
slower one. Hence only entries of transactions older than every running one are shown.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, select, text

from dicomsvc.store.database import database_errors
from dicomsvc.store.tables import change


@dataclass(frozen=True, slots=True)
class Change:
    sequence: int
    at: datetime
    kind: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    source: str = ""
    """Kind of the source of what was stored (`Source`)."""
    sender: str = ""
    """Who brought it; where ``source`` is ``dimse``, the calling Application Entity."""


def read_changes(engine: Engine, since: int = 0, limit: int = 1000) -> list[Change]:
    """Return up to ``limit`` entries after sequence number ``since``, oldest first."""
    statement = (
        select(change)
        .where(change.c.sequence > since)
        .where(text("transaction < pg_snapshot_xmin(pg_current_snapshot())::text::bigint"))
        .order_by(change.c.sequence)
        .limit(limit)
    )
    with database_errors(), engine.connect() as connection:
        return [
            Change(
                row.sequence,
                row.at,
                row.kind,
                row.study_instance_uid,
                row.series_instance_uid,
                row.sop_instance_uid,
                row.sop_class_uid,
                row.source,
                row.sender,
            )
            for row in connection.execute(statement)
        ]
