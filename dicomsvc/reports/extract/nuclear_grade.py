"""Nuclear grades of renal tumours: Fuhrman, WHO/ISUP, and those whose system the report does not name, kept apart.

One pass over the text reads all (`read_grades`); a field's ``system`` says which of them are its own.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dicomsvc.reports.extract.numerals import NUMBER, number
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.schema import Field
from dicomsvc.reports.text.wording import searcher
from dicomsvc.reports.values import FieldValue

RULE = "nuclear_grade/1"
_NAMES = searcher(
    r"(?P<fuhrman>\bfu[hr]{1,3}m[ae]n{1,2}\b)"
    r"|(?P<isup>\b(?:who[\s/\-]{0,3})?isup(?:[\s/\-]{0,3}who)?\b|\bnucleolar grad(?:e|ing))"
    r"|(?P<unnamed>\bnuclear grad(?:e|ing)\b|\b(?:histologic(?:al)?|tumou?r|histopathologic) grade\b|\bgrade\b|核分级)"
)
_OF = r"(?:\s{0,2}\(?\s{0,2}(?:/|of|out of)\s{0,2}(?:4|iv|four|ⅳ)\b\)?)?"
_FILL = (
    r"(?:'?s\b|[\s:;,.()\[\]\-=/\"*]|nuclear|nucleolar|histologic(?:al)?|grad(?:e|es|ed|ing)\b|score|system|classification|"
    r"criteria|is\b|was\b|of\b|as\b|a\b|the\b|tumou?r|overall|predominantly|mostly|high(?:est)?|up to|focally|"
    r"if applicable|who/isup|isup|(?:19|20)\d\d\b|"
    r"1\s?-\s?4\b|1 to 4\b|i\s?-\s?iv\b|et al\b|modified|核|分级|级别|为|g(?=\s?[1-4]))"
)
_BEHIND = re.compile(
    rf"{_FILL}{{0,24}}?(?!1\s?(?:-|to)\s?4\b|i\s?-\s?iv\b)g?(?P<number>{NUMBER})"
    rf"(?:\s?(?:-|to|and|~)\s?g?(?P<upper>{NUMBER}))?{_OF}"
)
_AHEAD = re.compile(
    rf"(?:grade[\s:.]{{0,3}}|g)?\b(?P<number>{NUMBER})(?:\s?[-~]\s?(?P<upper>{NUMBER}))?[\s(\[,;]{{0,4}}"
    r"(?:(?:/|of|out of)\s?(?:4|iv|four)\b[\s),;:]{0,4})?"
    r"(?:(?:by|per|using|according to|on|in)\s)?(?:the\s)?(?:modified\s)?(?:grade\s)?"
    r"(?:nuclear grad(?:e|ing)[\s,(]{0,3})?$"
)
_REFUSED = re.compile(
    r"(?:low|intermediate|high|mitotic|architectural|combined|gleason|isup grade) $|gleason[^.]{0,30}$"
)


@dataclass(frozen=True, slots=True)
class NuclearGrade:
    """``system`` is ``fuhrman``, ``isup`` or ``unnamed``; ``text[start:end]`` names it and the grade."""

    system: str
    grade: int
    start: int
    end: int


def read_grades(reading: Reading) -> tuple[NuclearGrade, ...]:
    """Return all nuclear grades in the text; a number is read once, for the name that is surest."""
    found: list[NuclearGrade] = []
    marks = list(_NAMES.finditer(reading.text))
    taken: list[tuple[int, int]] = []
    for named in (True, False):
        for mark in marks:
            system = str(mark.lastgroup)
            if (system != "unnamed") is not named or any(a <= mark.start() < b for a, b in taken):
                continue
            grade = _behind(reading.text, mark, system) or (_ahead(reading.text, mark, system) if named else None)
            if grade is not None and not any(a < grade.end and grade.start < b for a, b in taken):
                found.append(grade)
                taken.append((grade.start, grade.end))
    return tuple(sorted(found, key=lambda grade: grade.start))


def _behind(text: str, mark: re.Match[str], system: str) -> NuclearGrade | None:
    if system == "unnamed" and _REFUSED.search(text[max(0, mark.start() - 40) : mark.start()]):
        return None
    match = _BEHIND.match(text[mark.end() : mark.end() + 90])
    return NuclearGrade(system, _highest(match), mark.start(), mark.end() + match.end()) if match else None


def _ahead(text: str, mark: re.Match[str], system: str) -> NuclearGrade | None:
    begin = max(0, mark.start() - 50)
    match = _AHEAD.search(text[begin : mark.start()])
    return NuclearGrade(system, _highest(match), begin + match.start(), mark.end()) if match else None


def _highest(match: re.Match[str]) -> int:
    return max(number(word) for word in match.group("number", "upper") if word)


def find_nuclear_grade(reading: Reading, field: Field) -> Iterator[FieldValue]:
    """Yield the grades of the field's system; a grade above what the tumour has elsewhere counts as any other."""
    system = field.settings["system"]
    for grade in reading.once(read_grades):
        if grade.system != system or not reading.weight_at(grade.start):
            continue
        evidence = reading.evidence(grade.start, grade.end)
        option = field.option(grade.grade)
        yield FieldValue(
            field=field.id,
            value=grade.grade,
            evidence=(evidence,),
            raw=reading.raw(evidence),
            code=option.concept.coding if option and option.concept else None,
            part=reading.label_at(grade.start),
            confidence=0.95,
            rule=RULE,
        )
