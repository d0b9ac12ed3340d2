"""Small data sets of messages (Identifiers, Event Information): bytes in a transfer syntax, and back (PS3.5 7, 10)."""

from io import BytesIO
from typing import Final

from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import UID

from dicomsvc.errors import NotParseable

LARGEST_DATA_SET_BYTES: Final = 1 << 18
"""A query for 3,000 UIDs has that. Worse things take half a second of CPU to decode; longer ones would take more."""
_DEEPEST: Final = 8


def encode_data_set(data_set: Dataset, transfer_syntax: str) -> bytes:
    """Return a data set's bytes in Implicit or Explicit VR Little Endian."""
    buffer = DicomBytesIO()
    buffer.is_little_endian = True
    buffer.is_implicit_VR = UID(transfer_syntax).is_implicit_VR
    write_dataset(buffer, data_set)
    return bytes(buffer.getvalue())


def decode_data_set(encoded: bytes, transfer_syntax: str) -> Dataset:
    """Return the data set of bytes in Implicit or Explicit VR Little Endian, every element decoded.

    Raises
    ------
    NotParseable
        When the bytes are no data set in that syntax, or sequences lie deeper in it than any identifier has them.
    """
    try:
        data_set = read_dataset(BytesIO(encoded), UID(transfer_syntax).is_implicit_VR, is_little_endian=True)
        _visit(data_set, 0)
    except NotParseable:
        raise
    except Exception as error:
        raise NotParseable("the data set cannot be read") from error
    return data_set


def _visit(data_set: Dataset, depth: int) -> None:
    if depth > _DEEPEST:
        raise NotParseable("the data set is nested too deep")
    for element in data_set:
        if element.VR == "SQ":
            for item in element.value:
                _visit(item, depth + 1)
