"""Identifiers of responses: from the DICOM JSON of the index straight to bytes, in UTF-8 (PS3.5 7, PS3.4 C.4.1.1.3).

A query of a large archive has hundreds of thousands of them: they are written without a `Dataset` between.
"""

import base64
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from pydicom.uid import UID
from pydicom.valuerep import format_number_as_ds

from dicomsvc.store.query import vr_of

Shape = Mapping[str, "Shape | None"]
"""Which attributes are returned, by tag, ascending; below a sequence those of its items, or None for all of them."""

Element = Mapping[str, Any]

UTF_8: Final = "ISO_IR 192"
_LONG_LENGTH: Final = frozenset("OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_BINARY: Final = {
    "US": "<H",
    "SS": "<h",
    "UL": "<I",
    "SL": "<i",
    "UV": "<Q",
    "SV": "<q",
    "FL": "<f",
    "FD": "<d",
}
_NUL_PADDED: Final = frozenset(("UI", "OB", "UN"))
_PLAIN: Final = frozenset("AE AS CS DA DT LO LT SH ST TM UC UI UR UT".split())
_BEFORE_VALUE: Final = '", "Value": ["'
_BEHIND_VALUE: Final = '"]}'
_ITEM: Final = b"\xfe\xff\x00\xe0"
_MOST_SHORT: Final = 0xFFFF
_MOST_DS: Final = 16


def encode_identifier(attributes: Mapping[str, Element], shape: Shape, transfer_syntax: str) -> bytes:
    """Return the attributes of ``shape`` in Implicit or Explicit VR Little Endian; what is not there has no value."""
    return _encode(attributes, shape, UID(transfer_syntax).is_implicit_VR)


class IdentifierEncoder:
    """Writes the Identifiers of one query's responses; results that follow each other often share values.

    Parameters
    ----------
    tags
        Which attribute each text of a result is of.
    fixed
        Attributes that all Identifiers have.
    """

    def __init__(self, tags: Sequence[str], fixed: Mapping[str, Element], shape: Shape, transfer_syntax: str) -> None:
        self._implicit = UID(transfer_syntax).is_implicit_VR
        self._shape = shape
        places = {tag: place for place, tag in enumerate(tags)}
        self._order = tuple((tag, places.get(tag)) for tag in shape)
        self._fixed = {tag: _encode_element(tag, fixed[tag], None, self._implicit) for tag in fixed}
        self._last: dict[str, tuple[str | None, bytes]] = {}

    def encode(self, texts: Sequence[str | None]) -> bytes:
        """Return the attributes of the shape; what is not there has no value.

        ``texts`` are the DICOM JSON of elements, in the order of the tags.
        """
        return b"".join(
            self._fixed[tag] if place is None else self._element(tag, texts[place]) for tag, place in self._order
        )

    def _element(self, tag: str, text: str | None) -> bytes:
        last = self._last.get(tag)
        if last is not None and last[0] == text:
            return last[1]
        encoded = None if text is None else _encode_plain(tag, text, self._implicit)
        if encoded is None:
            element = None if text is None else json.loads(text)
            encoded = _encode_element(tag, element, self._shape[tag], self._implicit)
        self._last[tag] = text, encoded
        return encoded


def _encode_plain(tag: str, text: str, implicit: bool) -> bytes | None:
    """Encode an element with one value that stands unescaped in PostgreSQL's JSON; None: it does not."""
    vr, value = text[8:10], text[24:-3]
    if (
        vr not in _PLAIN
        or text[10:24] != _BEFORE_VALUE
        or not text.endswith(_BEHIND_VALUE)
        or '"' in value
        or "\\" in value
    ):
        return None
    encoded = _padded(value.encode("utf-8", "replace"), vr)
    return _head(tag, vr, len(encoded), implicit) + encoded


def _encode(attributes: Mapping[str, Element], shape: Shape | None, implicit: bool) -> bytes:
    if shape is None:
        return b"".join(_encode_element(tag, attributes[tag], None, implicit) for tag in attributes)
    return b"".join(_encode_element(tag, attributes.get(tag), shape[tag], implicit) for tag in shape)


def _encode_element(tag: str, element: Element | None, shape: Shape | None, implicit: bool) -> bytes:
    if element is None:
        return _head(tag, vr_of(tag), 0, implicit)
    vr: str = element["vr"]
    value = _value(element, vr, shape, implicit)
    return _head(tag, vr, len(value), implicit) + value


def _head(tag: str, vr: str, length: int, implicit: bool) -> bytes:
    if implicit:
        return _tag(tag) + length.to_bytes(4, "little")
    if vr in _LONG_LENGTH:
        return _tag(tag) + vr.encode("ascii") + b"\0\0" + length.to_bytes(4, "little")
    if length > _MOST_SHORT:
        # PS3.5 6.2.2: what does not fit its VR's length field is sent as UN.
        return _tag(tag) + b"UN\0\0" + length.to_bytes(4, "little")
    return _tag(tag) + vr.encode("ascii") + length.to_bytes(2, "little")


@lru_cache(maxsize=4096)
def _tag(tag: str) -> bytes:
    return struct.pack("<HH", int(tag[:4], 16), int(tag[4:], 16))


def _value(element: Element, vr: str, shape: Shape | None, implicit: bool) -> bytes:
    if vr == "SQ":
        items = [_encode(item or {}, shape, implicit) for item in element.get("Value", ())]
        return b"".join(_ITEM + len(item).to_bytes(4, "little") + item for item in items)
    if "InlineBinary" in element:
        return _padded(base64.b64decode(element["InlineBinary"]), vr)
    values = element.get("Value")
    if not values:
        return b""
    if vr in _BINARY:
        return _numbers(values, _BINARY[vr])
    if vr == "AT":
        return b"".join(_tag(value) for value in values)
    return _padded("\\".join(_texts(values, vr)).encode("utf-8", "replace"), vr)


def _numbers(values: Iterable[Any], form: str) -> bytes:
    try:
        return b"".join(struct.pack(form, value) for value in values if value is not None)
    except struct.error:
        # What JSON has as a text, such as an infinity, or was broken when it came.
        return b""


def _padded(value: bytes, vr: str) -> bytes:
    if len(value) % 2:
        return value + (b"\0" if vr in _NUL_PADDED else b" ")
    return value


def _texts(values: Iterable[Any], vr: str) -> Iterable[str]:
    for value in values:
        if value is None:
            yield ""
        elif isinstance(value, str):
            yield value
        elif vr == "PN":
            groups = (value.get("Alphabetic", ""), value.get("Ideographic", ""), value.get("Phonetic", ""))
            yield "=".join(groups).rstrip("=")
        else:
            text = str(value)
            yield text if vr != "DS" or len(text) <= _MOST_DS else format_number_as_ds(float(value))
