"""Identifiers of responses: from the DICOM JSON of the index straight to bytes, in UTF-8 (PS3.5 7, PS3.4 C.4.1.1.3).

A query of a large archive has hundreds of thousands of them: they are written without a `Dataset` between.
"""

import base64
import json
import re
import struct
from collections.abc import Container, Iterable, Mapping, Sequence
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
_TEXTS: Final = frozenset("AE AS CS DA DT LO LT SH ST TM UC UI UR UT".split())
_NEVER: Final = re.compile(r"(?!)")
_MOST_KNOWN: Final = 64
_MOST_CHARACTERS_KNOWN: Final = 1024
_ITEM: Final = b"\xfe\xff\x00\xe0"
_MOST_SHORT: Final = 0xFFFF
_MOST_DS: Final = 16


def encode_identifier(attributes: Mapping[str, Element], shape: Shape, transfer_syntax: str) -> bytes:
    """Return the attributes of ``shape`` in Implicit or Explicit VR Little Endian; what is not there has no value."""
    return _encode(attributes, shape, UID(transfer_syntax).is_implicit_VR)


class IdentifierEncoder:
    """Writes the Identifiers of one query's responses.

    Parameters
    ----------
    tags
        Which attribute each text of a result is of.
    fixed
        Attributes that all Identifiers have.
    plain
        Tags whose texts are values; other texts are the DICOM JSON of elements.
    """

    def __init__(
        self,
        tags: Sequence[str],
        fixed: Mapping[str, Element],
        shape: Shape,
        transfer_syntax: str,
        plain: Container[str] = (),
    ) -> None:
        implicit = UID(transfer_syntax).is_implicit_VR
        places = {tag: place for place, tag in enumerate(tags)}
        self._parts: list[tuple[int, _Column] | bytes] = [
            (places[tag], _Column(tag, shape[tag], implicit, plain=tag in plain))
            if tag in places
            else _encode_element(tag, fixed[tag], None, implicit)
            for tag in shape
        ]

    def encode(self, results: Sequence[Sequence[str | None]]) -> list[bytes]:
        """Return the Identifiers of results: the attributes of the shape; what a result lacks has no value."""
        if not results:
            return []
        columns = tuple(zip(*results, strict=True))
        elements = [
            [part] * len(results) if isinstance(part, bytes) else part[1].encode(columns[part[0]])
            for part in self._parts
        ]
        return [b"".join(of_result) for of_result in zip(*elements, strict=True)]


class _Column:
    """Writes one attribute of all results, which often share values with those before them."""

    def __init__(self, tag: str, shape: Shape | None, implicit: bool, *, plain: bool) -> None:
        self._tag, self._shape, self._implicit, self._plain = tag, shape, implicit, plain
        self._vr = vr_of(tag)
        self._padding = b"\0" if self._vr in _NUL_PADDED else b" "
        self._length_bytes = 4 if implicit or self._vr in _LONG_LENGTH else 2
        self._head = _head(tag, self._vr, 0, implicit)[: -self._length_bytes]
        self._simple = _simple_pattern(self._vr)
        self._known: dict[str | None, bytes] = {}

    def encode(self, texts: Iterable[str | None]) -> list[bytes]:
        """Return the element for each text."""
        known = self._known
        elements = []
        for text in texts:
            element = known.get(text)
            if element is None:
                element = self._element(text)
                if text is None or len(text) <= _MOST_CHARACTERS_KNOWN:
                    if len(known) >= _MOST_KNOWN:
                        known.clear()
                    known[text] = element
            elements.append(element)
        return elements

    def _element(self, text: str | None) -> bytes:
        if text is None:
            return _encode_element(self._tag, None, None, self._implicit)
        if self._plain:
            return self._of_one_value(text)
        simple = self._simple.fullmatch(text)
        if simple is not None:
            return self._of_one_value(simple[1])
        return _encode_element(self._tag, json.loads(text), self._shape, self._implicit)

    def _of_one_value(self, text: str) -> bytes:
        value = text.encode("utf-8", "replace")
        if len(value) % 2:
            value += self._padding
        if len(value) > _MOST_SHORT:
            return _head(self._tag, self._vr, len(value), self._implicit) + value
        return self._head + len(value).to_bytes(self._length_bytes, "little") + value


@lru_cache(maxsize=64)
def _simple_pattern(vr: str) -> re.Pattern[str]:
    """Return what PostgreSQL's JSON of an element with one value looks like, its text unescaped, and that text."""
    if vr == "PN":
        value = r'\{"Alphabetic": "([^"\\]*)"\}'
    elif vr == "IS":
        value = "([0-9]+)"
    elif vr in _TEXTS:
        value = r'"([^"\\]*)"'
    else:
        return _NEVER
    return re.compile(rf'\{{"vr": "{vr}", "Value": \[{value}\]\}}')


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
