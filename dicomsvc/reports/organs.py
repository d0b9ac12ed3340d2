"""Which organs a report is about: which packages of fields are looked for."""

import tomllib
from functools import cache
from importlib.resources import files
from re import Pattern

from dicomsvc.reports.reading import Reading
from dicomsvc.reports.text.wording import compiled

SHARE = 0.45
"""An organ belongs to the report when it is named at least this often as the one named most."""


@cache
def _patterns(language: str) -> dict[str, Pattern[str]]:
    document = tomllib.loads((files("dicomsvc.reports.text") / "organs.toml").read_text(encoding="utf-8"))
    return {organ: compiled(tuple(words[language])) for organ, words in document.items()}


def find_organs(reading: Reading) -> tuple[str, ...]:
    """Return the organs that the report names most, each mention weighed by its section, the first one most."""
    named: dict[str, float] = {}
    for organ, pattern in _patterns(reading.language).items():
        named[organ] = sum(reading.weight_at(match.start()) ** 2 for match in pattern.finditer(reading.text))
    most = max(named.values(), default=0.0)
    ranked = sorted(named, key=lambda organ: -named[organ])
    return tuple(organ for organ in ranked if most and named[organ] >= SHARE * most)
