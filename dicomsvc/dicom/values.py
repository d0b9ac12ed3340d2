"""Values of data elements as DICOM JSON text (PS3.18 F.2), VR by VR.

Each converter returns the text of the ``Value`` array's inside, or an empty string where there is no value. Text is not
yet encoded; NUL never occurs in it.
"""

import math
import re
import struct
from base64 import b64encode
from collections.abc import Callable
from json.encoder import encode_basestring as quote
from typing import Final

from dicomsvc.dicom.charset import CharacterSet

Fault = Callable[[str], None]

BINARY: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
"""VRs whose value is BulkDataURI or InlineBinary, never Value."""
NUMERIC: Final = {
    "FD": "d",
    "FL": "f",
    "SL": "i",
    "SS": "h",
    "SV": "q",
    "UL": "I",
    "US": "H",
    "UV": "Q",
}
_WORD_SIZE = {"OD": 8, "OF": 4, "OL": 4, "OV": 8, "OW": 2}
# One value, in which a backslash is a character (PS3.5 6.2).
_SINGLE = frozenset(("LT", "ST", "UR", "UT"))
# Leading spaces are padding, too (PS3.5 6.2).
_STRIPPED = frozenset(("AE", "CS", "DS", "IS", "LO", "SH"))
# Always in the default repertoire, whatever SpecificCharacterSet says.
_ASCII = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"))
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,24})?\Z")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]{1,64}(?:\.[0-9]{0,64})?|\.[0-9]{1,64})(?:[eE][+-]?[0-9]{1,4})?\Z")
_INTEGER = re.compile(r"[+-]?[0-9]{1,32}\Z")
_NAME_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")


def _join(values: list[str]) -> str:
    """Join converted values, of which an empty one is null unless it is alone (PS3.18 F.2.5)."""
    if not any(values):
        return ""
    return ",".join(value or "null" for value in values)


def _decimal(text: str, fault: Fault) -> str:
    if not text or _JSON_NUMBER.match(text):
        return text
    if _DECIMAL.match(text):
        number = float(text)
        if math.isfinite(number):
            return repr(number)
    fault("a value is not a number")
    return ""


def _integer(text: str, fault: Fault) -> str:
    if not text:
        return text
    if _INTEGER.match(text):
        return str(int(text))
    if _DECIMAL.match(text) and math.isfinite(number := float(text)) and number.is_integer():
        return str(int(number))
    fault("a value is not an integer")
    return ""


def _person_name(text: str) -> str:
    groups = [group.rstrip(" ") for group in text.split("=")[:3]]
    members = (f'"{key}":{quote(group)}' for key, group in zip(_NAME_GROUPS, groups, strict=False) if group)
    inside = ",".join(members)
    return f"{{{inside}}}" if inside else ""


def text_value(vr: str, value: bytes, charset: CharacterSet, fault: Fault) -> str:
    """Convert a character string value, several of which a backslash separates."""
    if vr in _ASCII:
        text = value.decode("latin-1")
    else:
        text = charset.decode(value, name=vr == "PN")
    text = _without_nulls(vr, text) if "\0" in text else text
    if vr in _SINGLE:
        text = text.rstrip(" ")
        return quote(text) if text else ""
    values = text.split("\\")
    if vr in _STRIPPED:
        values = [each.strip(" ") for each in values]
    else:
        values = [each.rstrip(" ") for each in values]
    if vr == "PN":
        return _join([_person_name(each) for each in values])
    if vr == "DS":
        return _join([_decimal(each, fault) for each in values])
    if vr == "IS":
        return _join([_integer(each, fault) for each in values])
    return _join([quote(each) if each else "" for each in values])


def _without_nulls(vr: str, text: str) -> str:
    if vr != "UI":
        return text.replace("\0", "")
    # A UID is padded by one at its end (PS3.5 9.1); one within makes it no UID, and must not make it another one.
    return "\\".join(each.rstrip("\0").replace("\0", "\ufffd") for each in text.split("\\"))


def numeric_value(vr: str, value: bytes, endian: str, fault: Fault) -> str:
    """Convert binary numbers; NaN and infinity, which JSON has no word for, become null."""
    code = NUMERIC[vr]
    size = struct.calcsize(f"={code}")
    if len(value) % size:
        fault("the value's length does not fit its value representation")
        value = value[: len(value) - len(value) % size]
    numbers = struct.unpack(f"{endian}{len(value) // size}{code}", value)
    if code not in "df":
        return ",".join(map(str, numbers))
    if all(map(math.isfinite, numbers)):
        return ",".join(map(repr, numbers))
    fault("a value is not a finite number")
    return _join([repr(number) if math.isfinite(number) else "" for number in numbers])


def tag_value(value: bytes, endian: str, fault: Fault) -> str:
    """Convert attribute tags to eight hexadecimal digits each."""
    if len(value) % 4:
        fault("the value's length does not fit its value representation")
        value = value[: len(value) - len(value) % 4]
    parts = struct.unpack(f"{endian}{len(value) // 2}H", value)
    return ",".join(f'"{group:04X}{number:04X}"' for group, number in zip(parts[::2], parts[1::2], strict=True))


def inline_binary(vr: str, value: bytes, endian: str) -> str:
    """Return the value in base 64, words in little endian order (PS3.18 F.2.7)."""
    size = _WORD_SIZE.get(vr, 1)
    if endian == ">" and size > 1 and len(value) % size == 0:
        value = b"".join(value[at : at + size][::-1] for at in range(0, len(value), size))
    return b64encode(value).decode("ascii")


def element_text(vr: str, value: bytes, charset: CharacterSet, endian: str, fault: Fault) -> str:
    """Return the JSON object of one element that is neither a sequence nor bulk data."""
    if vr in BINARY:
        if not value:
            return f'{{"vr":"{vr}"}}'
        return f'{{"vr":"{vr}","InlineBinary":"{inline_binary(vr, value, endian)}"}}'
    if vr in NUMERIC:
        inside = numeric_value(vr, value, endian, fault)
    elif vr == "AT":
        inside = tag_value(value, endian, fault)
    else:
        inside = text_value(vr, value, charset, fault)
    return f'{{"vr":"{vr}","Value":[{inside}]}}' if inside else f'{{"vr":"{vr}"}}'
