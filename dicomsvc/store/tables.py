"""The index: what of the files is looked for and served often.

All of it but `audit`, where deeds are noted until they join the audit trail (`dicomsvc.audit`), can be made again from
the files (`dicomsvc reindex`). ``attributes`` columns hold the DICOM JSON
(PS3.18 F) of the elements of that level. Columns beside them are there for matching and sorting: text as it stands in
the element (PN: all component groups, upper case), dates ``YYYYMMDD``, times ``HHMMSS.FFFFFF``.
"""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()


def _now() -> Column[object]:
    return Column("stored_at", DateTime(timezone=True), nullable=False, server_default=func.now())


study = Table(
    "study",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("study_instance_uid", Text, nullable=False, unique=True),
    Column("patient_id", Text),
    Column("patient_name", Text),
    Column("patient_birth_date", Text),
    Column("accession_number", Text),
    Column("study_id", Text),
    Column("study_date", Text),
    Column("study_time", Text),
    Column("study_description", Text),
    Column("referring_physician_name", Text),
    Column("modalities", ARRAY(Text), nullable=False),
    Column("sop_classes", ARRAY(Text), nullable=False),
    Column("attributes", JSONB, nullable=False),
    _now(),
)

series = Table(
    "series",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("study_key", BigInteger, ForeignKey("study.id"), nullable=False),
    Column("series_instance_uid", Text, nullable=False),
    Column("modality", Text),
    Column("series_number", BigInteger),
    Column("series_date", Text),
    Column("series_description", Text),
    Column("number_of_instances", Integer, nullable=False),
    Column("attributes", JSONB, nullable=False),
    _now(),
    UniqueConstraint("study_key", "series_instance_uid"),
)

instance = Table(
    "instance",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("series_key", BigInteger, ForeignKey("series.id"), nullable=False),
    Column("sop_instance_uid", Text, nullable=False, unique=True),
    Column("sop_class_uid", Text, nullable=False),
    Column("transfer_syntax_uid", Text, nullable=False),
    Column("instance_number", BigInteger),
    Column("container_identifier", Text),
    Column("number_of_frames", BigInteger, nullable=False),
    Column("file_key", Text, nullable=False, unique=True),
    Column("size", BigInteger, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("damaged", Boolean, nullable=False, server_default="false"),
    Column("source", Text, nullable=False),
    Column("attributes", JSONB, nullable=False),
    _now(),
)

instance_blob = Table(
    "instance_blob",
    metadata,
    Column("instance_key", BigInteger, ForeignKey("instance.id", ondelete="CASCADE"), primary_key=True),
    Column("metadata", LargeBinary, nullable=False),
    Column("frames", LargeBinary),
)

verification = Table(
    "verification",
    metadata,
    Column("instance_key", BigInteger, ForeignKey("instance.id", ondelete="CASCADE"), primary_key=True),
    Column("verified_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("checks", LargeBinary),
)

change = Table(
    "change",
    metadata,
    Column("sequence", BigInteger, primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("transaction", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("study_instance_uid", Text, nullable=False),
    Column("series_instance_uid", Text, nullable=False),
    Column("sop_instance_uid", Text, nullable=False),
    Column("sop_class_uid", Text, nullable=False),
    # Of what was stored: kind of its source, and who brought it (an Application Entity where the source is ``dimse``).
    Column("source", Text, nullable=False, server_default=""),
    Column("sender", Text, nullable=False, server_default=""),
)

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("who", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("study_instance_uid", Text),
    Column("series_instance_uid", Text),
    Column("sop_instance_uid", Text),
    Column("detail", JSONB, nullable=False, server_default="{}"),
    Column("address", Text),
    Column("patient_id", Text),
    Column("sop_class_uid", Text),
    Column("outcome", SmallInteger, nullable=False, server_default="0"),
)
