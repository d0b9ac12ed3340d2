"""The tables of the worklist. Nothing of them can be made again from the store's files: a backup must hold them."""

from sqlalchemy import BigInteger, Column, DateTime, Table, Text, func
from sqlalchemy.dialects.postgresql import JSONB

from dicomsvc.store.tables import metadata

worklist_entry = Table(
    "worklist_entry",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("uid", Text, nullable=False, unique=True),
    # These four name an entry; empty where nothing was said.
    Column("accession_number", Text, nullable=False),
    Column("placer_order_number", Text, nullable=False),
    Column("step_id", Text, nullable=False),
    Column("container_identifier", Text, nullable=False),
    Column("patient_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("start_date", Text, nullable=False),
    Column("start_time", Text, nullable=False),
    Column("content", JSONB, nullable=False),
    # DICOM JSON (PS3.18 F) of the worklist's item.
    Column("attributes", JSONB, nullable=False),
    Column("source", Text, nullable=False),
    Column("revision", BigInteger, nullable=False, server_default="1"),
    Column("created", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("updated", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("updated_by", Text, nullable=False),
)

# HL7 messages that were taken: the same one twice does nothing the second time.
worklist_message = Table(
    "worklist_message",
    metadata,
    Column("key", Text, primary_key=True),
    Column("received", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
)
