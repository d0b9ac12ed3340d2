"""The tables of routing."""

from sqlalchemy import BigInteger, Boolean, Column, DateTime, ForeignKey, Integer, Table, Text, func

from dicomsvc.store.tables import metadata

routing_position = Table(
    "routing_position",
    metadata,
    Column("only_one", Boolean, primary_key=True, server_default="true"),
    Column("sequence", BigInteger, nullable=False),
)

routing_wait = Table(
    "routing_wait",
    metadata,
    Column("rule", Text, primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("study_instance_uid", Text, nullable=False),
    Column("series_instance_uid", Text, nullable=False),
    Column("sop_instance_uid", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("sender", Text, nullable=False),
)

routing_activity = Table(
    "routing_activity",
    metadata,
    Column("study_instance_uid", Text, primary_key=True),
    Column("series_instance_uid", Text, primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False),
    # None: all of it was made by this node.
    Column("at_from_elsewhere", DateTime(timezone=True)),
)

forward = Table(
    "forward",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("rule", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("destination", Text, nullable=False),
    Column("study_instance_uid", Text, nullable=False),
    Column("series_instance_uid", Text),
    Column("commitment", Boolean, nullable=False, server_default="false"),
    Column("state", Text, nullable=False, server_default="waiting"),
    Column("holds", Boolean, nullable=False, server_default="false"),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("orders", Integer, nullable=False, server_default="0"),
    Column("due", DateTime(timezone=True)),
    Column("reason", Text, nullable=False, server_default=""),
    Column("work_item", Text),
    Column("transaction_uid", Text),
    Column("created", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("since", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("started", DateTime(timezone=True)),
    Column("ended", DateTime(timezone=True)),
    Column("updated", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
)

forward_instance = Table(
    "forward_instance",
    metadata,
    Column("forward", BigInteger, ForeignKey("forward.id", ondelete="CASCADE"), primary_key=True),
    Column("sop_instance_uid", Text, primary_key=True),
    Column("sop_class_uid", Text, nullable=False),
    Column("series_instance_uid", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("state", Text, nullable=False, server_default="waiting"),
    Column("status", Integer),
    Column("note", Text, nullable=False, server_default=""),
    Column("answers", Integer, nullable=False, server_default="0"),
    Column("sent_as", Text),
    Column("at", DateTime(timezone=True)),
)
