"""The table of work items."""

from sqlalchemy import ARRAY, BigInteger, Boolean, Column, DateTime, Integer, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from dicomsvc.store.tables import metadata

work_item = Table(
    "work_item",
    metadata,
    Column("uid", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("priority", Text, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("idempotency_key", Text, unique=True),
    Column("retry_of", Text),
    Column("inputs", JSONB, nullable=False),
    Column("outputs", JSONB, nullable=False),
    Column("progress_done", BigInteger, nullable=False),
    Column("progress_total", BigInteger, nullable=False),
    Column("progress_text", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("error", Text),
    Column("error_kind", Text),
    Column("log", ARRAY(Text), nullable=False),
    Column("cancellation_requested", Boolean, nullable=False),
    Column("worker", Text),
    Column("delivery", BigInteger),
    Column("created", DateTime(timezone=True), nullable=False),
    Column("started", DateTime(timezone=True)),
    Column("ended", DateTime(timezone=True)),
    Column("updated", DateTime(timezone=True), nullable=False),
)
