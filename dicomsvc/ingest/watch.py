"""Watched folders: what settles there is imported, then moved to ``done/`` or ``failed/``.

Folders are looked through every few seconds, since network shares announce nothing. What is known lies in the database:
each entry has one work item at a time, found by an idempotency key made of its path. So restarts, and several watchers
of one folder, make no second import.
"""

import hashlib
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dicomsvc.config import IngestSettings
from dicomsvc.errors import DicomsvcError
from dicomsvc.ingest.imports import plan
from dicomsvc.ingest.recognise import companion, is_companion
from dicomsvc.ingest.requests import ImportOptions
from dicomsvc.jobs import Jobs, WorkItem

_log = logging.getLogger(__name__)
_DONE = "done"
_FAILED = "failed"
_UNFINISHED = (".part", ".tmp", ".crdownload", ".partial", ".filepart")
_REQUESTER = "watch folder"


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file or folder in a watched folder, with the folder that belongs to it; ``mark`` changes when they do."""

    path: Path
    companion: Path | None
    mark: str

    @property
    def key(self) -> str:
        return "watch:" + hashlib.sha256(os.fsencode(self.path)).hexdigest()

    @property
    def parts(self) -> list[Path]:
        return [self.path] if self.companion is None else [self.path, self.companion]


class Watch:
    """Watches the folders of ``settings.watch``; `look` is to be called every second or so."""

    def __init__(self, settings: IngestSettings, jobs: Jobs) -> None:
        self._folders = [folder.absolute() for folder in settings.watch]
        self._settle_seconds = settings.settle_seconds
        self._jobs = jobs
        self._seen: dict[Path, tuple[str, float]] = {}
        self._troubled: set[Path] = set()

    def look(self) -> None:
        """Look through all folders once. A folder that cannot be read is reported once and tried again."""
        for folder in self._folders:
            try:
                self._look_into(folder)
            except OSError as error:
                if folder not in self._troubled:
                    _log.warning("a watched folder cannot be used: %s", os.strerror(error.errno or 0))
                self._troubled.add(folder)
            except DicomsvcError as error:
                _log.warning("watched folder: %s", error)
            else:
                self._troubled.discard(folder)

    def _look_into(self, folder: Path) -> None:
        present = set()
        for entry in _entries(folder):
            present.add(entry.path)
            if self._settled(entry):
                self._take(folder, entry)
        for path in [path for path in self._seen if path.parent == folder and path not in present]:
            del self._seen[path]

    def _settled(self, entry: _Entry) -> bool:
        mark, since = self._seen.get(entry.path, ("", 0.0))
        if mark != entry.mark:
            self._seen[entry.path] = (entry.mark, time.monotonic())
            return False
        return time.monotonic() - since >= self._settle_seconds

    def _take(self, folder: Path, entry: _Entry) -> None:
        item = self._jobs.find_key(entry.key)
        if item is not None and item.inputs.get("mark") != entry.mark and item.final:
            # Of another file that had this name, or of this one before it changed.
            self._jobs.release_key(item.uid)
            item = None
        first = item or self._submit(entry)
        item = self._latest(first)
        made = self._jobs.get_all(item.outputs.get("work_items", ()))
        if item.final and all(each.final for each in made):
            self._move(folder, entry, [item, *made])
            self._jobs.release_key(first.uid)

    def _submit(self, entry: _Entry) -> WorkItem:
        kind, inputs = plan(entry.path, ImportOptions())
        item = self._jobs.create(kind, {**inputs, "mark": entry.mark}, _REQUESTER, key=entry.key)
        _log.info("work item %s (%s) for a new entry of a watched folder", item.uid, kind)
        return item

    def _latest(self, item: WorkItem) -> WorkItem:
        """Return the last retry of a work item."""
        while (again := self._jobs.find_key(f"retry:{item.uid}")) is not None:
            item = again
        return item

    def _move(self, folder: Path, entry: _Entry, items: list[WorkItem]) -> None:
        problems = [line for item in items for line in _problems(item)]
        target = folder / (_FAILED if problems else _DONE)
        target.mkdir(exist_ok=True)
        suffix = _free_suffix(target, entry)
        if problems:
            note = target / f"{_numbered(entry.path.name, suffix)}.error.txt"
            note.write_text("\n".join([*problems, *(f"work item {item.uid}" for item in items), ""]), encoding="utf-8")
        for part in entry.parts:
            try:
                part.rename(target / _numbered(part.name, suffix))
            except FileNotFoundError:
                # Another watcher was quicker.
                continue
        self._seen.pop(entry.path, None)


def _entries(folder: Path) -> Iterator[_Entry]:
    """Yield what may be imported: regular files and folders, without hidden, unfinished and companion ones."""
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith(".") or entry.name.lower().endswith(_UNFINISHED):
            continue
        if entry.is_dir(follow_symlinks=False):
            # The folder of a MIRAX slide waits for the slide's own file.
            if entry.name not in (_DONE, _FAILED) and not is_companion(path):
                yield _Entry(path, None, _mark(path))
        elif entry.is_file(follow_symlinks=False):
            beside = companion(path)
            yield _Entry(path, beside, _mark(path, *([beside] if beside else [])))


def _mark(*paths: Path) -> str:
    """Return a digest of names, sizes, times and inodes, which changes while something is being copied."""
    digest = hashlib.sha256()
    for path in paths:
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            try:
                status = file.lstat()
            except FileNotFoundError:
                continue
            digest.update(os.fsencode(file))
            digest.update(f"\0{status.st_size} {status.st_mtime_ns} {status.st_ino}\0".encode())
    return digest.hexdigest()


def _problems(item: WorkItem) -> list[str]:
    if item.failed:
        return [f"{item.error_kind}: {item.error}"]
    if not item.final or item.succeeded:
        return []
    failed = item.outputs.get("failed", [])
    return [f"{entry['file']}: {entry['error']}" for entry in failed] or ["cancelled"]


def _free_suffix(target: Path, entry: _Entry) -> int:
    number = 0
    while any((target / _numbered(part.name, number)).exists() for part in entry.parts):
        number += 1
    return number


def _numbered(name: str, number: int) -> str:
    if not number:
        return name
    stem, dot, suffix = name.partition(".")
    return f"{stem}-{number}{dot}{suffix}"
