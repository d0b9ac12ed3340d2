"""Writes the frame of a Part 10 file (PS3.10 7) around pixels that come later."""

import struct
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Final

import numpy as np
import numpy.typing as npt
from pydicom import config
from pydicom.datadict import dictionary_VM
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID
from pydicom.valuerep import validate_value

from dicomsvc.dicom.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicomsvc.errors import InvalidInstance, TooLarge
from dicomsvc.objects.common import COPIED

Write = Callable[[bytes | memoryview], object]
"""Appends all of what it gets to a file; what it returns is not looked at."""

PIXEL_DATA: Final = 0x0010
FLOAT_PIXEL_DATA: Final = 0x0008
ITEM: Final = struct.Struct("<HHL")
EMPTY_ITEM: Final = ITEM.pack(0xFFFE, 0xE000, 0)
SEQUENCE_END: Final = ITEM.pack(0xFFFE, 0xE0DD, 0)
LONGEST_VALUE: Final = 0xFFFFFFFE
_LONG_ELEMENT = struct.Struct("<HH2sHL")
_CHECKED: Final = frozenset(("AE", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UI", "UT"))


def header(ds: Dataset, transfer_syntax_uid: str) -> bytes:
    """Return preamble, File Meta Information and a data set without pixels.

    Raises
    ------
    InvalidInstance
        When a value that is ours does not fit its value representation; the message names the attribute.
    """
    _check_values(ds)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    ds.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    ds.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    buffer = BytesIO()
    try:
        dcmwrite(buffer, ds, enforce_file_format=True)
    except Exception as error:  # noqa: BLE001 - border: values that came with the slide
        raise InvalidInstance(f"the result object cannot be written ({type(error).__name__})") from None
    return buffer.getvalue()


def native_start(element: int, vr: bytes, length: int) -> bytes:
    """Return the head of uncompressed pixels: Pixel Data or Float Pixel Data (PS3.5 8.2, A.2).

    Raises
    ------
    TooLarge
        When the length does not fit into 32 bits.
    """
    if length > LONGEST_VALUE:
        raise TooLarge("a level is too large for uncompressed pixels (4 GB); choose a coarser level, or compression")
    return _LONG_ELEMENT.pack(0x7FE0, element, vr, 0, length)


def encapsulated_start(lengths: npt.NDArray[np.int64]) -> bytes:
    """Return Extended Offset Table and its lengths (PS3.3 C.7.6.3.1.8), and the head of compressed pixels."""
    items = lengths + (lengths & 1) + ITEM.size
    offsets = np.concatenate(([0], np.cumsum(items)[:-1]))
    parts = []
    for element, values in ((1, offsets), (2, lengths)):
        data = values.astype("<u8").tobytes()
        parts += [_LONG_ELEMENT.pack(0x7FE0, element, b"OV", 0, len(data)), data]
    parts += [_LONG_ELEMENT.pack(0x7FE0, PIXEL_DATA, b"OB", 0, 0xFFFFFFFF), EMPTY_ITEM]
    return b"".join(parts)


def item_of(frame: bytes | memoryview) -> bytes:
    """Return a compressed frame as the only fragment of its own, of even length (PS3.5 A.4)."""
    odd = len(frame) & 1
    return b"".join((ITEM.pack(0xFFFE, 0xE000, len(frame) + odd), frame, b"\0" * odd))


def _check_values(ds: Dataset) -> None:
    for element in ds:
        if element.keyword in COPIED:
            # A fault that came with the slide is not ours to refuse a result for.
            continue
        if element.VR == "SQ":
            for item in element.value:
                _check_values(item)
        elif element.VR in _CHECKED and element.value not in (None, ""):
            if element.VM > 1 and dictionary_VM(element.tag) == "1":
                raise InvalidInstance(f"{element.keyword} has several values, or a backslash (PS3.5 6.4)")
            _check_value(element.keyword, element.VR, element.value)


def _check_value(keyword: str, vr: str, value: object) -> None:
    several = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    for each in value if several else (value,):  # type: ignore[attr-defined]
        try:
            validate_value(vr, each if vr == "PN" else str(each), config.RAISE)
        except ValueError:
            raise InvalidInstance(f"{keyword} has a value that is no valid {vr} (PS3.5 6.2)") from None
