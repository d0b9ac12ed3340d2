"""Names that clients give files, made safe to stand in a folder of ours."""

import hashlib
import re
from pathlib import PurePosixPath
from typing import Final

from dicomsvc.errors import BadRequest, UnsupportedMediaType
from dicomsvc.ingest.recognise import SLIDE_SUFFIXES

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")
_KEPT_SUFFIXES: Final = SLIDE_SUFFIXES | {".dcm", ".dat", ".ini", ".opt", ".jpf", ".xml", ".txt", ".json"}
_ARCHIVES: Final = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst"})
_DEEPEST = 8
_LONGEST = 1024


def own_name(name: str) -> PurePosixPath:
    """Return the relative path under which a client's file is kept.

    Every part becomes letters, digits, ``_`` and ``-``; one that had others gets a piece of its digest, so that two
    names stay two, and a slide's file and folder of one name stay together. A suffix is kept when it is known.

    Raises
    ------
    BadRequest
        When the name is empty, absolute, too long, too deep, or leads upwards.
    UnsupportedMediaType
        When it is an archive.
    """
    parts = name.replace("\\", "/").split("/")
    if len(name) > _LONGEST or len(parts) > _DEEPEST or any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise BadRequest("the file's name must be relative, at most 8 folders deep, and must not lead upwards")
    stem, suffix = _split(parts[-1])
    if suffix in _ARCHIVES:
        raise UnsupportedMediaType("archives are not taken; upload the files one by one as an upload set")
    if parts[-1].upper() == "DICOMDIR":
        return PurePosixPath(*(_own(part) for part in parts[:-1]), "DICOMDIR")
    return PurePosixPath(*(_own(part) for part in parts[:-1]), _own(stem) + suffix)


def _split(name: str) -> tuple[str, str]:
    """Split off a known suffix, in lower case; another one is dropped with its dot made safe."""
    stem, dot, suffix = name.rpartition(".")
    lower = f".{suffix.lower()}"
    if dot and stem and (lower in _KEPT_SUFFIXES or lower in _ARCHIVES):
        return stem, lower
    return name, ""


def _own(part: str) -> str:
    if _SAFE.match(part):
        return part
    digest = hashlib.sha256(part.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{_UNSAFE.sub('_', part).strip('_-')[:40] or 'file'}-{digest}"
