"""How data elements are laid out: explicit or implicit VR, little or big endian (PS3.5 7.1, Annex A)."""

import struct
from dataclasses import dataclass
from typing import Final

from dicomsvc.dicom.dictionary import dictionary_vr
from dicomsvc.dicom.uids import TransferSyntax
from dicomsvc.dicom.values import BINARY, NUMERIC
from dicomsvc.errors import NotParseable

UNDEFINED: Final = 0xFFFFFFFF
ITEM: Final = 0xFFFEE000
ITEM_DELIMITER: Final = 0xFFFEE00D
SEQUENCE_DELIMITER: Final = 0xFFFEE0DD
SPECIFIC_CHARACTER_SET: Final = 0x00080005
PIXEL_REPRESENTATION: Final = 0x00280103
PIXEL_DATA: Final = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
OFFSET_TABLES: Final = frozenset((0x7FE00001, 0x7FE00002))
_LONG = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))
_SHORT = (
    frozenset(("AE", "AS", "AT", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UI"))
    | frozenset(NUMERIC)
) - _LONG
_PLAIN_BYTES = 4096
_KNOWN_HEADS = 1 << 14


@dataclass(frozen=True, slots=True)
class Head:
    """What the first eight bytes of a data element say."""

    tag: int
    name: str
    """The member name of DICOM JSON with its colon."""
    vr: str | None
    """None: to be found in the private dictionary."""
    header: int
    """Bytes before the value."""
    length: int
    """Length of the value; -1 where it is in the four bytes behind these eight."""
    size: int
    """Bytes of the whole element when it needs no special treatment, else 0."""


class Encoding:
    """One layout of data elements, and the heads that were met in it (a bounded cache that all walks share)."""

    __slots__ = ("_long", "_pair", "_tag", "endian", "heads", "implicit", "item")

    def __init__(self, *, implicit: bool = False, big_endian: bool = False) -> None:
        self.implicit = implicit
        self.endian = endian = ">" if big_endian else "<"
        self.heads: dict[bytes, Head] = {}
        self._tag = struct.Struct(f"{endian}HH")
        self._pair = struct.Struct(f"{endian}HHI")
        self._long = struct.Struct(f"{endian}I")
        self.item = self._tag.pack(ITEM >> 16, ITEM & 0xFFFF)

    def length_at(self, data: bytes) -> int:
        """Read a 32 bit length."""
        if len(data) != 4:
            raise NotParseable("the data set is cut short inside an element")
        return int(self._long.unpack(data)[0])

    def item_head(self, data: bytes) -> tuple[int, int]:
        """Read the tag and length of an item or delimiter."""
        if len(data) != 8:
            raise NotParseable("the data set is cut short inside a sequence")
        group, number, length = self._pair.unpack(data)
        return group << 16 | number, length

    def head(self, data: bytes) -> Head:
        """Read a new head.

        Raises
        ------
        NotParseable
            When these eight bytes cannot begin a data element.
        """
        if len(data) != 8:
            raise NotParseable("the data set is cut short inside an element")
        group, number = self._tag.unpack_from(data)
        tag = group << 16 | number
        if self.implicit or group == 0xFFFE:
            head = self._implicit(tag, self._long.unpack_from(data, 4)[0])
        else:
            head = self._explicit(tag, data)
        if len(self.heads) >= _KNOWN_HEADS:
            self.heads.clear()
        self.heads[data] = head
        return head

    def _implicit(self, tag: int, length: int) -> Head:
        vr = None if tag >> 16 & 1 else dictionary_vr(tag) or "UN"
        plain = vr is not None and vr != "SQ" and length <= (64 if vr in BINARY else _PLAIN_BYTES)
        return _head(tag, vr, 8, length, plain)

    def _explicit(self, tag: int, data: bytes) -> Head:
        vr = data[4:6].decode("latin-1")
        if vr in _SHORT:
            length = data[6] | data[7] << 8 if self.endian == "<" else data[6] << 8 | data[7]
            return _head(tag, vr, 8, length, plain=True)
        if vr in _LONG:
            return _head(tag, vr, 12, -1, plain=False)
        if data[4:6].isalpha() and vr.isupper():
            # A VR younger than this software: all new ones have a 32 bit length (PS3.5 6.2).
            return _head(tag, "UN", 12, -1, plain=False)
        if data == bytes(8):
            return _head(tag, "UN", 8, 0, plain=False)
        raise NotParseable("the data set has bytes where a value representation should stand")


def _head(tag: int, vr: str | None, header: int, length: int, plain: bool) -> Head:
    number = tag & 0xFFFF
    special = (
        number == 0
        or tag in PIXEL_DATA
        or tag in (SPECIFIC_CHARACTER_SET, PIXEL_REPRESENTATION)
        or tag >> 16 in (0x0002, 0xFFFE)
        or (tag >> 16 & 1 and number <= 0xFF)
    )
    size = header + length if plain and not special else 0
    return Head(tag, f'"{tag:08X}":', vr, header, length, size)


EXPLICIT_LITTLE: Final = Encoding()
EXPLICIT_BIG: Final = Encoding(big_endian=True)
IMPLICIT_LITTLE: Final = Encoding(implicit=True)


def encoding_of(syntax: TransferSyntax) -> Encoding:
    """Return the layout of a transfer syntax."""
    if syntax.implicit:
        return IMPLICIT_LITTLE
    return EXPLICIT_BIG if syntax.big_endian else EXPLICIT_LITTLE
