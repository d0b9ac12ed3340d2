"""Data elements as bytes, in the layout of a transfer syntax (PS3.5 7.1, 7.5)."""

import struct
from typing import Final

from pydicom.sr.coding import Code

from dicomsvc.dicom.encoding import ITEM, ITEM_DELIMITER, SEQUENCE_DELIMITER, UNDEFINED, Encoding

_LONG: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))
_PADDED_WITH_ZERO: Final = frozenset(("OB", "UI", "UN"))
_LONGEST_SHORT: Final = 0xFFFE


class Layout:
    """Makes elements, items and delimiters of one encoding."""

    def __init__(self, encoding: Encoding) -> None:
        self.encoding = encoding
        endian = encoding.endian
        self._tag = struct.Struct(f"{endian}HH")
        self._short = struct.Struct(f"{endian}HH2sH")
        self._long = struct.Struct(f"{endian}HH2s2xI")
        self._plain = struct.Struct(f"{endian}HHI")
        self.item = self.head(ITEM, "", UNDEFINED, bare=True)
        self.item_end = self.head(ITEM_DELIMITER, "", 0, bare=True)
        self.sequence_end = self.head(SEQUENCE_DELIMITER, "", 0, bare=True)

    def head(self, tag: int, vr: str, length: int, *, bare: bool = False) -> bytes:
        """Return tag, VR and length."""
        group, number = tag >> 16, tag & 0xFFFF
        if bare or self.encoding.implicit:
            return self._plain.pack(group, number, length)
        if vr in _LONG:
            return self._long.pack(group, number, vr.encode("ascii"), length)
        return self._short.pack(group, number, vr.encode("ascii"), length)

    def element(self, tag: int, vr: str, value: bytes) -> bytes:
        """Return an element, its value padded to an even length; empty where its VR cannot hold it."""
        if len(value) % 2:
            value += b"\0" if vr in _PADDED_WITH_ZERO else b" "
        if len(value) > _LONGEST_SHORT and vr not in _LONG and not self.encoding.implicit:
            return b""
        return self.head(tag, vr, len(value)) + value

    def code_sequence(self, tag: int, codes: list[Code]) -> bytes:
        """Return a code sequence (PS3.3 8.8)."""
        parts = [self.head(tag, "SQ", UNDEFINED)]
        for code in codes:
            parts += [
                self.item,
                self.element(0x00080100, "SH", code.value.encode("ascii")),
                self.element(0x00080102, "SH", code.scheme_designator.encode("ascii")),
                self.element(0x00080104, "LO", code.meaning.encode("ascii")),
                self.item_end,
            ]
        parts.append(self.sequence_end)
        return b"".join(parts)
