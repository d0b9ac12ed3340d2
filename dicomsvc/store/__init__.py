"""The store: only owner of files and index.

In come spooled Part 10 files through the one door (`Store.add`, `Store.add_all`); out go paths, frame indexes,
metadata, search results and the change feed. Files are the truth, the index is made from them. Rules: PS3.4 B
(storage), C.4 (matching).
"""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from sqlalchemy import text

from dicomsvc.config import Settings
from dicomsvc.errors import NotFound
from dicomsvc.store import findings, maintenance, recovery
from dicomsvc.store.changes import Change, read_changes
from dicomsvc.store.database import database_errors, make_engine, require_current_schema
from dicomsvc.store.door import Door, Source, Stored
from dicomsvc.store.findings import Condition, Subject
from dicomsvc.store.instances import InstanceRecord, Instances
from dicomsvc.store.layout import Layout
from dicomsvc.store.maintenance import Progress, Reindexing
from dicomsvc.store.selection import Selected, Selection
from dicomsvc.store.spool import SpoolArea, SpoolFile, free_bytes
from dicomsvc.store.verification import Reach, Verification, verify

__all__ = [
    "Change",
    "Condition",
    "InstanceRecord",
    "Instances",
    "Reach",
    "Selected",
    "Selection",
    "Source",
    "SpoolFile",
    "Store",
    "Stored",
]


class Store:
    """One process's access to the store; safe to use from several threads.

    ``settings.database.url`` must be set and the schema current.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.layout = Layout(settings.data.absolute())
        self.layout.create()
        self.engine = make_engine(settings.database)
        require_current_schema(self.engine)
        self._max_header_bytes = settings.store.max_header_mb << 20
        self._area = SpoolArea(
            self.layout.spool,
            reserve_bytes=settings.store.disk_reserve_mb << 20,
            max_bytes=int(settings.store.max_instance_gb * (1 << 30)),
        )
        self._door = Door(self.layout, self.engine, self._max_header_bytes)
        self.instances = Instances(self.layout, self.engine)

    def spool(self) -> SpoolFile:
        """Start a file on the store's own file system; see `SpoolFile`."""
        return self._area.open()

    def add(self, spooled: SpoolFile, source: Source, *, study_instance_uid: str | None = None) -> Stored:
        """Store one file; see `Door.add_all`."""
        return self.add_all([spooled], source, study_instance_uid=study_instance_uid)[0]

    def add_all(
        self, spooled: Sequence[SpoolFile], source: Source, *, study_instance_uid: str | None = None
    ) -> list[Stored]:
        """Store all files or none; see `Door.add_all`."""
        return self._door.add_all(spooled, source, study_instance_uid=study_instance_uid)

    def delete(
        self,
        who: str,
        study_instance_uid: str,
        series_instance_uid: str | None = None,
        sop_instance_uid: str | None = None,
    ) -> int:
        """Delete what is named and return the number of instances; see `maintenance.delete`."""
        return maintenance.delete(
            self.layout,
            self.engine,
            self._area,
            who,
            study_instance_uid,
            series_instance_uid,
            sop_instance_uid,
        )

    def changes(self, since: int = 0, limit: int = 1000) -> list[Change]:
        """Return entries of the change feed after ``since``; see `read_changes`."""
        return read_changes(self.engine, since, limit)

    def verify(
        self, progress: Callable[[Reach], None] = lambda reach: None, *, older_than_days: float = 0
    ) -> Verification:
        """Compare every file with its digest; see `verification.verify`."""
        return verify(self.layout, self.engine, progress, older_than_days=older_than_days)

    def examine(self, record: InstanceRecord, each_piece: Callable[[], None] = lambda: None) -> Condition:
        """Compare one instance's file with its digest; see `findings.examine`."""
        subject = Subject(record.key, record.sop_instance_uid, record.path, record.sha256, record.damaged)
        return findings.examine(self.engine, subject, lambda count: each_piece())

    def mark_damaged(self, sop_instance_uid: str) -> None:
        """Serve an instance no longer; see `findings.mark_damaged`."""
        findings.mark_damaged(self.engine, sop_instance_uid)

    def suspect(self, sop_instance_uid: str) -> None:
        """Have the file examined of which something has failed; a sound one is served as before."""
        try:
            record = self.instances.find_sop_instance(sop_instance_uid)
        except NotFound:
            return
        self.examine(record)

    def mark_open_damaged(self, record: InstanceRecord, descriptor: int) -> None:
        """Serve an instance no longer whose file is open; see `findings.mark_open_damaged`."""
        findings.mark_open_damaged(self.engine, record.sop_instance_uid, record.path, descriptor)

    def reindex(self, *, rebuild: bool = False, progress: Progress = lambda done, total: None) -> Reindexing:
        """Make the index from the files; see `maintenance.reindex`."""
        return maintenance.reindex(
            self.layout,
            self.engine,
            rebuild=rebuild,
            max_header_bytes=self._max_header_bytes,
            progress=progress,
        )

    def sweep(self) -> int:
        """Clean up after processes that are gone; see `recovery.sweep`."""
        return recovery.sweep(self.layout, self.engine)

    def settle_doubtful(self) -> int:
        """Settle this process's own files in doubt; see `recovery.settle_doubtful`."""
        return recovery.settle_doubtful(self.layout, self.engine, self._area)

    def free_bytes(self) -> int:
        """Return how much may still be written to the store's file system."""
        return free_bytes(self.layout.root)

    def ping(self) -> None:
        """Raise `OutOfResources` when the database does not answer."""
        with database_errors(), self.engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    def close(self) -> None:
        self._area.close()
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
