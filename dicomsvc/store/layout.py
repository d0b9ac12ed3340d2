"""Where things lie below the data folder.

A file's place is computed from the SHA-256 of its SOP Instance UID, so that no received byte steers a path, and so
that two contents with one SOP Instance UID can never both be in place::

    instances/ab/abcd…64.dcm   Part 10 files, immutable, byte for byte as they came
    spool/<writer>/            files on their way in; one folder a process, locked while it lives
    quarantine/                other content that came under a known SOP Instance UID, damaged files
    postgres/                  the embedded database
    deidentify.secret          what pseudonyms are derived from (`dicomsvc.deidentify`)
    work/                      what running analyses have finished so far (`dicomsvc.ai.analysis`)
    models/, triton/           added models; the own model server (`dicomsvc.ai`)
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths below the data folder ``root``."""

    root: Path

    @property
    def instances(self) -> Path:
        return self.root / "instances"

    @property
    def spool(self) -> Path:
        return self.root / "spool"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    def create(self) -> None:
        """Make the folders; only this user may look into those that hold patients' data."""
        self.root.mkdir(parents=True, exist_ok=True)
        for folder in (self.instances, self.spool, self.quarantine):
            folder.mkdir(mode=0o700, exist_ok=True)

    def instance_path(self, key: str) -> Path:
        """Return the place of the file whose key (see `file_key`) this is."""
        return self.instances / key[:2] / f"{key}.dcm"


def file_key(sop_instance_uid: str) -> str:
    """Return the 64 hexadecimal digits that name an instance's file."""
    return hashlib.sha256(sop_instance_uid.encode("ascii", "replace")).hexdigest()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_durable_folder(folder: Path) -> None:
    """Make ``folder`` in an existing one, its name durable."""
    if not folder.is_dir():
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)
