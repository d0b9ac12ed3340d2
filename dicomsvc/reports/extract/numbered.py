"""Numbered levels: a grade or level of a named system, behind the field's wording ("Clark level IV", "Edmondson III").

Settings: ``least`` and ``most`` bound the numbers of the system; ``fill`` are the words that may stand between name and
number. Of a range the higher counts, as the systems have it.
"""

import re
from collections.abc import Iterator

from dicomsvc.reports.extract.numerals import NUMBER, number
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.schema import Field
from dicomsvc.reports.values import FieldValue

RULE = "numbered/1"
_REACH = 80
_FILL = (
    r"'?s\b|[\s:;,.()\[\]\-=/]|grad(?:e|es|ing)\b|levels?\b|score\b|stage\b|classification\b|is\b|of\b|was\b|as\b|"
    r"invasion\b|the worst\b|worst\b|highest\b|histologic(?:al)?\b|nuclear\b|system\b|"
    r"分级|分期|分型|级别|水平|浸润|为|是"
)


def find_numbered(reading: Reading, field: Field) -> Iterator[FieldValue]:
    """Yield the number behind each mention of the system."""
    fill = "|".join((_FILL, *field.settings.get("fill", ())))
    behind = re.compile(rf"(?:{fill}){{0,16}}?(?P<number>{NUMBER})(?:\s?(?:-|to|and|~|/)\s?(?P<upper>{NUMBER}))?")
    most = field.settings["most"]
    for match in field.pattern(reading.language).finditer(reading.text):
        found = behind.match(reading.text[match.end() : match.end() + _REACH])
        if found is None or not reading.weight_at(match.start()):
            continue
        level = _level(found, most)
        if field.settings.get("least", 1) <= level <= most:
            yield _value(reading, field, match.start(), match.end() + found.end(), level)


def _level(found: re.Match[str], most: int) -> int:
    level, upper = number(found["number"]), number(found["upper"]) if found["upper"] else None
    of = found.group(0)[found.start("upper") - 1] == "/" if upper else False
    return level if upper is None or (of and upper == most) else max(level, upper)


def _value(reading: Reading, field: Field, start: int, end: int, level: int) -> FieldValue:
    evidence = reading.evidence(start, end)
    option = field.option(level)
    return FieldValue(
        field=field.id,
        value=level,
        evidence=(evidence,),
        raw=reading.raw(evidence),
        code=option.concept.coding if option and option.concept else None,
        part=reading.label_at(start),
        confidence=0.95,
        rule=RULE,
    )
