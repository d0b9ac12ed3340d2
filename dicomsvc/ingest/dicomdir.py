"""Which files a DICOMDIR names (PS3.3 F.3, PS3.10 8.6)."""

import re
from pathlib import Path

from pydicom import dcmread
from pydicom.multival import MultiValue

from dicomsvc.errors import NotParseable

_LARGEST_BYTES = 256 << 20
# PS3.10 8.5 allows A-Z, 0-9 and _; media written by others hold more, but none may leave the folder.
_COMPONENT = re.compile(r"[^/\\\0]{1,128}\Z")


def referenced_files(dicomdir: Path) -> list[Path]:
    """Return the paths of the files that a DICOMDIR names, all below its folder; they need not exist.

    Raises
    ------
    NotParseable
        When it is damaged, too large, or names a file outside its folder.
    """
    if dicomdir.stat().st_size > _LARGEST_BYTES:
        raise NotParseable("the DICOMDIR is too large")
    try:
        records = dcmread(dicomdir, specific_tags=["DirectoryRecordSequence"]).get("DirectoryRecordSequence") or []
        identifiers = [record.ReferencedFileID for record in records if record.get("ReferencedFileID")]
    except Exception as error:  # noqa: BLE001 - the border: a parser of untrusted bytes
        raise NotParseable(f"the DICOMDIR cannot be read ({type(error).__name__})") from None
    return list(dict.fromkeys(_resolve(dicomdir.parent, identifier) for identifier in identifiers))


def _resolve(folder: Path, identifier: object) -> Path:
    parts = [str(part) for part in identifier] if isinstance(identifier, MultiValue | list) else [str(identifier)]
    if any(part in ("", ".", "..") or _COMPONENT.match(part) is None for part in parts):
        raise NotParseable("the DICOMDIR names a file outside its folder")
    path = folder.joinpath(*parts)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise NotParseable("the DICOMDIR names a file outside its folder")
    return path
