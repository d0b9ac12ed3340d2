"""Stored instances rewritten as Explicit VR Little Endian, frame by frame in bounded memory."""

import io
import struct
from collections.abc import Iterator
from typing import Final

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicomsvc.dicom.frames import FrameIndex
from dicomsvc.dicomweb.resources import file_pieces
from dicomsvc.errors import DamagedFile, NotAcceptable, NotFound
from dicomsvc.store import InstanceRecord, Store
from dicomsvc.wsi.codecs import can_decode
from dicomsvc.wsi.frame_reader import FrameReader, open_frames

EXPLICIT: Final = str(ExplicitVRLittleEndian)
_MAX_ELEMENT_BYTES: Final = 0xFFFFFFFE
_OFFSET_TABLES: Final = (0x7FE00001, 0x7FE00002)
_VRS: Final = {"7FE00008": b"OF", "7FE00009": b"OD"}


def can_make_explicit(record: InstanceRecord) -> bool:
    return record.transfer_syntax_uid == EXPLICIT or can_decode(record.transfer_syntax_uid)


def explicit_pieces(store: Store, record: InstanceRecord) -> Iterator[bytes]:
    """Yield a Part 10 file in Explicit VR Little Endian.

    Raises
    ------
    NotAcceptable
        When the uncompressed pixel data has no room in one element (4 GiB).
    DamagedFile
        When file or frames cannot be read.
    """
    if record.number_of_frames == 0:
        yield _rewritten(record, None)
        return
    reader = open_frames(store, record)
    index = reader.index
    native = not reader.syntax.encapsulated and not reader.syntax.big_endian
    length = (
        (index.frame_bits * index.number_of_frames + 7) // 8 if native else reader.native_bytes * index.number_of_frames
    )
    if length > _MAX_ELEMENT_BYTES:
        raise NotAcceptable(
            f"instance {record.sop_instance_uid} uncompressed is larger than 4 GiB; ask for it as it is stored"
        )
    yield _rewritten(record, index)
    yield _element_header(index, length + length % 2)
    if native:
        yield from file_pieces(record, index.offset, length)
    else:
        yield from _frames(reader)
    if length % 2:
        yield b"\0"


def _frames(reader: FrameReader) -> Iterator[bytes]:
    return (reader.native(number) for number in range(1, reader.index.number_of_frames + 1))


def _rewritten(record: InstanceRecord, index: FrameIndex | None) -> bytes:
    """Return the file up to its pixel data."""
    path = record.readable_path()
    try:
        ds = pydicom.dcmread(path, stop_before_pixels=index is not None)
        if index is not None:
            _describe_native(ds, index)
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        stream = io.BytesIO()
        pydicom.dcmwrite(stream, ds, implicit_vr=False, little_endian=True, enforce_file_format=True)
    except FileNotFoundError:
        raise NotFound(f"instance {record.sop_instance_uid} was deleted") from None
    except Exception as error:  # noqa: BLE001 - border: pydicom raises whatever it likes about untrusted bytes
        raise DamagedFile(
            f"instance {record.sop_instance_uid} cannot be rewritten ({type(error).__name__}); ask for it as stored"
        ) from None
    return stream.getvalue()


def _describe_native(ds: Dataset, index: FrameIndex) -> None:
    for tag in _OFFSET_TABLES:
        if tag in ds:
            del ds[tag]
    if index.samples_per_pixel > 1 and index.offsets is not None:
        ds.PlanarConfiguration = 0
        if index.photometric_interpretation.startswith("YBR"):
            ds.PhotometricInterpretation = "RGB"


def _element_header(index: FrameIndex, length: int) -> bytes:
    vr = _VRS.get(index.element, b"OW" if index.bits_allocated > 8 else b"OB")
    group, element = int(index.element[:4], 16), int(index.element[4:], 16)
    return struct.pack("<HH2sHI", group, element, vr, 0, length)
