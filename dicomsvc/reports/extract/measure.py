"""Measures: a number with its unit behind the field's wording ("Breslow depth is 1.2 mm") or before it.

Settings: ``units`` gives each unit's factor to the field's unit; ``unit_needed = false`` where the number may stand
alone; ``behind`` are wordings that follow the number ("15 % of the prostate"); ``least`` and ``most`` bound what is
believed.
"""

import re
from collections.abc import Iterator, Mapping

from dicomsvc.reports.reading import Reading
from dicomsvc.reports.schema import Field
from dicomsvc.reports.text.wording import compiled
from dicomsvc.reports.values import FieldValue

RULE = "measure/1"
_REACH = 70
_COMPARED = {
    "<": "<",
    "less than": "<",
    "under": "<",
    "小于": "<",
    "不足": "<",
    "≤": "<=",
    "up to": "<=",
    "at most": "<=",
}
_COMPARED |= {
    ">": ">",
    "more than": ">",
    "greater than": ">",
    "over": ">",
    "大于": ">",
    "≥": ">=",
    "at least": ">=",
    "至少": ">=",
}
_NUMBER = (
    rf"(?P<compared>{'|'.join(map(re.escape, _COMPARED))})?[\s]{{0,2}}(?P<number>\d{{1,4}}(?:\s?[.,]\s?\d{{1,3}})?)"
    r"(?:\s?(?:-|to|~)\s?(?P<upper>\d{1,4}(?:[.,]\d{1,3})?))?"
)
_FILL = (
    r"(?:[\s:;=(\[)*,\-]|is\b|of\b|was\b|the\b|a\b|by\b|measur(?:es|ed|ing)\b|approximate(?:ly)?\b|about\b|estimated\b|depth\b|"
    r"thickness\b|level\b|maxim(?:um|al)\b|tumou?r\b|at diagnosis\b|to\b(?! [a-z])|an\b|count\b|rate\b|index\b|"
    r"involv(?:es|ing|ed)\b|in\b|mm\)|厚度|深度|浸润|约|为|达|是)"
)


def find_measure(reading: Reading, field: Field) -> Iterator[FieldValue]:
    """Yield each number that stands with its unit where the field's words want one."""
    units: Mapping[str, float] = field.settings["units"]
    unit = "|".join(re.escape(name) for name in sorted(units, key=len, reverse=True))
    needed = "" if field.settings.get("unit_needed", True) else "?"
    quantity = rf"{_NUMBER}\s{{0,2}}(?P<unit>{unit}){needed}"
    after = re.compile(rf"{_FILL}{{0,14}}?{quantity}(?![\d.]*\d)")
    before = re.compile(rf"{quantity}[\s,()]{{0,3}}$")
    for match in field.pattern(reading.language).finditer(reading.text):
        found = after.match(reading.text[match.end() : match.end() + _REACH])
        if found and (value := _value(reading, field, match.start(), match.end() + found.end(), found, units)):
            yield value
    behind = field.settings.get("behind", {}).get(reading.language, ())
    for match in compiled(tuple(behind)).finditer(reading.text) if behind else ():
        begin = max(0, match.start() - 30)
        found = before.search(reading.text[begin : match.start()])
        if found and (value := _value(reading, field, begin + found.start(), match.end(), found, units)):
            yield value


def _value(
    reading: Reading, field: Field, start: int, end: int, found: re.Match[str], units: Mapping[str, float]
) -> FieldValue | None:
    if not reading.weight_at(start):
        return None
    factor = units[found["unit"]] if found["unit"] else 1.0
    number = round(float((found["upper"] or found["number"]).replace(" ", "").replace(",", ".")) * factor, 3)
    if not field.settings.get("least", 0) <= number <= field.settings.get("most", 100_000):
        return None
    evidence = reading.evidence(start, end)
    return FieldValue(
        field=field.id,
        value=int(number) if number.is_integer() else number,
        evidence=(evidence,),
        raw=reading.raw(evidence),
        unit=field.unit,
        part=reading.label_at(start),
        confidence=0.93,
        rule=RULE,
        qualifiers={"comparator": _COMPARED[found["compared"]]} if found["compared"] else {},
    )
