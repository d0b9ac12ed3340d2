"""What a file on disk is, told by its first bytes and its name."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

SLIDE_SUFFIXES: Final = frozenset(
    {
        *(".svs", ".tif", ".tiff", ".ndpi", ".scn", ".bif", ".mrxs", ".vms", ".vmu", ".svslide", ".czi", ".isyntax"),
        *(".i2syntax", ".png", ".jpg", ".jpeg", ".jp2", ".qptiff", ".btf", ".tf8"),
    }
)
"""Names of files that are tried as slides."""
_SMALLEST_DICOM = 132
_MRXS_INDEX = "Slidedat.ini"


class Kind(Enum):
    DICOM = "DICOM file"
    SLIDE = "slide"
    DICOMDIR = "DICOMDIR"
    OTHER = "neither a DICOM file nor a slide"


@dataclass(frozen=True, slots=True)
class Found:
    """A file, its kind, and its name relative to where the search began."""

    path: Path
    kind: Kind
    name: str


def recognise(path: Path) -> Kind:
    """Return what a regular file is; what cannot be read is `Kind.OTHER`."""
    try:
        with path.open("rb") as file:
            head = file.read(_SMALLEST_DICOM)
    except OSError:
        return Kind.OTHER
    if len(head) == _SMALLEST_DICOM and head.endswith(b"DICM"):
        return Kind.DICOMDIR if path.name.upper() == "DICOMDIR" else Kind.DICOM
    return Kind.SLIDE if path.suffix.lower() in SLIDE_SUFFIXES else Kind.OTHER


def search(root: Path) -> Iterator[Found]:
    """Find what can be imported below a folder, in a stable order.

    Links, devices and pipes are passed over, and so are hidden files and the data files of a slide that has an index.
    """
    for folder, folders, names in os.walk(root):
        place = Path(folder)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not _is_companion(place / name))
        for name in sorted(names):
            path = place / name
            if not name.startswith(".") and _is_regular(path):
                yield Found(path, recognise(path), str(path.relative_to(root)))


def companion(slide: Path) -> Path | None:
    """Return the folder that belongs to a slide file (MIRAX: of the same name, without ``.mrxs``)."""
    folder = slide.with_suffix("")
    return folder if slide.suffix.lower() == ".mrxs" and folder.is_dir() else None


def is_companion(folder: Path) -> bool:
    """Whether a folder holds a slide's data, with or without the slide's own file beside it."""
    return (folder / _MRXS_INDEX).exists()


def _is_companion(folder: Path) -> bool:
    return is_companion(folder) and folder.with_name(f"{folder.name}.mrxs").exists()


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False
