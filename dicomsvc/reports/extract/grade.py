"""Histologic grades: differentiation, numbered and Nottingham grades, each with its system.

One pass over the text finds every grade (`read_grades`). Not read are grades of nuclei, mitoses, dysplasia, in-situ
tumours, inflammation or regression, and those whose systems have fields of their own (Gleason, Fuhrman, WHO/ISUP).
Where no grade is stated, that of breast carcinoma follows from Nottingham's score.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from dicomsvc.reports.extract.grade_words import (
    CATEGORY,
    DEGREES,
    ELSEWHERE,
    ENTRY,
    GRADES,
    IN_SITU,
    INVASIVE,
    LABEL_OF_BLOCK,
    NAMED_VALUE,
    NUMERALS,
    REFUSED,
    REFUSED_AFTER,
    REFUSED_TIER,
    SYSTEMS,
    TICKED,
    TUMOUR,
    UNTICKED,
    VALUE,
    WRAPPED,
)
from dicomsvc.reports.extract.nottingham import GRADE_RULE, Nottingham, read_nottingham
from dicomsvc.reports.extract.terms import unchecked
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.schema import Field
from dicomsvc.reports.values import FieldValue, Status

RULE = "grade/1"
LEAST = 0.3
"""What stands in a section of less weight (the clinical history) is no grade of this specimen."""
TRIED = 2000
"""Words for grades that are looked at."""
MOST = 80
"""No report states more grades; what has more is none."""
_LOOK = 90
_KINDS = {
    "undifferentiated": ("differentiation", 0.75),
    "differentiation": ("differentiation", 0.92),
    "after": ("differentiation", 0.95),
    "zh": ("differentiation", 0.92),
    "tier": ("two_tier", 0.75),
    "zhtier": ("two_tier", 0.75),
    "zhafter": ("differentiation", 0.92),
    "zhbare": ("numbered", 0.9),
    "short": ("numbered", 0.9),
}
"""How each form is read: its system, and how far it is believed."""
_DEGREE_KEYS = ("d1", "d2", "a1", "a2", "t1", "t2", "z1", "z2", "z3")


@dataclass(frozen=True, slots=True)
class Grade:
    """``text[start:end]`` names the grade.

    ``system`` is ``differentiation``, ``nottingham``, ``figo``, ``edmondson_steiner``, ``two_tier`` or ``numbered``.
    """

    grade: int
    system: str
    start: int
    end: int
    confidence: float


def find_grade(reading: Reading, field: Field) -> Iterator[FieldValue]:
    """Yield the histologic grades of the report's tumour; those that follow from Nottingham's score are derived."""
    if reading.organs and reading.organs[0] in field.settings.get("except", ()):
        return
    scores = reading.once(read_nottingham)
    grades = reading.once(read_grades)
    for grade in grades:
        yield _value(reading, field, grade, scores)
    if not grades:
        for score in scores:
            if score.grade:
                followed = Grade(score.grade, "nottingham", score.start, score.end, 0.9)
                yield _value(reading, field, followed, (score,), derived=True)


def _value(
    reading: Reading, field: Field, grade: Grade, scores: tuple[Nottingham, ...], derived: bool = False
) -> FieldValue:
    evidence = reading.evidence(grade.start, grade.end)
    option = field.option(grade.grade)
    near = min(scores, key=lambda score: abs(score.start - grade.start), default=None)
    qualifiers: dict[str, str | float | int | bool] = {"system": grade.system}
    if near is not None and abs(near.start - grade.start) < 400 and near.grade in (grade.grade, None):
        qualifiers |= near.components
    return FieldValue(
        field=field.id,
        value=grade.grade,
        status=Status.DERIVED if derived else Status.STATED,
        evidence=(evidence,),
        raw=reading.raw(evidence),
        code=option.concept.coding if option and option.concept else None,
        part=reading.label_at(grade.start),
        confidence=grade.confidence,
        rule=GRADE_RULE if derived else RULE,
        qualifiers=qualifiers,
    )


def read_grades(reading: Reading) -> tuple[Grade, ...]:
    """Return the grades that the report states of invasive tumours."""
    found: list[Grade] = []
    taken = 0
    for match in islice(GRADES.finditer(reading.text), TRIED):
        if match.start() < taken or not _believed(reading, match):
            continue
        grade = _read(reading, match)
        if grade is not None:
            found.append(grade)
            taken = grade.end
        if len(found) == MOST:
            break
    return tuple(found)


def _believed(reading: Reading, match: re.Match[str]) -> bool:
    """Whether the section is; an entry of its own ("Grade: 2") is no part of the heading's that stands before it."""
    if reading.weight_at(match.start()) >= LEAST:
        return True
    section = reading.section_at(match.start())
    entry = match["label"] and ENTRY.match(reading.text[match.end() : match.end() + 40])
    return bool(entry) and section is not None and section.kind == "administrative"


def _read(reading: Reading, match: re.Match[str]) -> Grade | None:
    text = reading.text
    left, _ = reading.clauses.around(match.start(), match.end())
    # A full stop at a scanned line's end parts nothing.
    before = re.sub(r"\.?\s+", " ", text[max(left, match.start() - _LOOK) : match.start()])
    if unchecked(reading, match.start()) or REFUSED.search(before) or ELSEWHERE.search(before):
        return None
    if not before.strip() and WRAPPED.search(text[max(0, match.start() - 16) : match.start()]):
        return None
    if not match["differentiation"] and (in_situ := IN_SITU.search(before)) and not INVASIVE.search(in_situ[0]):
        return None
    after = text[match.end() : match.end() + 80]
    if match["label"] or match["major"] or match["zhlabel"]:
        return _labelled(match, after)
    if match["named"]:
        return _of_system(match, after)
    if REFUSED_AFTER.match(after) or ((match["tier"] or match["zhtier"]) and REFUSED_TIER.match(after)):
        return None
    if match["short"] and not _means_grade(reading, match):
        return None
    if match["zhbare"] and ("liver" in reading.organs or not TUMOUR.search(before[-30:] + match[0][0])):
        return None
    system, sure = _KINDS[next(kind for kind in _KINDS if match[kind])]
    begin = match.start() + (match[0].find(match["n3"]) if match["zhbare"] else 0)
    return Grade(_worst(match), system, begin, match.end(), sure)


def _labelled(match: re.Match[str], after: str) -> Grade | None:
    """Return the grade that stands behind its name; of a list's, the one whose box is ticked."""
    ticked = TICKED.search(after) if UNTICKED.match(after) else None
    begin = ticked.end() if ticked else 0
    value = VALUE.match(after, begin)
    if value is None or REFUSED_AFTER.match(after[value.end() :]) or (UNTICKED.match(after) and not ticked):
        return None
    named = next((system for system, words in SYSTEMS if words.search(match[0] + after[: value.end()])), None)
    said = "differentiation" if value["d1"] or value["z1"] else "two_tier" if value["t1"] or value["h1"] else "numbered"
    plain = not named and match[0] == "grade" and not after.lstrip(" ").startswith(":")
    start = match.end() + begin if ticked else match.start()
    return Grade(_worst(value), named or said, start, match.end() + value.end(), 0.92 if plain else 0.97)


def _of_system(match: re.Match[str], after: str) -> Grade | None:
    """Return the grade that stands behind the name of its system alone."""
    value = NAMED_VALUE.match(after)
    if value is None:
        return None
    return Grade(NUMERALS[value["n1"]], "nottingham", match.start(), match.end() + value.end(), 0.92)


def _means_grade(reading: Reading, match: re.Match[str]) -> bool:
    """Whether "G2" is a grade, not a block's label: in capitals, near to a tumour's name or beside its category."""
    section = reading.section_at(match.start())
    if section is not None and section.kind in ("gross", "specimen", "intraoperative"):
        return False
    if match[0].startswith("nh"):
        return True
    if LABEL_OF_BLOCK.search(reading.text[max(0, match.start() - 12) : match.start()]):
        return False
    beside = TUMOUR.search(reading.text[max(0, match.start() - _LOOK) : match.start()])
    category = CATEGORY.match(reading.text[match.end() : match.end() + 12])
    return reading.original[match.start()] in "GH" and bool(beside or category)


def _worst(match: re.Match[str]) -> int:
    """Return the highest of the grades that are named together ("moderately to poorly differentiated")."""
    groups = match.groupdict()
    if groups.get("undifferentiated"):
        return 4
    if tier := groups.get("h1"):
        return {"低": 1, "中": 2, "高": 3}[tier]
    degrees = [DEGREES[" ".join(word.split())] for key in _DEGREE_KEYS if (word := groups.get(key))]
    return max([*degrees, *(NUMERALS[word] for key in ("n1", "n2", "n3", "n4") if (word := groups.get(key)))])
