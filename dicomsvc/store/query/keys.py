"""Which attributes a search names: by keyword, by tag, or by a path of them through sequences (PS3.18 8.3.4.1)."""

import re
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Final

from pydicom.datadict import tag_for_keyword

from dicomsvc.dicom.dictionary import dictionary_vr
from dicomsvc.errors import BadRequest
from dicomsvc.store.levels import SERIES_TAGS, STUDY_TAGS

_TAG = re.compile(r"[0-9A-Fa-f]{8}\Z")
_MAX_DEPTH: Final = 8
_MAX_NAME: Final = 64
# Made from the index, not taken from the instances (PS3.4 C.3.4).
STUDY_COMPUTED: Final = frozenset({"00080061", "00080062", "00201206", "00201208"})
SERIES_COMPUTED: Final = frozenset({"00201209"})


class Level(IntEnum):
    """Levels of the Study Root model, from the top."""

    STUDY = 0
    SERIES = 1
    INSTANCE = 2


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute: tags as eight upper case hexadecimal digits, from the outermost sequence in; VR of the last."""

    path: tuple[str, ...]
    vr: str
    name: str

    @property
    def tag(self) -> str:
        """The outermost tag, which is the one that belongs to a level."""
        return self.path[0]

    @property
    def level(self) -> Level:
        return level_of(self.path[0])


def level_of(tag: str) -> Level:
    """Return the level whose rows hold the attribute."""
    if tag in STUDY_TAGS or tag in STUDY_COMPUTED:
        return Level.STUDY
    if tag in SERIES_TAGS or tag in SERIES_COMPUTED:
        return Level.SERIES
    return Level.INSTANCE


@lru_cache(maxsize=4096)
def vr_of(tag: str) -> str:
    """Return the VR of an attribute by the dictionary; UN for private and unknown ones."""
    vr = dictionary_vr(int(tag, 16))
    return "UN" if vr is None else vr[:2]


@lru_cache(maxsize=4096)
def parse_attribute(name: str) -> Attribute:
    """Return what ``name`` means: ``PatientName``, ``00100010``, ``SpecimenDescriptionSequence.00400551``.

    Raises
    ------
    BadRequest
        When a part of it is neither a known keyword nor a tag, or a part but the last is not a sequence.
    """
    shown = name[:_MAX_NAME]
    parts = name.split(".")
    if len(parts) > _MAX_DEPTH:
        raise BadRequest(f"search key {shown!r} is nested too deep")
    path = tuple(_tag(part, shown) for part in parts)
    for tag in path[:-1]:
        if vr_of(tag) not in ("SQ", "UN"):
            raise BadRequest(f"search key {shown!r}: only a sequence has attributes inside")
    return Attribute(path, vr_of(path[-1]), shown)


def _tag(part: str, shown: str) -> str:
    if _TAG.match(part):
        return part.upper()
    number = tag_for_keyword(part) if part else None
    if number is None:
        raise BadRequest(f"search key {shown!r} is neither the keyword nor the tag of an attribute")
    return f"{number:08X}"
