"""Part 10 files made byte by byte, so that they can be wrong on purpose."""

import struct
from collections.abc import Sequence
from pathlib import Path

from pydicom import uid
from pydicom.uid import UID

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
UNDEFINED = 0xFFFFFFFF
_LONG = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)


def even(text: str, padding: str = " ") -> bytes:
    raw = text.encode("latin-1")
    return raw + padding.encode() * (len(raw) % 2)


def element(tag: int, vr: str, value: bytes | str = b"", length: int | None = None, endian: str = "<") -> bytes:
    """An explicit VR element; `length` may lie."""
    raw = even(value, "\0" if vr == "UI" else " ") if isinstance(value, str) else value
    size = len(raw) if length is None else length
    head = struct.pack(f"{endian}HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    if vr in _LONG:
        return head + struct.pack(f"{endian}HI", 0, size) + raw
    return head + struct.pack(f"{endian}H", size) + raw


def implicit(tag: int, value: bytes | str = b"", length: int | None = None) -> bytes:
    raw = even(value) if isinstance(value, str) else value
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(raw) if length is None else length) + raw


def item(value: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value) if length is None else length) + value


def file_meta(
    syntax: UID | str = uid.ExplicitVRLittleEndian, sop_class: str = SECONDARY_CAPTURE, instance: str = "1.2.3"
) -> bytes:
    return (
        bytes(128)
        + b"DICM"
        + element(0x00020002, "UI", sop_class)
        + element(0x00020003, "UI", instance)
        + element(0x00020010, "UI", str(syntax))
    )


IDENTITY = element(0x00080016, "UI", SECONDARY_CAPTURE) + element(0x00080018, "UI", "1.2.3")
PARENTS = element(0x0020000D, "UI", "1.2.4") + element(0x0020000E, "UI", "1.2.5")


def part10(
    *,
    first: bytes = b"",
    middle: bytes = b"",
    last: bytes = b"",
    syntax: UID | str = uid.ExplicitVRLittleEndian,
) -> bytes:
    """A file with the four UIDs and elements before (0008,0016), between (0008,0018) and (0020,000D), and after."""
    return file_meta(syntax) + first + IDENTITY + middle + PARENTS + last


def image(frames: int | None = 1, rows: int = 2, columns: int = 2, bits: int = 8, samples: int = 1) -> bytes:
    """The Image Pixel Module."""
    number = b"" if frames is None else element(0x00280008, "IS", str(frames))
    return (
        element(0x00280002, "US", struct.pack("<H", samples))
        + element(0x00280004, "CS", "MONOCHROME2" if samples == 1 else "RGB")
        + number
        + element(0x00280010, "US", struct.pack("<H", rows))
        + element(0x00280011, "US", struct.pack("<H", columns))
        + element(0x00280100, "US", struct.pack("<H", bits))
    )


def encapsulated(fragments: Sequence[bytes], table: bytes = b"", end: bytes = SEQUENCE_END) -> bytes:
    items = b"".join(item(fragment) for fragment in fragments)
    return element(0x7FE00010, "OB", item(table) + items + end, UNDEFINED)


def write(folder: Path, content: bytes) -> Path:
    path = folder / "instance.dcm"
    path.write_bytes(content)
    return path
