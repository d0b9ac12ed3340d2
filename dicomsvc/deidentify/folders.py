"""Objects out of the store, or plain files, into a folder with a list of what is in it.

Files are named by their UIDs, ``STUDY/SERIES/INSTANCE.dcm``; ``manifest.json`` lists them. Of de-identified objects
neither names the UIDs that they had before.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from dicomsvc.deidentify.admission import Verdict
from dicomsvc.deidentify.deidentifier import Deidentified, Deidentifier
from dicomsvc.dicom.part10 import parse_instance
from dicomsvc.errors import BadRequest, DicomsvcError, OutOfResources
from dicomsvc.store.digest import require_digest

MANIFEST: Final = "manifest.json"
_DRAFT: Final = ".draft.dcm"
_CHUNK: Final = 1 << 20
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ExportSource:
    """A Part 10 file, how messages name it, and the SHA-256 that it must have where that is known."""

    name: str
    path: Path
    sha256: bytes | None = None


@dataclass(frozen=True, slots=True)
class Exported:
    """One file of the folder; ``file`` is its path below the folder."""

    file: str
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    size: int
    sha256: str


@dataclass(slots=True)
class Export:
    """What an export made, and what it did not: the sources with the reason."""

    files: list[Exported] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)


def export_files(
    sources: Sequence[ExportSource],
    folder: Path,
    deidentifier: Deidentifier | None,
    progress: Progress = lambda done, total: None,
) -> Export:
    """Write each source into an empty or new folder.

    An object that cannot be read is named among the failed ones; the others go on.

    Raises
    ------
    BadRequest
        When the folder holds something.
    OutOfResources
        When it cannot be written.
    """
    _make(folder)
    export = Export()
    try:
        for number, source in enumerate(sources):
            progress(number, len(sources))
            _export(source, folder, deidentifier, export)
    finally:
        (folder / _DRAFT).unlink(missing_ok=True)
    progress(len(sources), len(sources))
    _write_manifest(folder, export, deidentifier)
    return export


def _export(source: ExportSource, folder: Path, deidentifier: Deidentifier | None, export: Export) -> None:
    path = source.path
    try:
        _check(source)
        written = _copied(path, folder) if deidentifier is None else _deidentified(path, folder, deidentifier)
    except OutOfResources:
        raise
    except (DicomsvcError, OSError) as error:
        reason = error.message if isinstance(error, DicomsvcError) else "the file cannot be read"
        export.failed.append((source.name, reason))
        return
    if written is not None:
        export.files.append(written)
    elif deidentifier is not None:
        export.left_out.append((source.name, deidentifier.judge(path).reason))


def _check(source: ExportSource) -> None:
    if source.sha256 is None:
        return
    require_digest(source.path, source.sha256)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise BadRequest(f"{folder} is not empty; name a new folder")
    except OSError as error:
        raise OutOfResources(f"{folder} cannot be made: {os.strerror(error.errno or 0)}") from None


def _deidentified(path: Path, folder: Path, deidentifier: Deidentifier) -> Exported | None:
    if deidentifier.judge(path).verdict is Verdict.LEAVE_OUT:
        return None
    draft = folder / _DRAFT
    draft.unlink(missing_ok=True)
    made = deidentifier.write(path, draft)
    if made is None:
        return None
    return _placed(draft, folder, made)


def _copied(path: Path, folder: Path) -> Exported:
    instance = parse_instance(path)
    digest, size, draft = hashlib.sha256(), 0, folder / _DRAFT
    try:
        with path.open("rb") as source, draft.open("wb") as target:
            while piece := source.read(_CHUNK):
                digest.update(piece)
                size += len(piece)
                target.write(piece)
    except OSError as error:
        raise OutOfResources(f"{folder} cannot be written: {os.strerror(error.errno or 0)}") from None
    made = Deidentified(
        instance.sop_class_uid,
        instance.sop_instance_uid,
        instance.study_instance_uid,
        instance.series_instance_uid,
        instance.transfer_syntax_uid,
        0 if instance.frames is None else instance.frames.number_of_frames,
        size,
        digest.digest(),
    )
    return _placed(draft, folder, made)


def _placed(draft: Path, folder: Path, made: Deidentified) -> Exported:
    """Give a file its name; UIDs are digits and dots (PS3.5 9.1) and steer no path."""
    name = f"{made.study_instance_uid}/{made.series_instance_uid}/{made.sop_instance_uid}.dcm"
    target = folder / name
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.rename(target)
    except OSError as error:
        raise OutOfResources(f"{folder} cannot be written: {os.strerror(error.errno or 0)}") from None
    return Exported(
        name,
        made.sop_class_uid,
        made.sop_instance_uid,
        made.study_instance_uid,
        made.series_instance_uid,
        made.transfer_syntax_uid,
        made.size,
        made.sha256.hex(),
    )


def _write_manifest(folder: Path, export: Export, deidentifier: Deidentifier | None) -> None:
    document = {
        "profile": None if deidentifier is None else deidentifier.profile.name,
        "left_out": len(export.left_out),
        "files": [asdict(file) for file in export.files],
    }
    try:
        (folder / MANIFEST).write_text(json.dumps(document, indent=2) + "\n", "ascii")
    except OSError as error:
        raise OutOfResources(f"{folder} cannot be written: {os.strerror(error.errno or 0)}") from None
