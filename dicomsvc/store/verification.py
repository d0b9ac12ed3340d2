"""Reading the whole store: every file is compared with the digest taken when it came."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, Row, TextClause, select, text

from dicomsvc.errors import OutOfResources
from dicomsvc.store import index
from dicomsvc.store.database import database_errors
from dicomsvc.store.findings import Condition, Finding, Subject, look_at, settle
from dicomsvc.store.layout import Layout
from dicomsvc.store.tables import instance

_AT_ONCE: Final = 500
_SETTLE_SECONDS: Final = 5.0
_AHEAD: Final = 4


@dataclass(slots=True)
class Verification:
    """What `verify` found: counts, and names of what is wrong."""

    checked: int = 0
    bytes: int = 0
    damaged: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not (self.damaged or self.missing or self.orphans)


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a verification is: files and bytes read, of how many."""

    files: int
    all_files: int
    bytes: int
    all_bytes: int


def verify(
    layout: Layout,
    engine: Engine,
    progress: Callable[[Reach], None] = lambda reach: None,
    *,
    older_than_days: float = 0,
) -> Verification:
    """Compare every file that was not read for so long, or is damaged, with its digest, and settle what is found.

    Findings are kept while it goes on: what was read before it was stopped need not be read again.

    Raises
    ------
    OutOfResources
        When the database or the store's file system is not there.
    """
    result = Verification()
    seconds = older_than_days * 86400
    meter = _Meter(progress, *_extent(engine, seconds))
    if meter.all_files:
        require_files(layout)
    found = _looked_at(_subjects(layout, engine, seconds), meter)
    for findings in _batches(found, seconds=_SETTLE_SECONDS):
        result.checked += len(findings)
        for finding in settle(engine, findings):
            names = result.damaged if finding.condition is Condition.DAMAGED else result.missing
            names.append(finding.subject.sop_instance_uid)
    result.bytes = meter.bytes
    result.orphans = sorted(_orphans(layout, engine))
    return result


def require_files(layout: Layout) -> None:
    """Make sure that the store's file system is there, before the files of an empty folder are called missing.

    Raises
    ------
    OutOfResources
        When there is no file, or the folder cannot be read.
    """
    try:
        if any(layout.instances.iterdir()):
            return
    except OSError as error:
        raise OutOfResources(f"the folder of instances cannot be read: {error.strerror}") from error
    raise OutOfResources("the folder of instances is empty, but the index is not; is the store's file system mounted?")


def stored_files(layout: Layout) -> Iterator[Path]:
    """Return the files below ``instances/``."""
    for folder, _, names in os.walk(layout.instances):
        for name in names:
            yield Path(folder, name)


class _Stopped(Exception):
    """Nobody waits for the findings any more."""


class _Meter:
    """Counts what several threads read."""

    def __init__(self, progress: Callable[[Reach], None], all_files: int, all_bytes: int) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self.all_files, self.all_bytes = all_files, all_bytes
        self.files = self.bytes = 0
        self.stopped = False

    def read(self, count: int) -> None:
        if self.stopped:
            raise _Stopped
        with self._lock:
            self.bytes += count
            self._tell()

    def file_done(self) -> None:
        with self._lock:
            self.files += 1
            self._tell()

    def _tell(self) -> None:
        self._progress(Reach(self.files, self.all_files, self.bytes, self.all_bytes))


def _looked_at(subjects: Iterable[Subject], meter: _Meter) -> Iterator[Finding]:
    """Yield findings in the order of their subjects, read in several threads, a few files ahead."""
    threads = os.cpu_count() or 1
    waiting: deque[Future[Finding]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for subject in subjects:
                waiting.append(pool.submit(look_at, subject, meter.read))
                if len(waiting) > _AHEAD * threads:
                    yield waiting.popleft().result()
                    meter.file_done()
            while waiting:
                yield waiting.popleft().result()
                meter.file_done()
        finally:
            meter.stopped = True
            pool.shutdown(cancel_futures=True)


def _batches(findings: Iterator[Finding], *, seconds: float) -> Iterator[list[Finding]]:
    batch: list[Finding] = []
    due = time.monotonic() + seconds
    for finding in findings:
        batch.append(finding)
        if len(batch) == _AT_ONCE or time.monotonic() > due:
            yield batch
            batch, due = [], time.monotonic() + seconds
    yield batch


_EXTENT = text(
    "SELECT count(*), CAST(coalesce(sum(size), 0) AS bigint) FROM instance JOIN verification ON instance_key = id"
    " WHERE damaged OR verified_at <= clock_timestamp() - make_interval(secs => :seconds)"
)
_SUBJECTS: Final = (
    "SELECT id, sop_instance_uid, file_key, sha256, damaged, checks IS NOT NULL AS has_checks"
    " FROM instance JOIN verification ON instance_key = id WHERE "
)
_BY_KEY = text(
    _SUBJECTS + "id > :after AND (damaged OR verified_at <= clock_timestamp() - make_interval(secs => :seconds))"
    " ORDER BY id LIMIT :limit"
)
_BY_AGE = text(
    _SUBJECTS + "verified_at <= clock_timestamp() - make_interval(secs => :seconds) ORDER BY verified_at LIMIT :limit"
)
_NEVER_READ = text(
    _SUBJECTS + "checks IS NULL AND NOT damaged AND verified_at <= clock_timestamp() - make_interval(secs => :seconds)"
    " ORDER BY instance_key LIMIT :limit"
)


def _extent(engine: Engine, seconds: float) -> tuple[int, int]:
    with database_errors(), engine.connect() as connection:
        files, size = connection.execute(_EXTENT, {"seconds": seconds}).one()
    return files, size


def _subjects(layout: Layout, engine: Engine, seconds: float) -> Iterator[Subject]:
    after = 0
    while True:
        values = {"after": after, "seconds": seconds, "limit": _AT_ONCE}
        with database_errors(), engine.connect() as connection:
            rows = connection.execute(_BY_KEY, values).all()
        if not rows:
            return
        after = rows[-1].id
        for row in rows:
            yield _subject(layout, row)


def longest_unread(layout: Layout, engine: Engine, *, seconds: float, limit: int) -> list[Subject]:
    """Return files that were not read for so long, first those that were not for longest."""
    return _due(layout, engine, _BY_AGE, seconds, limit)


def never_read(layout: Layout, engine: Engine, *, seconds: float, limit: int) -> list[Subject]:
    """Return files that came so long ago and have not been read as a whole yet; damaged ones not."""
    return _due(layout, engine, _NEVER_READ, seconds, limit)


def _due(layout: Layout, engine: Engine, statement: TextClause, seconds: float, limit: int) -> list[Subject]:
    with database_errors(), engine.connect() as connection:
        rows = connection.execute(statement, {"seconds": seconds, "limit": limit}).all()
    return [_subject(layout, row) for row in rows]


def _subject(layout: Layout, row: "Row[Any]") -> Subject:
    path = layout.instance_path(row.file_key)
    return Subject(row.id, row.sop_instance_uid, path, row.sha256, row.damaged, row.has_checks)


def _orphans(layout: Layout, engine: Engine) -> Iterator[str]:
    files = stored_files(layout)
    while paths := list(islice(files, _AT_ONCE)):
        names = {path.stem: path.name for path in paths}
        with database_errors(), engine.connect() as connection:
            known = set(connection.scalars(select(instance.c.file_key).where(instance.c.file_key.in_(names))))
        for key, name in names.items():
            if key not in known and not _is_known(engine, key):
                yield name


def _is_known(engine: Engine, key: str) -> bool:
    """Ask under the key's lock, so that an instance being stored or deleted right now is no finding."""
    with database_errors(), engine.begin() as connection:
        index.lock_keys(connection, [key])
        return connection.scalar(select(instance.c.id).where(instance.c.file_key == key)) is not None


@dataclass(frozen=True, slots=True)
class Upkeep:
    """How the stored files stand.

    Parameters
    ----------
    damaged
        Instances that are not served, because their files are damaged or missing.
    unread
        Files that have not been read as a whole since they came.
    longest_unread_seconds
        For how long the file was not read that was not for longest.
    """

    damaged: int
    unread: int
    longest_unread_seconds: float


def upkeep(engine: Engine) -> Upkeep:
    """Return how the stored files stand now."""
    with database_errors(), engine.connect() as connection:
        return Upkeep(*connection.execute(_UPKEEP).one())


_UPKEEP = text(
    "SELECT (SELECT count(*) FROM instance WHERE damaged), (SELECT count(*) FROM verification WHERE checks IS NULL),"
    " CAST(coalesce((SELECT extract(epoch FROM clock_timestamp() - min(verified_at)) FROM verification), 0) AS float8)"
)
