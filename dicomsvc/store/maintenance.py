"""Looking after the store: digests checked, the index made again, instances deleted."""

import hashlib
import logging
import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from sqlalchemy import Engine, func, select, text, update

from dicomsvc.dicom.part10 import parse_instance
from dicomsvc.errors import DicomsvcError
from dicomsvc.store import index
from dicomsvc.store.database import database_errors
from dicomsvc.store.instances import InstanceRecord, Instances
from dicomsvc.store.layout import Layout, file_key
from dicomsvc.store.recovery import settle
from dicomsvc.store.spool import SpoolArea
from dicomsvc.store.tables import audit, instance, study

_log = logging.getLogger(__name__)
_PIECE = 4 << 20
Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Verification:
    """What `verify` found: counts, and names of what is wrong."""

    checked: int = 0
    damaged: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not (self.damaged or self.missing or self.orphans)


@dataclass(slots=True)
class Reindexing:
    """What `reindex` did: rows added, rows removed whose files are gone, files that could not be read."""

    files: int = 0
    added: int = 0
    removed: int = 0
    unreadable: list[str] = field(default_factory=list)


class Condition(StrEnum):
    """What has become of a stored instance's file."""

    SOUND = "sound"
    DAMAGED = "damaged"
    MISSING = "missing"


def digest_file(path: Path, each_piece: Callable[[], None] = lambda: None) -> bytes:
    """Return the SHA-256 of a file; ``each_piece`` is called after every 4 MB, and may raise to stop."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while piece := file.read(_PIECE):
            digest.update(piece)
            each_piece()
    return digest.digest()


def examine(engine: Engine, record: InstanceRecord, each_piece: Callable[[], None] = lambda: None) -> Condition:
    """Compare one instance's file with the digest taken when it came; mark it when it differs, as `verify` does."""
    if record.damaged:
        return Condition.DAMAGED
    try:
        condition = Condition.SOUND if digest_file(record.path, each_piece) == record.sha256 else Condition.DAMAGED
    except FileNotFoundError:
        condition = Condition.MISSING
    except OSError:
        condition = Condition.DAMAGED
    if condition is Condition.SOUND:
        return condition
    with database_errors(), engine.begin() as connection:
        # Under the key's lock, so that an instance being deleted right now is no finding.
        index.lock_keys(connection, [record.path.stem])
        marked = connection.execute(update(instance).where(instance.c.id == record.key).values(damaged=True))
    if not marked.rowcount:
        return Condition.MISSING
    _log.error("the file of instance %s is %s", record.sop_instance_uid, condition)
    return condition


def stored_files(layout: Layout) -> Iterator[Path]:
    """Return the files below ``instances/``."""
    for folder, _, names in os.walk(layout.instances):
        for name in names:
            yield Path(folder, name)


def verify(layout: Layout, engine: Engine, progress: Progress = lambda done, total: None) -> Verification:
    """Compare every file with the digest taken when it came; mark what differs, so that it is not served."""
    result = Verification()
    with database_errors(), engine.connect() as connection:
        rows = connection.execute(
            select(instance.c.sop_instance_uid, instance.c.file_key, instance.c.sha256).order_by(instance.c.id)
        ).all()
    keys = {row.file_key for row in rows}

    def state(row: "object") -> str:
        path = layout.instance_path(row.file_key)  # type: ignore[attr-defined]
        try:
            return "sound" if digest_file(path) == row.sha256 else "damaged"  # type: ignore[attr-defined]
        except FileNotFoundError:
            return "missing"
        except OSError:
            return "damaged"

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for row, found in zip(rows, pool.map(state, rows), strict=True):
            result.checked += 1
            if found == "damaged":
                result.damaged.append(row.sop_instance_uid)
            elif found == "missing" and _still_known(engine, row.file_key):
                result.missing.append(row.sop_instance_uid)
            progress(result.checked, len(rows))
    result.orphans = [
        path.name for path in stored_files(layout) if path.stem not in keys and not _still_known(engine, path.stem)
    ]
    _mark(engine, [*result.damaged, *result.missing])
    return result


def _still_known(engine: Engine, key: str) -> bool:
    """Ask under the key's lock, so that an instance being stored or deleted right now is no finding."""
    with database_errors(), engine.begin() as connection:
        index.lock_keys(connection, [key])
        return connection.scalar(select(instance.c.id).where(instance.c.file_key == key)) is not None


def mark_damaged(engine: Engine, sop_instance_uid: str) -> None:
    """Have an instance no longer served, since its file turned out to have lost its bytes."""
    with database_errors(), engine.begin() as connection:
        connection.execute(update(instance).where(instance.c.sop_instance_uid == sop_instance_uid).values(damaged=True))


def _mark(engine: Engine, damaged: list[str]) -> None:
    with database_errors(), engine.begin() as connection:
        connection.execute(
            update(instance)
            .where(instance.c.damaged | instance.c.sop_instance_uid.in_(damaged))
            .values(damaged=instance.c.sop_instance_uid.in_(damaged))
        )


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
            connection.execute(text("TRUNCATE study, series, instance, instance_blob"))
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
