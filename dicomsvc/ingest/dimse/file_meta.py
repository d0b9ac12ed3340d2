"""The head of a Part 10 file, written before a received data set (PS3.10 7.1)."""

from struct import Struct

from dicomsvc.dicom.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_SHORT = Struct("<HH2sH")
_LONG = Struct("<HH2sHI")
_GROUP = 0x0002


def part10_head(*, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, source_ae_title: str) -> bytes:
    """Return preamble, prefix and File Meta Information of a data set that ``source_ae_title`` sent."""
    elements = b"".join(
        (
            _LONG.pack(_GROUP, 0x0001, b"OB", 0, 2) + b"\x00\x01",
            _short(0x0002, b"UI", sop_class_uid),
            _short(0x0003, b"UI", sop_instance_uid),
            _short(0x0010, b"UI", transfer_syntax_uid),
            _short(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
            _short(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
            _short(0x0016, b"AE", source_ae_title),
        )
    )
    group_length = _SHORT.pack(_GROUP, 0x0000, b"UL", 4) + len(elements).to_bytes(4, "little")
    return bytes(128) + b"DICM" + group_length + elements


def _short(element: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii")
    if len(value) % 2:
        value += b"\x00" if vr == b"UI" else b" "
    return _SHORT.pack(_GROUP, element, vr, len(value)) + value
