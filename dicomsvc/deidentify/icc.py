"""ICC profiles without text: colours stay, names of scanner, laboratory and files go (ICC.1 7, 9, 10)."""

import struct
from typing import Final

from PIL import ImageCms

_HEADER: Final = 128
_ENTRY: Final = 12
_MAX_TAGS: Final = 256
MAX_PROFILE_BYTES: Final = 1 << 24
_NUMBERS: Final = frozenset((b"XYZ ", b"curv", b"para", b"mft1", b"mft2", b"mAB ", b"mBA ", b"mpet", b"sf32", b"chrm"))
_DATE: Final = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
# An empty text, description and list of strings.
_BLANK: Final = {
    b"text": b"text\0\0\0\0",
    b"desc": b"desc\0\0\0\0\0\0\0\x01",
    b"mluc": b"mluc\0\0\0\0\0\0\0\0\0\0\0\x0c",
}


def without_text(profile: bytes) -> bytes:
    """Return the profile, as long as it was, with its tags of numbers only; sRGB where it is no profile."""
    size = int.from_bytes(profile[:4], "big")
    count = int.from_bytes(profile[_HEADER : _HEADER + 4], "big")
    table = _HEADER + 4 + _ENTRY * count
    if profile[36:40] != b"acsp" or size > len(profile) or not 0 < count <= _MAX_TAGS or table > size:
        return srgb()
    clean = bytearray(len(profile))
    clean[:table] = profile[:table]
    clean[4:8] = bytes(4)
    clean[24:36] = _DATE
    clean[40:56] = bytes(16)
    clean[80:_HEADER] = bytes(_HEADER - 80)
    texts = []
    for number in range(count):
        at = _HEADER + 4 + _ENTRY * number
        offset, length = struct.unpack_from(">II", profile, at + 4)
        if offset < table or offset + length > size:
            return srgb()
        kind = profile[offset : offset + 4]
        if kind in _NUMBERS:
            clean[offset : offset + length] = profile[offset : offset + length]
        else:
            texts.append((kind, offset, length))
    for kind, offset, length in texts:
        blank = _BLANK.get(kind, b"")[:length]
        if not any(clean[offset : offset + length]):
            clean[offset : offset + len(blank)] = blank
    return bytes(clean)


def srgb() -> bytes:
    """Return a profile of sRGB (IEC 61966-2-1)."""
    made = bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    return made + b"\0" * (len(made) % 2)
