"""The Query/Retrieve information models: their SOP classes, levels and unique keys (PS3.4 C.3, C.4, C.6)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from pydicom import Dataset

from dicomsvc.dimse.information_models import (
    PATIENT_ROOT_FIND,
    PATIENT_ROOT_GET,
    PATIENT_ROOT_MOVE,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
)
from dicomsvc.errors import InvalidIdentifier
from dicomsvc.store.query import Level

FIND_CLASSES: Final = frozenset({PATIENT_ROOT_FIND, STUDY_ROOT_FIND})
MOVE_CLASSES: Final = frozenset({PATIENT_ROOT_MOVE, STUDY_ROOT_MOVE})
GET_CLASSES: Final = frozenset({PATIENT_ROOT_GET, STUDY_ROOT_GET})
_PATIENT_ROOT: Final = frozenset({PATIENT_ROOT_FIND, PATIENT_ROOT_MOVE, PATIENT_ROOT_GET})

QUERY_RETRIEVE_LEVEL: Final = 0x00080052


class QueryLevel(StrEnum):
    """Values of Query/Retrieve Level (0008,0052), from the top."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"


@dataclass(frozen=True, slots=True)
class LevelOf:
    """What a level is in the index: ``rows`` None are patients, made of their studies; its unique key's tag."""

    rows: Level | None
    unique_key: int


LEVELS: Final[Mapping[QueryLevel, LevelOf]] = MappingProxyType(
    {
        QueryLevel.PATIENT: LevelOf(None, 0x00100020),
        QueryLevel.STUDY: LevelOf(Level.STUDY, 0x0020000D),
        QueryLevel.SERIES: LevelOf(Level.SERIES, 0x0020000E),
        QueryLevel.IMAGE: LevelOf(Level.INSTANCE, 0x00080018),
    }
)


def levels_of(sop_class_uid: str) -> tuple[QueryLevel, ...]:
    """Return the levels of a SOP class's model, from the top."""
    return tuple(level for level in QueryLevel if level is not QueryLevel.PATIENT or sop_class_uid in _PATIENT_ROOT)


def level_of_identifier(identifier: Dataset, sop_class_uid: str) -> QueryLevel:
    """Return the level that an identifier is for.

    Raises
    ------
    InvalidIdentifier
        When it names none, or one that the SOP class's model lacks.
    """
    element = identifier.get(QUERY_RETRIEVE_LEVEL)
    named = str(element.value or "").strip().upper() if element is not None else ""
    if named not in QueryLevel.__members__:
        raise InvalidIdentifier("Query/Retrieve Level (0008,0052) is missing or is none")
    level = QueryLevel(named)
    if level not in levels_of(sop_class_uid):
        raise InvalidIdentifier("the Study Root model has no level PATIENT")
    return level
