"""Looking after the store: the index made again, instances deleted."""

import logging
import os
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine, func, select, text

from dicomsvc.dicom.part10 import parse_instance
from dicomsvc.errors import DicomsvcError
from dicomsvc.store import index
from dicomsvc.store.database import database_errors
from dicomsvc.store.digest import digest_file
from dicomsvc.store.instances import Instances
from dicomsvc.store.layout import Layout, file_key
from dicomsvc.store.recovery import settle
from dicomsvc.store.spool import SpoolArea
from dicomsvc.store.tables import audit, instance, study
from dicomsvc.store.verification import stored_files

_log = logging.getLogger(__name__)
Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Reindexing:
    """What `reindex` did: rows added, rows removed whose files are gone, files that could not be read."""

    files: int = 0
    added: int = 0
    removed: int = 0
    unreadable: list[str] = field(default_factory=list)


def reindex(
    layout: Layout,
    engine: Engine,
    *,
    rebuild: bool = False,
    max_header_bytes: int,
    progress: Progress = lambda done, total: None,
) -> Reindexing:
    """Make the index from the files: all of it with ``rebuild``, else only what is missing or has lost its file."""
    result = Reindexing()
    with database_errors(), engine.begin() as connection:
        if rebuild:
            connection.execute(text("TRUNCATE study, series, instance, instance_blob, verification"))
        known = set(connection.scalars(select(instance.c.file_key)))
    files = list(stored_files(layout))
    for path in files:
        result.files += 1
        if path.stem not in known:
            _index_file(engine, path, max_header_bytes, result, announce=not rebuild)
        progress(result.files, len(files))
    gone = known - {path.stem for path in files}
    with database_errors(), engine.begin() as connection:
        uids = connection.scalars(select(instance.c.sop_instance_uid).where(instance.c.file_key.in_(gone))).all()
        index.remove(connection, uids, kind="lost")
    result.removed = len(uids)
    return result


def _index_file(engine: Engine, path: Path, max_header_bytes: int, result: Reindexing, *, announce: bool) -> None:
    try:
        parsed = parse_instance(path, max_header_bytes=max_header_bytes)
    except DicomsvcError as error:
        _log.warning("%s is not indexed: %s", path.name, type(error).__name__)
        result.unreadable.append(path.name)
        return
    if file_key(parsed.sop_instance_uid) != path.stem:
        result.unreadable.append(path.name)
        return
    with database_errors(), engine.begin() as connection:
        index.lock_keys(connection, [path.stem])
        if connection.scalar(select(func.count()).select_from(instance).where(instance.c.file_key == path.stem)):
            return
        index.insert(
            connection,
            parsed,
            size=path.stat().st_size,
            sha256=digest_file(path),
            source="reindex",
            announce=announce,
        )
        result.added += 1


def delete(
    layout: Layout,
    engine: Engine,
    area: SpoolArea,
    who: str,
    study_instance_uid: str,
    series_instance_uid: str | None = None,
    sop_instance_uid: str | None = None,
) -> int:
    """Delete what is named, record who did it, and return the number of instances.

    Raises
    ------
    NotFound
        When there is nothing.
    """
    records = Instances(layout, engine).find(study_instance_uid, series_instance_uid, sop_instance_uid)
    doomed = []
    for record in records:
        second_name = area.folder / f"{record.path.stem}.{uuid.uuid4().hex}.part"
        if record.path.exists():
            os.link(record.path, second_name)
            doomed.append(second_name)
    with database_errors(), engine.begin() as connection:
        index.lock_keys(connection, [record.path.stem for record in records])
        connection.execute(
            audit.insert().values(
                who=who,
                action="delete",
                patient_id=select(study.c.patient_id)
                .where(study.c.study_instance_uid == study_instance_uid)
                .scalar_subquery(),
                study_instance_uid=study_instance_uid,
                series_instance_uid=series_instance_uid,
                sop_instance_uid=sop_instance_uid,
                detail={"instances": len(records), "classes": Counter(record.sop_class_uid for record in records)},
            )
        )
        index.remove(connection, [record.sop_instance_uid for record in records])
    for second_name in doomed:
        settle(layout, engine, second_name)
    return len(records)
