"""Stored instances by their UIDs: where the file is, its frame index, its metadata."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, Row, Select, select, text

from dicomsvc.dicom.frames import FrameIndex
from dicomsvc.dicom.json import Metadata
from dicomsvc.dicom.uids import TRANSFER_SYNTAXES
from dicomsvc.errors import DamagedFile, NotFound
from dicomsvc.store.blocks import Blocks
from dicomsvc.store.database import database_errors
from dicomsvc.store.layout import Layout
from dicomsvc.store.selection import Selected, Selection, select_instances
from dicomsvc.store.tables import instance, instance_blob, series, study, verification


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """One stored instance. ``size`` in bytes; ``path`` names an immutable Part 10 file."""

    key: int
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    number_of_frames: int
    size: int
    sha256: bytes
    damaged: bool
    path: Path

    def readable_path(self) -> Path:
        """Return the path.

        Raises
        ------
        DamagedFile
            When `verify` found that the file lost its bytes: it is never served.
        """
        if self.damaged:
            raise DamagedFile(f"the file of instance {self.sop_instance_uid} is damaged; restore it from a backup")
        return self.path


class Instances:
    """Look-ups by UID. Every method raises `OutOfResources` when the database does not answer."""

    def __init__(self, layout: Layout, engine: Engine) -> None:
        self._layout = layout
        self._engine = engine

    def find(
        self,
        study_instance_uid: str,
        series_instance_uid: str | None = None,
        sop_instance_uid: str | None = None,
    ) -> list[InstanceRecord]:
        """Return the instances below what is named, in a stable order (series, instance number, arrival).

        Raises
        ------
        NotFound
            When there are none.
        """
        statement = _records().where(study.c.study_instance_uid == study_instance_uid)
        if series_instance_uid is not None:
            statement = statement.where(series.c.series_instance_uid == series_instance_uid)
        if sop_instance_uid is not None:
            statement = statement.where(instance.c.sop_instance_uid == sop_instance_uid)
        statement = statement.order_by(series.c.series_number, series.c.id, instance.c.instance_number, instance.c.id)
        with database_errors(), self._engine.connect() as connection:
            found = [self._record(row) for row in connection.execute(statement)]
        if not found:
            named = sop_instance_uid or series_instance_uid or study_instance_uid
            raise NotFound(f"nothing is stored under {named}")
        return found

    def find_sop_instance(self, sop_instance_uid: str) -> InstanceRecord:
        """Return the instance with this UID, whatever study it is in.

        Raises
        ------
        NotFound
            When there is none.
        """
        with database_errors(), self._engine.connect() as connection:
            row = connection.execute(_records().where(instance.c.sop_instance_uid == sop_instance_uid)).one_or_none()
        if row is None:
            raise NotFound(f"nothing is stored under {sop_instance_uid}")
        return self._record(row)

    def find_sop_instances(self, sop_instance_uids: Sequence[str]) -> dict[str, InstanceRecord]:
        """Return those of the instances that are stored, by their UID."""
        statement = _records().where(instance.c.sop_instance_uid.in_(sop_instance_uids))
        with database_errors(), self._engine.connect() as connection:
            return {row.sop_instance_uid: self._record(row) for row in connection.execute(statement)}

    def select(self, selection: Selection) -> Selected:
        """Return the keys of what a selection names; see `select_instances`."""
        return select_instances(self._engine, selection)

    def read(self, keys: Sequence[int]) -> list[InstanceRecord]:
        """Return the records of these keys that are still there, in the order of the keys."""
        with database_errors(), self._engine.connect() as connection:
            rows = connection.execute(_records().where(instance.c.id.in_(keys)))
            found = {record.key: record for record in map(self._record, rows)}
        return [found[key] for key in keys if key in found]

    def find_series(self, series_instance_uid: str) -> str | None:
        """Return the Study Instance UID of a series, or None where nothing is stored under its UID."""
        statement = (
            select(study.c.study_instance_uid)
            .select_from(series.join(study, series.c.study_key == study.c.id))
            .where(series.c.series_instance_uid == series_instance_uid)
            .limit(1)
        )
        with database_errors(), self._engine.connect() as connection:
            return connection.scalar(statement)

    def transfer_syntaxes(self, sop_class_uids: Collection[str]) -> dict[str, list[str]]:
        """Return the transfer syntaxes in which instances of each SOP class are stored."""
        statement = text(
            "SELECT class, syntax FROM unnest(CAST(:classes AS text[])) AS class,"
            " unnest(CAST(:syntaxes AS text[])) AS syntax WHERE EXISTS (SELECT FROM instance"
            " WHERE instance.sop_class_uid = class AND instance.transfer_syntax_uid = syntax)"
        )
        values = {"classes": list(sop_class_uids), "syntaxes": list(TRANSFER_SYNTAXES)}
        found: dict[str, list[str]] = {}
        with database_errors(), self._engine.connect() as connection:
            for row in connection.execute(statement, values):
                found.setdefault(row[0], []).append(row[1])
        return found

    def frame_index(self, record: InstanceRecord) -> FrameIndex:
        """Return the frame index.

        Raises
        ------
        NotFound
            When the instance has no pixel data, or was deleted meanwhile.
        """
        with database_errors(), self._engine.connect() as connection:
            blob = connection.scalar(select(instance_blob.c.frames).where(instance_blob.c.instance_key == record.key))
        if blob is None:
            raise NotFound(f"instance {record.sop_instance_uid} has no pixel data")
        return FrameIndex.from_bytes(blob)

    def blocks(self, record: InstanceRecord) -> Blocks | None:
        """Return the checks of a file's blocks; None while it has not been read as a whole."""
        statement = select(verification.c.checks).where(verification.c.instance_key == record.key)
        with database_errors(), self._engine.connect() as connection:
            checks = connection.scalar(statement)
        return None if checks is None else Blocks(checks, record.size)

    def metadata(self, records: Sequence[InstanceRecord]) -> list[tuple[InstanceRecord, Metadata]]:
        """Return the records that are still there with their metadata, in the order given."""
        statement = select(instance_blob.c.instance_key, instance_blob.c.metadata).where(
            instance_blob.c.instance_key.in_([record.key for record in records])
        )
        with database_errors(), self._engine.connect() as connection:
            blobs = {row.instance_key: row.metadata for row in connection.execute(statement)}
        return [(record, Metadata.from_bytes(blobs[record.key])) for record in records if record.key in blobs]

    def _record(self, row: "Row[tuple[object, ...]]") -> InstanceRecord:
        return InstanceRecord(
            key=row.id,
            study_instance_uid=row.study_instance_uid,
            series_instance_uid=row.series_instance_uid,
            sop_instance_uid=row.sop_instance_uid,
            sop_class_uid=row.sop_class_uid,
            transfer_syntax_uid=row.transfer_syntax_uid,
            number_of_frames=row.number_of_frames,
            size=row.size,
            sha256=row.sha256,
            damaged=row.damaged,
            path=self._layout.instance_path(row.file_key),
        )


def _records() -> "Select[tuple[object, ...]]":
    return select(
        instance.c.id,
        study.c.study_instance_uid,
        series.c.series_instance_uid,
        instance.c.sop_instance_uid,
        instance.c.sop_class_uid,
        instance.c.transfer_syntax_uid,
        instance.c.number_of_frames,
        instance.c.size,
        instance.c.sha256,
        instance.c.damaged,
        instance.c.file_key,
    ).select_from(
        instance.join(series, instance.c.series_key == series.c.id).join(study, series.c.study_key == study.c.id)
    )
