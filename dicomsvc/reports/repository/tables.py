"""The tables of reports. Nothing of them can be made again from the store's files: a backup must hold them."""

from sqlalchemy import (
    BigInteger,
    Column,
    Computed,
    DateTime,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    Table,
    Text,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR

from dicomsvc.store.tables import metadata


def _at(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp())


# What all versions of a report share, and how it stands.
report = Table(
    "report",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("uid", Text, nullable=False, unique=True),
    Column("sender", Text, nullable=False),
    Column("report_id", Text, nullable=False),
    Column("placer_order_number", Text, nullable=False),
    Column("accession_number", Text, nullable=False),
    Column("patient_id", Text, nullable=False),
    Column("issuer_of_patient_id", Text, nullable=False),
    # The study that its sender named; the other one is that which it is linked to.
    Column("named_study_instance_uid", Text),
    Column("study_instance_uid", Text),
    Column("linked_by", Text),
    Column("held", Text),
    Column("version", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("review", Text, nullable=False),
    # The user who signed, and whom that user says to be.
    Column("signed_by", Text),
    Column("signed_name", Text),
    Column("signed_organisation", Text),
    Column("signed_at", DateTime(timezone=True)),
    # Goes up with every change, and is the entity tag.
    Column("revision", BigInteger, nullable=False),
    _at("received"),
    _at("updated"),
)

report_version = Table(
    "report_version",
    metadata,
    Column("report", BigInteger, ForeignKey("report.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("text", Text, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("source", Text, nullable=False),
    Column("status", Text, nullable=False),
    # As the sender gave it (ISO 8601): without a time zone where that was not said.
    Column("observed", Text),
    Column("control_id", Text, nullable=False),
    Column("message_key", Text, unique=True),
    _at("received"),
    Column("received_by", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("attempts", Integer, nullable=False),
    # The master form (`dicomsvc.reports.document`), as the software read it.
    Column("document", JSONB),
    Column("structured_at", DateTime(timezone=True)),
    Column("search", TSVECTOR, Computed("to_tsvector('pg_catalog.english', left(text, 100000))", persisted=True)),
    # Chinese characters and their pairs, by which an index finds any Chinese words.
    Column("bigrams", ARRAY(Text), nullable=False),
)

# The values of the current version: ``found`` as the software read it, ``holds`` as it stands after review.
report_value = Table(
    "report_value",
    metadata,
    Column("report", BigInteger, ForeignKey("report.id"), primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("field", Text, nullable=False),
    Column("part", Text),
    Column("value_text", Text),
    Column("value_number", Double),
    Column("status", Text, nullable=False),
    Column("assertion", Text, nullable=False),
    Column("review", Text, nullable=False),
    Column("found", JSONB(none_as_null=True)),
    Column("holds", JSONB, nullable=False),
)

# What people did, kept for ever.
report_review = Table(
    "report_review",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("report", BigInteger, ForeignKey("report.id"), nullable=False),
    Column("version", Integer, nullable=False),
    _at("at"),
    Column("who", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("ordinal", Integer),
    Column("field", Text),
    Column("old", JSONB(none_as_null=True)),
    Column("new", JSONB(none_as_null=True)),
    Column("comment", Text, nullable=False),
)

# DICOM objects that were made of a report.
report_object = Table(
    "report_object",
    metadata,
    Column("sop_instance_uid", Text, primary_key=True),
    Column("report", BigInteger, ForeignKey("report.id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("study_instance_uid", Text, nullable=False),
    Column("series_instance_uid", Text, nullable=False),
    _at("at"),
    Column("who", Text, nullable=False),
)
