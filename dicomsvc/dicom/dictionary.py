"""Value representations that the encoding does not state: implicit VR, UN, and those that depend on other elements."""

from typing import Final

from pydicom.datadict import (
    dictionary_keyword,
    dictionary_VR,
    private_dictionary_VR,
)

IMPLICIT_SIGNED: Final = "US or SS"
_LUT_DATA = 0x00283006
# The VR of an ambiguous element in Implicit VR Little Endian (PS3.5 A.1), US or SS aside.
_IMPLICIT_CHOICE = {"OB or OW": "OW", "US or SS or OW": "OW", "US or OW": "OW"}


def dictionary_vr(tag: int) -> str | None:
    """Return the VR that PS3.6 gives a public element, ``US or SS`` where the data set decides, or None."""
    if tag & 0xFFFF == 0:
        return "UL"
    try:
        vr: str = dictionary_VR(tag)
    except KeyError:
        return None
    return _IMPLICIT_CHOICE.get(vr, vr)


def private_vr(tag: int, creator: str | None) -> str:
    """Return the VR of a private element whose block `creator` has reserved (PS3.5 7.8); UN where it is not known."""
    if 0x10 <= tag & 0xFFFF <= 0xFF:
        return "LO"
    if not creator:
        return "UN"
    try:
        vr: str = private_dictionary_VR(tag, creator)
    except KeyError:
        return "UN"
    return _IMPLICIT_CHOICE.get(vr, vr)


def keyword(tag: int) -> str:
    """Return the keyword of a public element; empty for private and unknown ones."""
    try:
        return str(dictionary_keyword(tag))
    except KeyError:
        return ""


def label(tag: int) -> str:
    """Return how a message names an element: ``(0010,0010) PatientName``, never its value."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {keyword(tag)}".rstrip()
