"""Part 10 files (PS3.10 7) from anywhere: one parse yields all that is kept beside the file."""

import os
import struct
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, Final

from dicomsvc.dicom.attributes import AttributeCollector
from dicomsvc.dicom.elements import Walker
from dicomsvc.dicom.encoding import encoding_of
from dicomsvc.dicom.frames import FrameIndex
from dicomsvc.dicom.json import Metadata, MetadataBuilder
from dicomsvc.dicom.pixels import check_no_pixels, index_frames
from dicomsvc.dicom.uids import TRANSFER_SYNTAXES, TransferSyntax, is_storage_class, is_valid_uid
from dicomsvc.errors import DicomsvcError, InvalidInstance, NotParseable, OutOfResources, UnsupportedInstance

MAX_HEADER_BYTES: Final = 256 << 20
_PREAMBLE = 128
_META_LIMIT = 1 << 20
_LONG_VRS = (b"OB", b"OW", b"UN", b"UT", b"SQ", b"OD", b"OF", b"OL", b"OV", b"SV", b"UC", b"UR", b"UV")
_META_HEAD = struct.Struct("<HH2sH")
_MEDIA_STORAGE_SOP_CLASS_UID = 0x0002
_MEDIA_STORAGE_SOP_INSTANCE_UID = 0x0003
_TRANSFER_SYNTAX_UID = 0x0010


@dataclass(frozen=True, slots=True)
class Instance:
    """All that the store keeps of an instance beside its bytes."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    attributes: dict[str, dict[str, Any]]
    """Top level elements as DICOM JSON without bulk data, per-frame functional groups and what is over a mebibyte."""
    metadata: Metadata
    frames: FrameIndex | None
    warnings: tuple[str, ...]
    """Faults that do not keep the object out; no values of attributes."""


@dataclass(frozen=True, slots=True)
class FileMeta:
    """File Meta Information, as far as it matters here; `end` is the offset of the data set."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    end: int


def parse_instance(path: Path, *, max_header_bytes: int = MAX_HEADER_BYTES) -> Instance:
    """Parse an untrusted file.

    Time and memory grow with the data set without bulk data, of which at most `max_header_bytes` are read, and with the
    number of fragments; not with the size of the pixel data.

    Raises
    ------
    NotParseable
        When it is no Part 10 file, is broken or cut short, or is larger or deeper than the limits.
    InvalidInstance
        When a UID is missing or malformed, or pixel data is not as the data set says.
    UnsupportedInstance
        When its transfer syntax or SOP class is not kept here.
    """
    with path.open("rb") as file:
        try:
            return _parse(file.fileno(), max_header_bytes)
        except (DicomsvcError, OSError):
            raise
        except MemoryError:
            raise OutOfResources("not enough memory to parse the file") from None
        except Exception as error:  # noqa: BLE001 - the border of untrusted bytes
            # Neither the text nor the chain of a foreign exception: they may hold values.
            raise NotParseable(f"the file cannot be parsed ({type(error).__name__})") from None


def _parse(fd: int, max_header_bytes: int) -> Instance:
    size = os.fstat(fd).st_size
    if size <= _PREAMBLE + 4 or os.pread(fd, 4, _PREAMBLE) != b"DICM":
        raise NotParseable("not a DICOM Part 10 file: it has no preamble with the prefix DICM")
    with mmap(fd, 0, access=ACCESS_READ) as data:
        meta = read_file_meta(data)
        syntax = TRANSFER_SYNTAXES.get(meta.transfer_syntax_uid)
        if syntax is None:
            raise UnsupportedInstance(_unsupported_syntax(meta.transfer_syntax_uid))
        builder, collector = MetadataBuilder(), AttributeCollector()
        if meta.sop_class_uid:
            _check_storage_class(meta.sop_class_uid)
        walker = Walker(data, fd, builder, collector, max_header_bytes)
        walker.walk(meta.end, encoding_of(syntax))
    return _instance(fd, meta, syntax, walker, collector, builder)


def _instance(
    fd: int,
    meta: FileMeta,
    syntax: TransferSyntax,
    walker: Walker,
    collector: AttributeCollector,
    builder: MetadataBuilder,
) -> Instance:
    attributes = collector.load()
    sop_class_uid = _uid(attributes, "00080016", "SOPClassUID", walker)
    sop_instance_uid = _uid(attributes, "00080018", "SOPInstanceUID", walker)
    _check_meta(meta.sop_class_uid, sop_class_uid, "SOP Class UID", walker)
    _check_meta(meta.sop_instance_uid, sop_instance_uid, "SOP Instance UID", walker)
    _check_storage_class(sop_class_uid)
    study_instance_uid = _uid(attributes, "0020000D", "StudyInstanceUID", walker)
    series_instance_uid = _uid(attributes, "0020000E", "SeriesInstanceUID", walker)
    frames = None
    if walker.pixels is None:
        check_no_pixels(attributes)
    else:
        frames = index_frames(fd, walker.pixels, attributes, walker.bulk, syntax, walker.warn)
    return Instance(
        sop_class_uid,
        sop_instance_uid,
        study_instance_uid,
        series_instance_uid,
        syntax.uid,
        attributes,
        builder.finish(walker.bulk),
        frames,
        tuple(walker.warnings),
    )


def read_file_meta(data: mmap) -> FileMeta:
    """Read the File Meta Information behind the prefix; its own group length is not trusted.

    Raises
    ------
    NotParseable
        When it is broken, too long, or names no transfer syntax.
    """
    position, found = _PREAMBLE + 4, {}
    while True:
        head = data[position : position + 8]
        if len(head) < 8:
            break
        group, number, vr, length = _META_HEAD.unpack(head)
        if group != 0x0002:
            break
        position += 8
        if vr in _LONG_VRS:
            length = int.from_bytes(data[position : position + 4], "little")
            position += 4
        if position + length > min(len(data), _META_LIMIT):
            raise NotParseable("the File Meta Information is cut short, broken or too long")
        if vr == b"UI":
            found[number] = data[position : position + length].decode("latin-1").rstrip("\0 ")
        position += length
    if not found.get(_TRANSFER_SYNTAX_UID):
        raise NotParseable("the File Meta Information names no transfer syntax")
    return FileMeta(
        found.get(_MEDIA_STORAGE_SOP_CLASS_UID, ""),
        found.get(_MEDIA_STORAGE_SOP_INSTANCE_UID, ""),
        found[_TRANSFER_SYNTAX_UID],
        position,
    )


def _check_storage_class(uid: str) -> None:
    if not is_storage_class(uid):
        raise UnsupportedInstance(f"SOP class {uid if is_valid_uid(uid) else ''} is not a storage SOP class")


def _unsupported_syntax(uid: str) -> str:
    return f"transfer syntax {uid if is_valid_uid(uid) else 'of a malformed UID'} is not kept here"


def _uid(attributes: dict[str, dict[str, Any]], tag: str, name: str, walker: Walker) -> str:
    values = attributes.get(tag, {}).get("Value", ())
    uid = values[0] if len(values) == 1 else None
    if not isinstance(uid, str):
        raise InvalidInstance(f"{name} is missing or not one value")
    if not is_valid_uid(uid):
        raise InvalidInstance(f"{name} is no valid UID (PS3.5 9.1)")
    if not is_valid_uid(uid, strict=True):
        walker.warn(f"{name}: a component has leading zeros")
    return uid


def _check_meta(in_meta: str, in_dataset: str, name: str, walker: Walker) -> None:
    if not in_meta:
        walker.warn(f"the File Meta Information has no Media Storage {name}")
    elif in_meta != in_dataset:
        raise InvalidInstance(f"the Media Storage {name} of the File Meta Information is not that of the data set")
