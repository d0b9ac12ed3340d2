"""The keys of a C-FIND's Identifier: what is matched, and what is returned (PS3.4 C.2.2, C.4.1)."""

from dataclasses import dataclass
from typing import Final

from pydicom import DataElement, Dataset

from dicomsvc.errors import InvalidIdentifier
from dicomsvc.pacs.identifiers import Shape
from dicomsvc.pacs.models import LEVELS, QUERY_RETRIEVE_LEVEL, QueryLevel, level_of_identifier, levels_of
from dicomsvc.store.query import (
    PATIENT_COUNTS,
    PATIENT_TAGS,
    Attribute,
    Key,
    Level,
    Listing,
    Query,
    level_of,
    parse_match,
    vr_of,
)

_MOST_KEYS: Final = 256
_DEEPEST: Final = 7
SPECIFIC_CHARACTER_SET: Final = "00080005"
LEVEL: Final = f"{QUERY_RETRIEVE_LEVEL:08X}"
RETRIEVE_AE_TITLE: Final = "00080054"
INSTANCE_AVAILABILITY: Final = "00080056"
TIMEZONE_OFFSET: Final = "00080201"
# What every response has: not keys that could match, or fail to.
_OF_THE_RESPONSE: Final = frozenset({SPECIFIC_CHARACTER_SET, LEVEL, RETRIEVE_AE_TITLE, INSTANCE_AVAILABILITY})
# pydicom decodes ISO 2022 IR 58 with a codec that leaves its escape sequence in the text.
_GB_2312_DESIGNATION: Final = "\x1b$)A"
NOT_MATCHED: Final = frozenset("OB OD OF OL OV OW SQ UN".split())


@dataclass(frozen=True, slots=True)
class Asked:
    """A query as the index takes it, and the shape of its responses.

    Attributes
    ----------
    all_supported
        Whether all keys are supported; otherwise pending responses say so (0xFF01).
    """

    level: QueryLevel
    query: Query
    listing: Listing
    shape: Shape
    all_supported: bool


def read_identifier(identifier: Dataset, sop_class_uid: str) -> Asked:
    """Return what an Identifier asks.

    Keys need not follow the hierarchy: those of higher levels may be missing or be lists, and those of lower levels
    match when something below the result does; these are not returned.

    Raises
    ------
    InvalidIdentifier
        When its level is none of the model's, or it is no Identifier at all.
    BadRequest
        When a value is none of its VR.
    """
    level = level_of_identifier(identifier, sop_class_uid)
    reading = _Reading(level)
    for element in identifier:
        reading.take(element)
    for each in levels_of(sop_class_uid):
        tag = f"{LEVELS[each].unique_key:08X}"
        if _returned_at(tag, level):
            reading.shape.setdefault(tag, None)
        if each is level:
            break
    asked = tuple(tag for tag in reading.shape if tag not in _OF_THE_RESPONSE)
    for tag in _OF_THE_RESPONSE:
        reading.shape[tag] = None
    return Asked(
        level,
        Query(keys=tuple(reading.keys)),
        Listing(LEVELS[level].rows, asked),
        dict(sorted(reading.shape.items())),
        reading.all_supported,
    )


class _Reading:
    """Keys as they are read from an Identifier for one level."""

    def __init__(self, level: QueryLevel) -> None:
        self._level = level
        self.keys: list[Key] = []
        self.shape: dict[str, Shape | None] = {}
        self.all_supported = True

    def take(self, element: DataElement) -> None:
        tag = f"{int(element.tag):08X}"
        if element.tag.element == 0 or tag in _OF_THE_RESPONSE:
            return
        vr = vr_of(tag)
        if element.tag.is_private or vr == "UN" or (vr == "SQ") != (element.VR == "SQ"):
            self.all_supported = False
            return
        if _returned_at(tag, self._level):
            self.shape[tag] = self._shape_of(element)
        else:
            self.all_supported = False
        self._add_keys(element, ())

    def _shape_of(self, element: DataElement) -> Shape | None:
        if element.VR != "SQ" or not element.value or not len(element.value[0]):
            return None
        return {f"{int(inner.tag):08X}": self._shape_of(inner) for inner in element.value[0]}

    def _add_keys(self, element: DataElement, above: tuple[str, ...]) -> None:
        path = (*above, f"{int(element.tag):08X}")
        if element.VR == "SQ":
            if len(element.value) > 1 or len(path) > _DEEPEST:
                raise InvalidIdentifier("a sequence key has more than one item, or lies too deep (PS3.4 C.2.2.2.6)")
            for inner in element.value[0] if element.value else ():
                self._add_keys(inner, path)
            return
        text = text_of(element)
        if not text or path[0] == TIMEZONE_OFFSET:
            return
        vr = vr_of(path[-1])
        if vr in NOT_MATCHED:
            self.all_supported = False
            return
        attribute = Attribute(path, vr, str(element.keyword or path[-1]))
        match = parse_match(attribute.name, vr, text)
        if match is not None:
            self.keys.append(Key(attribute, match))
        if len(self.keys) > _MOST_KEYS:
            raise InvalidIdentifier(f"the identifier has more than {_MOST_KEYS} keys")


def _returned_at(tag: str, level: QueryLevel) -> bool:
    """Whether results of a level have the attribute: it is of that level or of one above."""
    rows = LEVELS[level].rows
    if rows is None:
        return tag in PATIENT_TAGS or tag in PATIENT_COUNTS or tag == TIMEZONE_OFFSET
    return tag not in PATIENT_COUNTS and level_of(tag) <= (rows or Level.STUDY)


def text_of(element: DataElement) -> str:
    """Return a key's value as text, several values with backslashes between them."""
    return _joined(element).replace(_GB_2312_DESIGNATION, "")


def _joined(element: DataElement) -> str:
    value = element.value
    if value is None or (isinstance(value, list | tuple) and not value):
        return ""
    if element.VR == "AT":
        parts = value if isinstance(value, list | tuple) else [value]
        return "\\".join(f"{int(part):08X}" for part in parts)
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, str) or not hasattr(value, "__iter__") or (element.VR == "PN" and element.VM == 1):
        return str(value)
    return "\\".join("" if part is None else str(part) for part in value)
