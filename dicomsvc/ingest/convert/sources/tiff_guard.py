"""A first look at a TIFF of unknown origin, before a full parser allocates what it declares."""

import os
import struct
from pathlib import Path
from typing import BinaryIO, Final, Literal

from dicomsvc.errors import ConversionError, TruncatedSlide, UnknownSlideFormat

_MAX_DIRECTORIES: Final = 4096
_MAX_ENTRIES: Final = 4096
_TYPE_BYTES: Final = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_SUB_DIRECTORIES: Final = 330
_NDPI_TAG: Final = 65420


def is_tiff(start: bytes) -> bool:
    """Whether a file that begins with these bytes claims to be a TIFF or BigTIFF."""
    return start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def check_directories(path: Path) -> None:
    """Walk all image file directories: they must end, lie inside the file, and their values too.

    Raises
    ------
    UnknownSlideFormat
        When the header is no TIFF's.
    TruncatedSlide
        When a directory or a value lies beyond the end of the file.
    ConversionError
        When directories form a loop, or there are absurdly many.
    """
    with path.open("rb") as file:
        _Walk(file).run()


class _Walk:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        head = file.read(16)
        if not is_tiff(head):
            raise UnknownSlideFormat("The file is no TIFF")
        self._order = "<" if head[:2] == b"II" else ">"
        self._big = 43 in head[2:4]
        self._hamamatsu = False
        self._first = self._read_offset(8 if self._big else 4)

    def run(self) -> None:
        """Follow the chain of images, and from each the chains of its reduced images."""
        seen: set[int] = set()
        at = self._first
        while at:
            if at in seen:
                raise ConversionError("The TIFF's image directories form a loop")
            at, reduced = self._visit(at, seen)
            while reduced:
                # Some writers also chain the reduced images that they list.
                offset = reduced.pop()
                if offset and offset not in seen:
                    follower, deeper = self._visit(offset, seen)
                    reduced += [follower, *deeper]

    def _visit(self, at: int, seen: set[int]) -> tuple[int, list[int]]:
        seen.add(at)
        if len(seen) > _MAX_DIRECTORIES:
            raise ConversionError(f"The TIFF has more than {_MAX_DIRECTORIES} images")
        return self._directory(at)

    def _directory(self, at: int) -> tuple[int, list[int]]:
        count = self._number(at, 8 if self._big else 2)
        if not 0 < count <= _MAX_ENTRIES:
            raise ConversionError("A TIFF image directory is damaged")
        entry_bytes = 20 if self._big else 12
        start = at + (8 if self._big else 2)
        table = self._bytes(start, count * entry_bytes)
        reduced: list[int] = []
        for index in range(count):
            reduced += self._entry(table[index * entry_bytes : (index + 1) * entry_bytes])
        # Hamamatsu writes classic TIFF with offsets of eight bytes here (OpenSlide's description of NDPI).
        width = 8 if self._big or self._hamamatsu else 4
        return self._number(start + len(table), width), reduced

    def _entry(self, entry: bytes) -> list[int]:
        tag, kind = struct.unpack(self._order + "HH", entry[:4])
        count = int.from_bytes(entry[4:12] if self._big else entry[4:8], self._byteorder)
        field = entry[12:] if self._big else entry[8:]
        if tag == _NDPI_TAG and not self._big:
            self._hamamatsu = True
        size = count * _TYPE_BYTES.get(kind, 1)
        if size <= len(field):
            values = field[:size]
        else:
            offset = int.from_bytes(field, self._byteorder)
            if size > self._size or (offset + size > self._size and not self._hamamatsu):
                raise TruncatedSlide("The slide is cut short: a value of its directory lies beyond the end of the file")
            if tag != _SUB_DIRECTORIES:
                return []
            values = self._bytes(offset, size)
        if tag != _SUB_DIRECTORIES:
            return []
        width = _TYPE_BYTES.get(kind, 4)
        return [int.from_bytes(values[at : at + width], self._byteorder) for at in range(0, size, width)]

    @property
    def _byteorder(self) -> Literal["little", "big"]:
        return "little" if self._order == "<" else "big"

    def _read_offset(self, width: int) -> int:
        return self._number(8 if self._big else 4, width)

    def _number(self, at: int, width: int) -> int:
        return int.from_bytes(self._bytes(at, width), self._byteorder)

    def _bytes(self, at: int, length: int) -> bytes:
        if at + length > self._size:
            raise TruncatedSlide("The slide is cut short: an image directory lies beyond the end of the file")
        self._file.seek(at)
        return self._file.read(length)
