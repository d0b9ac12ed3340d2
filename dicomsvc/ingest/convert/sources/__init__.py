"""Slide formats, one module each behind :class:`~dicomsvc.ingest.convert.sources.base.SlideSource`.

A new format is a new module and a new line in ``FORMATS``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final

from dicomsvc.errors import ConversionError, DicomsvcError, TruncatedSlide, UnknownSlideFormat
from dicomsvc.ingest.convert.options import ConversionOptions
from dicomsvc.ingest.convert.sources.base import SlideSource
from dicomsvc.ingest.convert.sources.tiff_guard import is_tiff

_START_BYTES: Final = 512


@dataclass(frozen=True, slots=True)
class Format:
    """A format: ``claims`` tells by path and first bytes; ``module`` has ``open_slide(path, options)``."""

    name: str
    claims: Callable[[Path, bytes], bool]
    module: str


def _is_isyntax(_path: Path, start: bytes) -> bool:
    return start.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<DataObject") and b"DPUfsImport" in start


def _is_openslide_only(path: Path, start: bytes) -> bool:
    # MIRAX has a JPEG's first bytes; the others have none of their own, or folders beside them.
    return path.suffix.lower() in {".mrxs", ".vms", ".vmu", ".svslide"} or start.startswith(b"SQLite format 3")


FORMATS: Final = (
    Format("MIRAX, VMS, Sakura", _is_openslide_only, "openslide"),
    Format("TIFF", lambda _path, start: is_tiff(start), "tiff_family"),
    Format("CZI", lambda _path, start: start.startswith(b"ZISRAWFILE"), "czi"),
    Format("iSyntax", _is_isyntax, "isyntax"),
    Format("PNG", lambda _path, start: start.startswith(b"\x89PNG\r\n\x1a\n"), "plain"),
    Format("JPEG", lambda _path, start: start.startswith(b"\xff\xd8\xff"), "plain"),
)
"""In the order in which they are asked."""


def open_source(path: Path, options: ConversionOptions) -> SlideSource:
    """Open a slide.

    Raises
    ------
    UnknownSlideFormat
        When no format claims the file.
    TruncatedSlide
        When it is cut short.
    ConversionError
        When it is damaged, or of a kind that cannot be converted.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_START_BYTES)
    except OSError as error:
        raise ConversionError(f"The slide cannot be read: {error.strerror}") from None
    if not start:
        raise TruncatedSlide("The slide is an empty file")
    if start[128:132] == b"DICM":
        raise UnknownSlideFormat("The file is DICOM already; import it instead of converting it")
    for entry in FORMATS:
        if entry.claims(path, start):
            return _open(entry, path, options)
    raise UnknownSlideFormat(
        "The file is no slide of a known format (SVS, NDPI, SCN, MRXS, BIF, Philips TIFF, OME-TIFF, TIFF, CZI, "
        "iSyntax, PNG, JPEG)"
    )


def _open(entry: Format, path: Path, options: ConversionOptions) -> SlideSource:
    opener = import_module(f"{__name__}.{entry.module}").open_slide
    try:
        source: SlideSource = opener(path, options)
    except DicomsvcError:
        raise
    except MemoryError:
        raise ConversionError("The slide asks for more memory than there is") from None
    except Exception as error:  # noqa: BLE001 (border: parsers of untrusted bytes raise anything)
        raise ConversionError(f"The {entry.name} file cannot be read ({type(error).__name__})") from None
    return source
