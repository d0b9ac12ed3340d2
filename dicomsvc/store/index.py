"""Rows of the index: made from a parsed instance, removed with it."""

from collections.abc import Sequence

from sqlalchemy import Connection, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert as pg_insert

from dicomsvc.dicom.part10 import Instance
from dicomsvc.store.levels import Attributes, instance_columns, series_columns, split_by_level, study_columns
from dicomsvc.store.tables import change, instance, instance_blob, series, study


def insert(
    connection: Connection,
    parsed: Instance,
    *,
    key: str,
    size: int,
    sha256: bytes,
    source: str,
    announce: bool = True,
) -> None:
    """Add the rows of an instance, of its series and its study where they are new, and an entry of the change feed."""
    of_study, of_series, of_instance = split_by_level(parsed.attributes)
    study_key = _upsert_study(connection, parsed, of_study, of_series)
    series_key = _upsert_series(connection, study_key, parsed, of_series)
    instance_key = connection.execute(
        instance.insert()
        .values(
            series_key=series_key,
            sop_instance_uid=parsed.sop_instance_uid,
            sop_class_uid=parsed.sop_class_uid,
            transfer_syntax_uid=parsed.transfer_syntax_uid,
            number_of_frames=parsed.frames.number_of_frames if parsed.frames else 0,
            file_key=key,
            size=size,
            sha256=sha256,
            source=source,
            attributes=of_instance,
            **instance_columns(parsed.attributes),
        )
        .returning(instance.c.id)
    ).scalar_one()
    connection.execute(
        instance_blob.insert().values(
            instance_key=instance_key,
            metadata=parsed.metadata.to_bytes(),
            frames=parsed.frames.to_bytes() if parsed.frames else None,
        )
    )
    if announce:
        announce_change(
            connection,
            "stored",
            parsed.study_instance_uid,
            parsed.series_instance_uid,
            parsed.sop_instance_uid,
            parsed.sop_class_uid,
        )


def _upsert_study(connection: Connection, parsed: Instance, of_study: Attributes, of_series: Attributes) -> int:
    columns = study_columns(of_study)
    modality = series_columns(of_series)["modality"]
    statement = pg_insert(study).values(
        study_instance_uid=parsed.study_instance_uid,
        modalities=[modality] if modality else [],
        sop_classes=[parsed.sop_class_uid],
        attributes=of_study,
        **columns,
    )
    new = statement.excluded
    # What the first instance says stays; later ones fill gaps.
    key: int = connection.execute(
        statement.on_conflict_do_update(
            index_elements=[study.c.study_instance_uid],
            set_={
                **{name: func.coalesce(study.c[name], new[name]) for name in columns},
                "modalities": _union("modalities"),
                "sop_classes": _union("sop_classes"),
                "attributes": new.attributes.op("||")(study.c.attributes),
            },
        ).returning(study.c.id)
    ).scalar_one()
    return key


def _union(column: str) -> object:
    return text(
        f"CASE WHEN study.{column} @> excluded.{column} THEN study.{column} ELSE study.{column} || excluded.{column} END"
    )


def _upsert_series(connection: Connection, study_key: int, parsed: Instance, of_series: Attributes) -> int:
    columns = series_columns(of_series)
    statement = pg_insert(series).values(
        study_key=study_key,
        series_instance_uid=parsed.series_instance_uid,
        number_of_instances=1,
        attributes=of_series,
        **columns,
    )
    new = statement.excluded
    key: int = connection.execute(
        statement.on_conflict_do_update(
            index_elements=[series.c.study_key, series.c.series_instance_uid],
            set_={
                **{name: func.coalesce(series.c[name], new[name]) for name in columns},
                "number_of_instances": series.c.number_of_instances + 1,
                "attributes": new.attributes.op("||")(series.c.attributes),
            },
        ).returning(series.c.id)
    ).scalar_one()
    return key


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
    for row in rows:
        announce_change(
            connection,
            kind,
            row.study_instance_uid,
            row.series_instance_uid,
            row.sop_instance_uid,
            row.sop_class_uid,
        )
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


def announce_change(
    connection: Connection,
    kind: str,
    study_uid: str,
    series_uid: str,
    sop_instance_uid: str,
    sop_class_uid: str,
) -> None:
    connection.execute(
        change.insert().values(
            kind=kind,
            study_instance_uid=study_uid,
            series_instance_uid=series_uid,
            sop_instance_uid=sop_instance_uid,
            sop_class_uid=sop_class_uid,
        )
    )
