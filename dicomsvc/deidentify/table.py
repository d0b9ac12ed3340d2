"""The attributes that PS3.15 Table E.1-1 names, with the action of the profile and of each option.

``attributes.csv`` holds the facts: the actions of the Basic Profile are those of the 2026c edition, (50xx,xxxx) and
(60xx,…) stand for their repeating groups. The options' columns follow the standard; for the attributes that are younger
than our transcription of those columns they follow its pattern (dates, UIDs, devices, descriptions).
"""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

EDITION: Final = "PS3.15 2026c"
_PRIVATE = "odd group"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; an empty string where an option says nothing of the attribute."""

    tag: str
    keyword: str
    basic: str
    """X remove, Z empty, D dummy, U replace UIDs, and what of them applies by type, e.g. ``X/Z/D``."""
    safe_private: str
    uids: str
    device: str
    institution: str
    patient: str
    full_dates: str
    modified_dates: str
    descriptors: str
    structured_content: str
    graphics: str


@cache
def rows() -> tuple[Row, ...]:
    """Return all lines."""
    text = files("dicomsvc.deidentify").joinpath("attributes.csv").read_text("ascii")
    return tuple(Row(*line) for line in list(csv.reader(text.splitlines()))[1:])


@cache
def _by_tag() -> dict[int, Row]:
    return {int(row.tag, 16): row for row in rows() if row.tag != _PRIVATE and "x" not in row.tag}


@cache
def _by_group() -> dict[str, Row]:
    return {row.tag: row for row in rows() if "x" in row.tag}


def row_of(tag: int) -> Row | None:
    """Return the line of a public attribute."""
    found = _by_tag().get(tag)
    if found is None and tag >> 24 in (0x50, 0x60):
        repeating = _by_group()
        found = repeating.get(f"{tag >> 24:02X}xx{tag & 0xFFFF:04X}") or repeating.get(f"{tag >> 24:02X}xxxxxx")
    return found
