"""The table of fields: ``fields/*.toml``, one entry a field.

A new field of a kind that exists is one entry. The kinds and what reads them are in `dicomsvc.reports.extract`.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from re import Pattern
from typing import Any

from dicomsvc.errors import ConfigurationError
from dicomsvc.reports.text.wording import compiled
from dicomsvc.reports.values import Coding

SYSTEMS: Mapping[str, str] = {
    "LN": "http://loinc.org",
    "SCT": "http://snomed.info/sct",
    "ICDO3": "http://terminology.hl7.org/CodeSystem/icd-o-3",
    "NCIT": "http://ncicb.nci.nih.gov/xml/owl/EVS/Thesaurus.owl",
    "UCUM": "http://unitsofmeasure.org",
}
"""FHIR URIs of the code systems, by the short names that the tables and DICOM use (PS3.16 table 8-1)."""
LANGUAGES = ("en", "zh")


@dataclass(frozen=True, slots=True)
class Concept:
    """A code; ``verified`` says where it was looked up. An unverified one goes out as text alone."""

    system: str
    code: str
    display: str
    verified: str | None = None

    @property
    def coding(self) -> Coding | None:
        return Coding(SYSTEMS[self.system], self.code, self.display) if self.verified else None


@dataclass(frozen=True, slots=True)
class Option:
    """One word of a value set, with its wordings by language."""

    value: str
    title: Mapping[str, str]
    wording: Mapping[str, tuple[str, ...]]
    concept: Concept | None = None


@dataclass(frozen=True, slots=True)
class Field:
    """One field: what it is called, which kind of extractor reads it, and with which words.

    ``organs`` are the packages it belongs to, empty for all. ``unit`` is UCUM. ``settings`` are the kind's own keys.
    """

    id: str
    kind: str
    title: Mapping[str, str]
    organs: tuple[str, ...] = ()
    unit: str | None = None
    concept: Concept | None = None
    wording: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    options: tuple[Option, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def pattern(self, language: str) -> Pattern[str]:
        """Return what names this field in ``language`` (``en``, ``zh``)."""
        return compiled(self.wording.get(language, ()))

    def option(self, value: object) -> Option | None:
        return next((option for option in self.options if option.value == value), None)

    def belongs_to(self, organs: tuple[str, ...]) -> bool:
        return not self.organs or any(organ in self.organs for organ in organs)


@cache
def fields() -> Mapping[str, Field]:
    """Return all fields by their id, in the order of the tables.

    Raises
    ------
    ConfigurationError
        A table is not what it must be; the message names the file and the entry.
    """
    found: dict[str, Field] = {}
    folder = files("dicomsvc.reports") / "fields"
    for file in sorted((entry for entry in folder.iterdir() if entry.name.endswith(".toml")), key=lambda e: e.name):
        document = tomllib.loads(file.read_text(encoding="utf-8"))
        for number, entry in enumerate(document.get("field", ()), 1):
            try:
                read = _field(entry, tuple(document.get("organs", ())))
            except (KeyError, TypeError, ValueError) as error:
                raise ConfigurationError(f"{file.name}, field {number}: {error!r}") from error
            if read.id in found:
                raise ConfigurationError(f"{file.name}: the field {read.id} is there twice")
            found[read.id] = read
    return found


_KEYS = {"id", "kind", "title", "organs", "unit", "concept", "wording", "value"}


def _field(entry: dict[str, Any], organs: tuple[str, ...]) -> Field:
    return Field(
        id=entry["id"],
        kind=entry["kind"],
        title=_titles(entry["title"]),
        organs=tuple(entry.get("organs", organs)),
        unit=entry.get("unit"),
        concept=_concept(entry.get("concept")),
        wording=_wordings(entry.get("wording", {})),
        options=tuple(_option(option) for option in entry.get("value", ())),
        settings={key: value for key, value in entry.items() if key not in _KEYS},
    )


def _option(entry: dict[str, Any]) -> Option:
    return Option(
        value=entry["value"],
        title=_titles(entry["title"]),
        wording=_wordings(entry.get("wording", {})),
        concept=_concept(entry.get("concept")),
    )


def _titles(entry: dict[str, str]) -> Mapping[str, str]:
    return {language: entry[language] for language in LANGUAGES}


def _wordings(entry: dict[str, list[str]]) -> Mapping[str, tuple[str, ...]]:
    found = {language: tuple(entry[language]) for language in LANGUAGES if language in entry}
    if unknown := set(entry) - set(LANGUAGES):
        raise ValueError(f"wording in unknown languages {sorted(unknown)}")
    for wordings in found.values():
        compiled(wordings)
    return found


def _concept(entry: dict[str, str] | None) -> Concept | None:
    if entry is None:
        return None
    concept = Concept(**entry)
    if concept.system not in SYSTEMS:
        raise ValueError(f"unknown code system {concept.system}")
    return concept
