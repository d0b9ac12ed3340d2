"""A case's values by field, and the classification that holds for it."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from dicomsvc.reports.reading import Reading
from dicomsvc.reports.values import FieldValue, Status

LATEST = 8
"""The edition that rules go by where the report names none; the rule's id says so."""


@dataclass(frozen=True, slots=True)
class Case:
    """The values that hold for the case as a whole, and the table of its first organ in its edition.

    ``restaged`` says that the report stages by an edition before those of the table, by a category that only it has.
    """

    values: Mapping[str, FieldValue]
    organ: str
    edition: int
    table: Mapping[str, Any]
    restaged: bool = False

    def number(self, field: str) -> float | None:
        value = self.values.get(field)
        return float(value.value) if value and isinstance(value.value, int | float) else None

    def word(self, field: str) -> str | None:
        value = self.values.get(field)
        return value.value if value and isinstance(value.value, str) else None

    def rule(self, name: str) -> str:
        return f"{name}/ajcc{self.edition}"


@cache
def _tables() -> Mapping[str, Mapping[str, Any]]:
    return tomllib.loads((files("dicomsvc.reports.derivation") / "tables.toml").read_text(encoding="utf-8"))


def case_of(reading: Reading, values: Sequence[FieldValue]) -> Case | None:
    """Return the case, or None where its organ or its edition has no table."""
    whole: dict[str, FieldValue] = {}
    for value in values:
        if (
            value.part is None
            and "station" not in value.qualifiers
            and value.status is not Status.NOT_STATED
            and value.value is not None
        ):
            whole.setdefault(value.field, value)
    organ = reading.organs[0] if reading.organs else ""
    table = _tables().get(organ)
    named = whole.get("ajcc_edition")
    edition = int(named.value) if named and isinstance(named.value, int) else LATEST
    if table is None or edition not in table["editions"]:
        return None
    stated = whole.get("pt_category")
    restaged = named is None and stated is not None and stated.value in table.get("earlier", ())
    return Case(whole, organ, edition, table, restaged)


def upto(rows: Sequence[tuple[float, str]], number: float) -> str | None:
    """Return the category of the first row whose bound is not below ``number``."""
    return next((category for bound, category in rows if number <= bound), None)


def with_derived(values: Sequence[FieldValue], derived: FieldValue) -> list[FieldValue]:
    """Return ``values`` with ``derived`` in the place of the case's value of its field, or at the end."""
    found = next((value for value in values if value.field == derived.field and value.part is None), None)
    if found is None:
        return [*values, derived]
    return [derived if value is found else value for value in values]
