"""The one door: whatever way an instance comes, it enters here.

An instance is acknowledged only after its file is durable (fsync), in place (hard link, fsync of the folder) and in the
index (commit). A crash between any two steps leaves the file's spool name behind, by which
`dicomsvc.store.recovery` finds and undoes what was not committed.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from dicomsvc.dicom.part10 import Instance, parse_instance
from dicomsvc.errors import DicomsvcError, DuplicateInstance, OtherStudy, OutOfResources
from dicomsvc.store import index
from dicomsvc.store.database import database_errors
from dicomsvc.store.layout import Layout, file_key, make_durable_folder, sync_folder
from dicomsvc.store.quarantine import quarantine_conflict
from dicomsvc.store.recovery import withdraw
from dicomsvc.store.sameness import same_instance
from dicomsvc.store.spool import SpoolFile


@dataclass(frozen=True, slots=True)
class Source:
    """Where an instance came from: ``dimse``, ``stow``, ``import``, ``conversion``, …; by whom; from which address."""

    kind: str
    who: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """An instance that is durable. ``duplicate``: the same bytes were here before. ``warnings``: faults it has."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    warnings: tuple[str, ...] = ()
    duplicate: bool = False


class Door:
    """Takes spooled files into the store."""

    def __init__(self, layout: Layout, engine: Engine, max_header_bytes: int) -> None:
        self._layout = layout
        self._engine = engine
        self._max_header_bytes = max_header_bytes

    def add_all(
        self, spooled: Sequence[SpoolFile], source: Source, *, study_instance_uid: str | None = None
    ) -> list[Stored]:
        """Store all of the files or none; each is durable when this returns.

        Raises
        ------
        NotParseable, InvalidInstance, UnsupportedInstance
            When a file cannot be kept.
        OtherStudy
            When ``study_instance_uid`` is given and a file belongs to another one.
        DuplicateInstance
            When another instance is here under the same SOP Instance UID; the new one goes to quarantine.
        OutOfResources
            When disk or database refuse.
        """
        parsed = [self._parse(file, study_instance_uid) for file in spooled]
        for file in spooled:
            file.sync()
        # Rows are locked in one order by everybody, so that two senders never wait for each other.
        entries = sorted(
            zip(spooled, parsed, strict=True),
            key=lambda entry: (entry[1].study_instance_uid, entry[1].sop_instance_uid),
        )
        try:
            stored = self._commit(entries, source)
        except _Conflict as conflict:
            raise self._quarantine(conflict, source) from None
        for file in spooled:
            file.in_doubt = False
        return [stored[instance.sop_instance_uid] for instance in parsed]

    def _parse(self, file: SpoolFile, study_instance_uid: str | None) -> Instance:
        instance = parse_instance(file.path, max_header_bytes=self._max_header_bytes)
        if study_instance_uid is not None and instance.study_instance_uid != study_instance_uid:
            raise OtherStudy(f"instance {instance.sop_instance_uid} belongs to another study than the one asked for")
        return instance

    def _commit(self, entries: Sequence[tuple[SpoolFile, Instance]], source: Source) -> dict[str, Stored]:
        placed: list[SpoolFile] = []
        try:
            with database_errors(), self._engine.begin() as connection:
                return self._enter(connection, entries, source, placed)
        except (DicomsvcError, SQLAlchemyError, OSError, _Conflict) as error:
            self._undo(placed)
            if isinstance(error, OSError):
                raise OutOfResources(f"the file could not be stored: {os.strerror(error.errno or 0)}") from error
            raise

    def _enter(
        self,
        connection: Connection,
        entries: Sequence[tuple[SpoolFile, Instance]],
        source: Source,
        placed: list[SpoolFile],
    ) -> dict[str, Stored]:
        index.lock_keys(connection, [file_key(instance.sop_instance_uid) for _, instance in entries])
        known = index.known_instances(connection, [instance.sop_instance_uid for _, instance in entries])
        stored = {}
        folders = set()
        for file, instance in entries:
            uid = instance.sop_instance_uid
            if uid in known:
                if known[uid].sha256 != file.digest():
                    if not self._same_as_stored(file, instance):
                        raise _Conflict(file, instance)
                elif known[uid].damaged:
                    folders.add(self._restore(file, file_key(uid)))
                    index.mark_sound(connection, uid)
                index.note_duplicate(
                    connection, instance, source=source.kind, who=source.who or source.kind, address=source.address
                )
                stored[uid] = _stored(instance, duplicate=True)
                continue
            placed.append(file)
            folders.add(self._place(file, file_key(uid)))
            index.insert(
                connection,
                instance,
                size=file.size,
                sha256=file.digest(),
                source=source.kind,
                who=source.who or source.kind,
                address=source.address,
            )
            known[uid] = index.Known(file.digest())
            stored[uid] = _stored(instance)
        for folder in folders:
            sync_folder(folder)
        return stored

    def _place(self, file: SpoolFile, key: str) -> Path:
        target = self._layout.instance_path(key)
        make_durable_folder(target.parent)
        if not file.path.name.startswith(key):
            file.rename(f"{key}.{file.path.name}")
        # The key is locked and has no row: what lies there was never acknowledged.
        target.unlink(missing_ok=True)
        os.link(file.path, target)
        return target.parent

    def _restore(self, file: SpoolFile, key: str) -> Path:
        """Put the file in the place of the one that lost its bytes."""
        target = self._layout.instance_path(key)
        make_durable_folder(target.parent)
        # Not of the form that says whose second name it is: this one is in nobody's doubt.
        second_name = file.path.with_name(f"restored-{file.path.name}")
        os.link(file.path, second_name)
        second_name.rename(target)
        return target.parent

    def _undo(self, placed: Sequence[SpoolFile]) -> None:
        for file in placed:
            try:
                withdraw(self._layout, self._engine, file.path)
                file.in_doubt = False
            except OutOfResources:
                # Whether the commit came about is not known; the sweep will ask when the database answers again.
                file.in_doubt = True

    def _same_as_stored(self, file: SpoolFile, instance: Instance) -> bool:
        stored = self._layout.instance_path(file_key(instance.sop_instance_uid))
        try:
            known = parse_instance(stored, max_header_bytes=self._max_header_bytes)
            return same_instance(instance, file.path, known, stored)
        except (DicomsvcError, OSError):
            # The stored file is damaged or gone: `verify` will tell; what came now is not taken for it.
            return False

    def _quarantine(self, conflict: "_Conflict", source: Source) -> DuplicateInstance:
        instance = conflict.instance
        quarantine_conflict(self._layout, self._engine, conflict.file, instance, source.who or source.kind)
        return DuplicateInstance(
            f"other content is stored under SOP Instance UID {instance.sop_instance_uid}; the new one is in quarantine"
        )


class _Conflict(Exception):
    """Another instance is stored under the UID; said only once the transaction has ended."""

    def __init__(self, file: SpoolFile, instance: Instance) -> None:
        super().__init__(instance.sop_instance_uid)
        self.file = file
        self.instance = instance


def _stored(instance: Instance, *, duplicate: bool = False) -> Stored:
    return Stored(
        sop_class_uid=instance.sop_class_uid,
        sop_instance_uid=instance.sop_instance_uid,
        study_instance_uid=instance.study_instance_uid,
        series_instance_uid=instance.series_instance_uid,
        warnings=instance.warnings,
        duplicate=duplicate,
    )
