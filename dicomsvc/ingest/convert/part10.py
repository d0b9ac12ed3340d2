"""Writes one instance front to back: header, offset table, frames (PS3.10 7, PS3.5 A.4)."""

import struct
from io import BytesIO
from typing import Final

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID

from dicomsvc.dicom.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicomsvc.errors import ConversionError
from dicomsvc.ingest.convert.codec import FrameFormat
from dicomsvc.ingest.convert.sink import OutputFile

_ITEM_BYTES: Final = 8
_LONGEST_VALUE: Final = 0xFFFFFFFE
_PIXEL_DATA: Final = b"\xe0\x7f\x10\x00"
_EMPTY_ITEM: Final = b"\xfe\xff\x00\xe0\x00\x00\x00\x00"
_SEQUENCE_END: Final = b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"


class InstanceWriter:
    """Begins with the header and ends with :meth:`finish`; frames come in between, in their order."""

    def __init__(self, file: OutputFile, ds: Dataset, form: FrameFormat, lengths: npt.NDArray[np.int64]) -> None:
        self._file = file
        self._form = form
        self.size = 0
        self._write(_header(ds, form))
        if form.encapsulated:
            self._write(_offset_table(lengths))
            # With an Extended Offset Table the Basic one is empty (PS3.3 C.7.6.3.1.8).
            self._write(_PIXEL_DATA + b"OB\0\0\xff\xff\xff\xff" + _EMPTY_ITEM)
        else:
            self._write(_native_start(int(lengths.sum()), ds.BitsAllocated))
            self._odd = int(lengths.sum()) & 1

    def frames(self, data: bytes) -> None:
        """Write frames: their items when encapsulated, else their pixels."""
        self._write(data)

    def finish(self) -> int:
        """Write the end; return the size of the file."""
        if self._form.encapsulated:
            self._write(_SEQUENCE_END)
        elif self._odd:
            self._write(b"\0")
        return self.size

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self.size += len(data)


def _header(ds: Dataset, form: FrameFormat) -> bytes:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = form.transfer_syntax_uid
    ds.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    ds.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    buffer = BytesIO()
    try:
        dcmwrite(buffer, ds, enforce_file_format=True)
    except Exception as error:  # noqa: BLE001 (border: values from a user's document or the slide)
        raise ConversionError(f"The data set cannot be written ({type(error).__name__}): check the metadata") from None
    return buffer.getvalue()


def _offset_table(lengths: npt.NDArray[np.int64]) -> bytes:
    """Make ExtendedOffsetTable and its lengths: the latter without the padding that makes items even."""
    items = lengths + (lengths & 1) + _ITEM_BYTES
    offsets = np.concatenate(([0], np.cumsum(items)[:-1])).astype("<u8")
    if offsets.nbytes > _LONGEST_VALUE:
        raise ConversionError("The level has too many frames")
    parts = []
    for element, values in ((1, offsets), (2, lengths.astype("<u8"))):
        data = values.tobytes()
        parts.append(struct.pack("<HH2sHL", 0x7FE0, element, b"OV", 0, len(data)) + data)
    return b"".join(parts)


def _native_start(length: int, bits: int) -> bytes:
    if length > _LONGEST_VALUE:
        raise ConversionError("A level is too large for uncompressed pixels (4 GB); choose another codec")
    return _PIXEL_DATA + struct.pack("<2sHL", b"OW" if bits > 8 else b"OB", 0, length + (length & 1))
