"""Part 10 files rewritten in an uncompressed transfer syntax, frame by frame in bounded memory (PS3.5 A.1, A.2)."""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from dicomsvc.dicom.frames import FrameIndex
from dicomsvc.dicom.part10 import parse_instance
from dicomsvc.errors import DamagedFile, NotAcceptable, NotFound
from dicomsvc.store import Store
from dicomsvc.store.digest import require_digest
from dicomsvc.wsi.codecs import can_decode
from dicomsvc.wsi.frame_reader import FrameReader

EXPLICIT: Final = str(ExplicitVRLittleEndian)
_MAX_ELEMENT_BYTES: Final = 0xFFFFFFFE
_MAX_IN_MEMORY_BYTES: Final = 512 << 20
_PIECE_BYTES: Final = 1 << 20
_OFFSET_TABLES: Final = (0x7FE00001, 0x7FE00002)
_VRS: Final = {"7FE00008": b"OF", "7FE00009": b"OD"}


@dataclass(frozen=True, slots=True)
class _PlainFile:
    """A file that is in no index."""

    path: Path
    sop_instance_uid: str
    size: int

    def readable_path(self) -> Path:
        return self.path


@contextmanager
def native_copy(store: Store, source: Path, sha256: bytes, transfer_syntax_uid: str) -> Iterator[Path]:
    """Yield an uncompressed copy of a file, which lies in the spool until the end.

    Parameters
    ----------
    sha256
        Digest of the file; a copy would have one of its own, and hide that bytes were lost.
    transfer_syntax_uid
        Explicit or Implicit VR Little Endian.

    Raises
    ------
    DamagedFile
        When the file is not the one with this digest, or its frames cannot be decoded.
    NotAcceptable
        When there is no decoder, or the uncompressed pixel data has no room in one element (4 GiB).
    DicomsvcError, OSError
        When it cannot be read, or the spool takes no file.
    """
    require_digest(source, sha256)
    instance = parse_instance(source)
    plain = _PlainFile(source, instance.sop_instance_uid, source.stat().st_size)
    reader = None if instance.frames is None else FrameReader(plain, instance.frames)
    with store.spool() as copy:
        for piece in native_pieces(source, instance.sop_instance_uid, reader, transfer_syntax_uid):
            copy.write(piece)
        yield copy.path


def native_pieces(
    path: Path, sop_instance_uid: str, reader: FrameReader | None, transfer_syntax_uid: str = EXPLICIT
) -> Iterator[bytes]:
    """Yield a file in Explicit or Implicit VR Little Endian; ``reader`` reads its frames, where it has any.

    Raises
    ------
    NotAcceptable
        When there is no decoder, the uncompressed pixel data has no room in one element (4 GiB), or there is too much
        beside it to be rewritten in memory.
    NotFound
        When the file was deleted.
    DamagedFile
        When file or frames cannot be read.
    """
    if reader is None:
        yield _rewritten(path, sop_instance_uid, None, transfer_syntax_uid)
        return
    index = reader.index
    if not can_decode(index.transfer_syntax_uid):
        raise NotAcceptable(f"instance {sop_instance_uid} cannot be decoded here; ask for it as it is stored")
    native = not reader.syntax.encapsulated and not reader.syntax.big_endian
    length = (
        (index.frame_bits * index.number_of_frames + 7) // 8 if native else reader.native_bytes * index.number_of_frames
    )
    if length > _MAX_ELEMENT_BYTES:
        raise NotAcceptable(
            f"instance {sop_instance_uid} uncompressed is larger than 4 GiB; ask for it as it is stored"
        )
    yield _rewritten(path, sop_instance_uid, index, transfer_syntax_uid)
    yield _element_header(index, length + length % 2, explicit=transfer_syntax_uid == EXPLICIT)
    if native:
        for start in range(0, length, _PIECE_BYTES):
            yield reader.read(index.offset + start, min(_PIECE_BYTES, length - start))
    else:
        for number in range(1, index.number_of_frames + 1):
            yield reader.native(number)
    if length % 2:
        yield b"\0"


def _rewritten(path: Path, sop_instance_uid: str, index: FrameIndex | None, transfer_syntax_uid: str) -> bytes:
    """Return the file up to its pixel data."""
    try:
        if _bytes_before_pixels(path, index) > _MAX_IN_MEMORY_BYTES:
            raise NotAcceptable(f"instance {sop_instance_uid} is too large to be rewritten; ask for it as it is stored")
        ds = pydicom.dcmread(path, stop_before_pixels=index is not None)
        if index is not None:
            _describe_native(ds, index)
        ds.file_meta.TransferSyntaxUID = UID(transfer_syntax_uid)
        stream = io.BytesIO()
        explicit = transfer_syntax_uid == EXPLICIT
        pydicom.dcmwrite(stream, ds, implicit_vr=not explicit, little_endian=True, enforce_file_format=True)
    except NotAcceptable:
        raise
    except FileNotFoundError:
        raise NotFound(f"instance {sop_instance_uid} was deleted") from None
    except Exception as error:  # noqa: BLE001 - border: pydicom raises whatever it likes about untrusted bytes
        raise DamagedFile(
            f"instance {sop_instance_uid} cannot be rewritten ({type(error).__name__}); ask for it as stored"
        ) from None
    return stream.getvalue()


def _bytes_before_pixels(path: Path, index: FrameIndex | None) -> int:
    if index is None:
        return path.stat().st_size
    return index.offset if index.offsets is None else index.offsets[0]


def _describe_native(ds: Dataset, index: FrameIndex) -> None:
    for tag in _OFFSET_TABLES:
        if tag in ds:
            del ds[tag]
    if index.samples_per_pixel > 1 and index.offsets is not None:
        ds.PlanarConfiguration = 0
        if index.photometric_interpretation.startswith("YBR"):
            ds.PhotometricInterpretation = "RGB"


def _element_header(index: FrameIndex, length: int, *, explicit: bool) -> bytes:
    group, element = int(index.element[:4], 16), int(index.element[4:], 16)
    if not explicit:
        return struct.pack("<HHI", group, element, length)
    vr = _VRS.get(index.element, b"OW" if index.bits_allocated > 8 else b"OB")
    return struct.pack("<HH2sHI", group, element, vr, 0, length)
