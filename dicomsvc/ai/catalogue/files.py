"""Reads files of a model folder, which somebody else may have made: no links, no surprises of kind or size."""

import functools
import hashlib
import os
import stat
from pathlib import Path

from dicomsvc.errors import InvalidModel

LARGEST_TEXT = 256 << 10
LARGEST_WEIGHTS = 2 << 30


def require_plain(path: Path, largest: int) -> os.stat_result:
    """Return the status of a plain file of limited size.

    Raises
    ------
    InvalidModel
        When it is missing, a link, no file, empty or too large.
    """
    try:
        status = path.lstat()
    except OSError as error:
        raise InvalidModel(f"{path}: {os.strerror(error.errno or 0)}") from None
    if stat.S_ISLNK(status.st_mode):
        raise InvalidModel(f"{path}: is a link; a model folder holds plain files only")
    if not stat.S_ISREG(status.st_mode):
        raise InvalidModel(f"{path}: is no plain file")
    if not 0 < status.st_size <= largest:
        raise InvalidModel(f"{path}: has {status.st_size} bytes; from 1 to {largest} are allowed")
    return status


def require_folder(path: Path) -> None:
    """Raise `InvalidModel` when this is no folder, or a link to one."""
    if path.is_symlink() or not path.is_dir():
        raise InvalidModel(f"{path}: is no folder")


def read_text_file(path: Path) -> bytes:
    """Return the content of a small file."""
    require_plain(path, LARGEST_TEXT)
    return path.read_bytes()


def weights_digest(path: Path) -> str:
    """Return the SHA-256 (hex) of a weights file; read again only when the file has changed."""
    status = require_plain(path, LARGEST_WEIGHTS)
    return _digest(path, status.st_ino, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _digest(path: Path, inode: int, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def version_folders(folder: Path) -> dict[int, Path]:
    """Return the folders ``1``, ``2``, … of a model by number.

    Raises
    ------
    InvalidModel
        When there is none.
    """
    require_folder(folder)
    found = {
        int(entry.name): entry
        for entry in folder.iterdir()
        if entry.name.isascii() and entry.name.isdecimal() and entry.name[0] != "0" and len(entry.name) < 10
    }
    if not found:
        raise InvalidModel(f"{folder}: has no version folder (`1`)")
    for entry in found.values():
        require_folder(entry)
    return dict(sorted(found.items()))
