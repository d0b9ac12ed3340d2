"""Rows of the index: made from a parsed instance, removed with it."""

import json
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, select, text, update

from dicomsvc.dicom.part10 import Instance
from dicomsvc.store.layout import file_key
from dicomsvc.store.levels import instance_columns, series_columns, split_by_level, study_columns
from dicomsvc.store.tables import audit, change, instance, series, study, verification

# One round trip for all rows of an instance. What the first instance says of its study and series stays; later ones
# fill gaps.
_INSERT = text("""
WITH of_study AS (
  INSERT INTO study AS old (
    study_instance_uid, patient_id, patient_name, patient_birth_date, accession_number, study_id, study_date,
    study_time, study_description, referring_physician_name, modalities, sop_classes, attributes
  ) VALUES (
    :study_instance_uid, :patient_id, :patient_name, :patient_birth_date, :accession_number, :study_id, :study_date,
    :study_time, :study_description, :referring_physician_name, CAST(:modalities AS text[]),
    CAST(:sop_classes AS text[]), CAST(:study_attributes AS jsonb)
  )
  ON CONFLICT (study_instance_uid) DO UPDATE SET
    patient_id = coalesce(old.patient_id, excluded.patient_id),
    patient_name = coalesce(old.patient_name, excluded.patient_name),
    patient_birth_date = coalesce(old.patient_birth_date, excluded.patient_birth_date),
    accession_number = coalesce(old.accession_number, excluded.accession_number),
    study_id = coalesce(old.study_id, excluded.study_id),
    study_date = coalesce(old.study_date, excluded.study_date),
    study_time = coalesce(old.study_time, excluded.study_time),
    study_description = coalesce(old.study_description, excluded.study_description),
    referring_physician_name = coalesce(old.referring_physician_name, excluded.referring_physician_name),
    modalities = CASE WHEN old.modalities @> excluded.modalities
      THEN old.modalities ELSE old.modalities || excluded.modalities END,
    sop_classes = CASE WHEN old.sop_classes @> excluded.sop_classes
      THEN old.sop_classes ELSE old.sop_classes || excluded.sop_classes END,
    attributes = excluded.attributes || old.attributes
  RETURNING id
), of_series AS (
  INSERT INTO series AS old (
    study_key, series_instance_uid, modality, series_number, series_date, series_description, number_of_instances,
    attributes
  ) SELECT
    id, :series_instance_uid, :modality, :series_number, :series_date, :series_description, 1,
    CAST(:series_attributes AS jsonb) FROM of_study
  ON CONFLICT (study_key, series_instance_uid) DO UPDATE SET
    modality = coalesce(old.modality, excluded.modality),
    series_number = coalesce(old.series_number, excluded.series_number),
    series_date = coalesce(old.series_date, excluded.series_date),
    series_description = coalesce(old.series_description, excluded.series_description),
    number_of_instances = old.number_of_instances + 1,
    attributes = excluded.attributes || old.attributes
  RETURNING id
), of_instance AS (
  INSERT INTO instance (
    series_key, sop_instance_uid, sop_class_uid, transfer_syntax_uid, instance_number, container_identifier,
    number_of_frames, file_key, size, sha256, source, attributes
  ) SELECT
    id, :sop_instance_uid, :sop_class_uid, :transfer_syntax_uid, :instance_number, :container_identifier,
    :number_of_frames, :file_key, :size, :sha256, :source, CAST(:instance_attributes AS jsonb) FROM of_series
  RETURNING id
), of_verification AS (
  INSERT INTO verification (instance_key) SELECT id FROM of_instance
), of_feed AS (
  INSERT INTO change (
    kind, study_instance_uid, series_instance_uid, sop_instance_uid, sop_class_uid, source, sender
  ) SELECT
    'stored', :study_instance_uid, :series_instance_uid, :sop_instance_uid, :sop_class_uid, :source,
    coalesce(CAST(:who AS text), '') WHERE :announce
), of_trail AS (
  INSERT INTO audit (who, address, action, patient_id, study_instance_uid, sop_instance_uid, sop_class_uid, detail)
  SELECT :who, :address, 'stored', :patient_id, :study_instance_uid, :sop_instance_uid, :sop_class_uid,
    jsonb_build_object('source', CAST(:source AS text)) WHERE CAST(:who AS text) IS NOT NULL
)
INSERT INTO instance_blob (instance_key, metadata, frames) SELECT id, :metadata, :frames FROM of_instance
""")
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(key, 0)) FROM unnest(CAST(:keys AS text[])) AS key")
_KNOWN = text("SELECT sop_instance_uid, sha256, damaged FROM instance WHERE sop_instance_uid = ANY(:uids)")


def lock_keys(connection: Connection, keys: Sequence[str]) -> None:
    """Let only this transaction deal with these files' keys until it ends."""
    connection.execute(_LOCK, {"keys": sorted(set(keys))})


class Known(NamedTuple):
    """An instance that is stored: the SHA-256 it came with, and whether its file was found to have lost its bytes."""

    sha256: bytes
    damaged: bool = False


def known_instances(connection: Connection, sop_instance_uids: Sequence[str]) -> dict[str, Known]:
    """Return those instances that are stored."""
    rows = connection.execute(_KNOWN, {"uids": list(sop_instance_uids)})
    return {row.sop_instance_uid: Known(row.sha256, row.damaged) for row in rows}


def mark_sound(connection: Connection, sop_instance_uid: str) -> None:
    """Note that the file of an instance has its bytes again, having just come."""
    marked = (
        update(instance)
        .where(instance.c.sop_instance_uid == sop_instance_uid)
        .values(damaged=False)
        .returning(instance.c.id)
    )
    of_instance = verification.c.instance_key == connection.execute(marked).scalar_one()
    connection.execute(update(verification).where(of_instance).values(verified_at=func.clock_timestamp()))


def insert(
    connection: Connection,
    parsed: Instance,
    *,
    size: int,
    sha256: bytes,
    source: str,
    announce: bool = True,
    who: str | None = None,
    address: str = "",
) -> None:
    """Add the rows of an instance, of its series and its study where they are new, and an entry of the change feed.

    ``who`` stored it is noted for the audit trail, in the same transaction; None: nobody did.
    """
    of_study, of_series, of_instance = split_by_level(parsed.attributes)
    series_values = series_columns(of_series)
    connection.execute(
        _INSERT,
        {
            **study_columns(of_study),
            **series_values,
            **instance_columns(of_instance),
            "study_instance_uid": parsed.study_instance_uid,
            "series_instance_uid": parsed.series_instance_uid,
            "sop_instance_uid": parsed.sop_instance_uid,
            "sop_class_uid": parsed.sop_class_uid,
            "transfer_syntax_uid": parsed.transfer_syntax_uid,
            "modalities": [series_values["modality"]] if series_values["modality"] else [],
            "sop_classes": [parsed.sop_class_uid],
            "study_attributes": json.dumps(of_study),
            "series_attributes": json.dumps(of_series),
            "instance_attributes": json.dumps(of_instance),
            "number_of_frames": parsed.frames.number_of_frames if parsed.frames else 0,
            "file_key": file_key(parsed.sop_instance_uid),
            "announce": announce,
            "size": size,
            "sha256": sha256,
            "source": source,
            "who": who,
            "address": address,
            "metadata": parsed.metadata.to_bytes(),
            "frames": parsed.frames.to_bytes() if parsed.frames else None,
        },
    )


def note_duplicate(connection: Connection, parsed: Instance, *, source: str, who: str, address: str) -> None:
    """Note for the audit trail that somebody sent what was here already."""
    connection.execute(
        audit.insert().values(
            who=who,
            address=address,
            action="stored",
            patient_id=study_columns(split_by_level(parsed.attributes)[0])["patient_id"],
            study_instance_uid=parsed.study_instance_uid,
            sop_instance_uid=parsed.sop_instance_uid,
            sop_class_uid=parsed.sop_class_uid,
            detail={"source": source, "duplicate": True},
        )
    )


def remove(connection: Connection, sop_instance_uids: Sequence[str], *, kind: str = "deleted") -> None:
    """Remove instances, series and studies that become empty by it, and announce it in the change feed."""
    rows = connection.execute(
        select(
            study.c.id.label("study_key"),
            series.c.id.label("series_key"),
            instance.c.id.label("instance_key"),
            study.c.study_instance_uid,
            series.c.series_instance_uid,
            instance.c.sop_instance_uid,
            instance.c.sop_class_uid,
        )
        .select_from(
            instance.join(series, instance.c.series_key == series.c.id).join(study, series.c.study_key == study.c.id)
        )
        .where(instance.c.sop_instance_uid.in_(sop_instance_uids))
        .order_by(study.c.id)
        .with_for_update()
    ).all()
    if rows:
        uids = ("study_instance_uid", "series_instance_uid", "sop_instance_uid", "sop_class_uid")
        entries = [{"kind": kind, **{name: getattr(row, name) for name in uids}} for row in rows]
        connection.execute(change.insert(), entries)
    connection.execute(delete(instance).where(instance.c.id.in_([row.instance_key for row in rows])))
    for series_key in {row.series_key for row in rows}:
        _shrink_series(connection, series_key)
    for study_key in {row.study_key for row in rows}:
        _shrink_study(connection, study_key)


def _shrink_series(connection: Connection, series_key: int) -> None:
    left = connection.scalar(select(func.count()).select_from(instance).where(instance.c.series_key == series_key))
    if left:
        connection.execute(update(series).where(series.c.id == series_key).values(number_of_instances=left))
    else:
        connection.execute(delete(series).where(series.c.id == series_key))


def _shrink_study(connection: Connection, study_key: int) -> None:
    of_study = series.c.study_key == study_key
    modalities = connection.scalars(
        select(series.c.modality).where(of_study, series.c.modality.is_not(None)).distinct()
    )
    classes = connection.scalars(
        select(instance.c.sop_class_uid).join(series, instance.c.series_key == series.c.id).where(of_study).distinct()
    ).all()
    if classes:
        connection.execute(
            update(study).where(study.c.id == study_key).values(modalities=list(modalities), sop_classes=list(classes))
        )
    else:
        connection.execute(delete(study).where(study.c.id == study_key))
