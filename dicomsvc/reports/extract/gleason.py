"""Gleason gradings: patterns, score and grade group of one tumour, read together.

One pass over the text finds every grading (`read_gradings`); the fields of the kind ``gleason`` each take their
``component`` of it. A sum that does not add up is not read. Grade groups follow from the patterns after ISUP 2014 where
the report states none (Epstein et al. 2016).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from dicomsvc.reports.reading import Reading
from dicomsvc.reports.schema import Field
from dicomsvc.reports.text.wording import searcher
from dicomsvc.reports.values import FieldValue, Status

RULE = "gleason/1"
SCORE_RULE = "gleason_score_from_patterns/1"
GROUP_RULE = "grade_group_from_gleason/isup2014"
_NEAR = 160
"""How many characters before a pair of patterns Gleason may be named."""
_NAME = r"(?:g\s?[il1]{0,2}\s?ea\s?s\s?on|格利森|格里森)"
_NAMED = searcher(_NAME)
_PAIR = searcher(
    r"\b(?P<primary>[1-5])\s?(?:\(\s?[^()]{1,24}\)|/\s?5)?\s?(?:\+|and|&)\s?(?P<secondary>[1-5])\s?(?:\(\s?[^()=]{1,24}\)|/\s?5)?"
    r"(?P<sum>[\s,:;]{0,3}(?:=|score|sum|总分|\(score)[\s:of]{0,4}(?P<score>10|[2-9]))?(?:分)?(?:\s?/\s?10)?"
)
_SINGLE = searcher(
    rf"{_NAME}(?:'?s)?[\s,:;\-()]{{0,3}}(?:combined|total|sum|score|grade|grading|评分|评级|总分|分级|histologic|is|of|=|:|为|,|\s){{0,14}}"
    r"\(?(?P<score>10|[5-9])(?:\s?/\s?10|分)?(?:\s|[.,;)。,，]|$)"
)
_PATTERN = searcher(
    r"(?P<component>\bprimary|\bmajor|\bpredominant|\bmost prevalent|\bsecondary|\bminor|\bsecond most prevalent|"
    r"\btertiary|主要|次要|第三)\s{0,2}"
    rf"(?:{_NAME}(?:'?s)?\s{{0,2}})?(?:pattern|grade|component|成分|结构|分级|模式)?\s{{0,2}}"
    rf"(?:\((?:{_NAME}\s?)?(?:pattern|grade)\))?"
    rf"[\s:;=\-(]{{0,5}}(?:{_NAME}\s)?(?:is|grade|pattern|of|component)?[\s:]{{0,2}}(?P<grade>[1-5])\b"
)
_TERTIARY = searcher(
    rf"\btertiary\s(?:{_NAME}\s)?(?:pattern|grade|component)?s?[\s:]{{0,3}}(?:of\s|\()?(?:{_NAME}\s)?"
    r"(?:pattern\s|grade\s)?(?P<grade>[3-5])\b"
)
_TOTAL = searcher(
    rf"\b(?:total|combined|sum)\s{{0,2}}(?:{_NAME}(?:'?s)?\s)?(?:score|sum|grade)?[\s:;=]{{1,4}}(?P<score>10|[5-9])\b|"
    rf"{_NAME}(?:'?s)?\s(?:sum|score)\s?(?:score|sum)?[\s:;=]{{1,4}}(?P<score2>10|[5-9])(?:\s?/\s?10)?\b"
)
_GROUP = searcher(
    r"(?:\b(?:isup|who|gleason)?[\s/]{0,2}(?:prognostic )?grade group|\bprognostic (?:grade )?group|"
    r"\bisup grade(?: group)?|\bgg|(?:isup|who/isup|gleason|预后)?\s{0,2}(?:分级分组|预后分组|分级组|分组)|\bisup)"
    r"(?:\s?\([^()]{1,40}\))?[\s:;=,第为]{0,4}(?:is |of )?(?P<group>[1-5])"
    r"(?:\s?/\s?5|\s?of\s5|级|组)?(?:[^\d+.%]|\.\D|\.?$)"
)
_COMPONENTS = dict.fromkeys(("primary", "major", "predominant", "most prevalent", "主要"), "primary")
_COMPONENTS |= dict.fromkeys(("tertiary", "第三"), "tertiary")
_ELSEWHERE = re.compile(
    r"(?:previous|prior|biops|history|outside|at (?:the )?(?:positive )?margin|secondary (?:nodule|tumou?r|foc)|"
    r"additional|clinical|既往|穿刺|原)[^.;。]{0,70}$"
)


@dataclass(frozen=True, slots=True)
class Grading:
    """What one place of the report says of a tumour's grading: ``text[start:end]``."""

    start: int
    end: int
    primary: int | None = None
    secondary: int | None = None
    tertiary: int | None = None
    score: int | None = None
    group: int | None = None
    aside: bool = False
    """It speaks of a biopsy, of a margin or of a further tumour, not of the tumour that is graded."""


def read_gradings(reading: Reading) -> tuple[Grading, ...]:
    """Return all gradings, in the order of the text."""
    text = reading.text
    found = [*_pairs(text), *_singles(text), *_components(text), *_groups(text)]
    return tuple(
        replace(grading, aside=_ELSEWHERE.search(text[max(0, grading.start - 110) : grading.start]) is not None)
        for grading in sorted(found, key=lambda grading: grading.start)
        if reading.weight_at(grading.start)
    )


def _pairs(text: str) -> Iterator[Grading]:
    for match in _PAIR.finditer(text):
        primary, secondary = int(match["primary"]), int(match["secondary"])
        score = int(match["score"]) if match["score"] else None
        begin = max(0, match.start() - _NEAR)
        name = max(_NAMED.finditer(text, begin, match.start()), key=lambda name: name.start(), default=None)
        if name is None and score is None:
            continue
        if score is not None and score != primary + secondary:
            continue
        if name is None and primary + secondary < 5:
            continue
        if score is None:
            score = _sum_around(text, match, primary + secondary)
        start = name.start() if name is not None and "." not in text[name.start() : match.start()] else match.start()
        yield Grading(start, match.end(), primary, secondary, None, score)


def _sum_around(text: str, match: re.Match[str], total: int) -> int | None:
    """Return the score that stands just before or behind a pair: "score 7 (3+4)", "3+4 (7/10)"."""
    before = text[max(0, match.start() - 14) : match.start()]
    behind = text[match.end() : match.end() + 14]
    for stretch, pattern in (
        (before, rf"\b{total}(?:\s?/\s?10)?[\s(\[:=,]{{1,3}}$"),
        (behind, rf"^[\s,(:]{{1,3}}{total}\b"),
    ):
        if re.search(pattern, stretch):
            return total
    return None


def _singles(text: str) -> Iterator[Grading]:
    for match in _SINGLE.finditer(text):
        yield Grading(match.start(), match.end() - 1, score=int(match["score"]))
    for match in _TOTAL.finditer(text):
        yield Grading(match.start(), match.end(), score=int(match["score"] or match["score2"]))


def _components(text: str) -> Iterator[Grading]:
    found = []
    for match in _PATTERN.finditer(text):
        component = _COMPONENTS.get(match["component"], "secondary")
        begin, finish = max(0, match.start() - _NEAR), min(len(text), match.end() + 40)
        if component == "tertiary" or _NAMED.search(text, begin, finish):
            found.append(_component(match, component))
    yield from _joined(found)
    for match in _TERTIARY.finditer(text):
        yield Grading(match.start(), match.end(), tertiary=int(match["grade"]))


def _component(found: re.Match[str], component: str) -> Grading:
    grade = int(found["grade"])
    match component:
        case "primary":
            return Grading(found.start(), found.end(), primary=grade)
        case "secondary":
            return Grading(found.start(), found.end(), secondary=grade)
        case _:
            return Grading(found.start(), found.end(), tertiary=grade)


def _joined(found: list[Grading]) -> Iterator[Grading]:
    """Make one grading of a primary pattern and the secondary one that follows it."""
    position = 0
    while position < len(found):
        first = found[position]
        second = found[position + 1] if position + 1 < len(found) else None
        if first.primary and second and second.secondary and second.start - first.end < _NEAR:
            yield replace(first, end=second.end, secondary=second.secondary)
            position += 1
        else:
            yield first
        position += 1


def _groups(text: str) -> Iterator[Grading]:
    for match in _GROUP.finditer(text):
        yield Grading(match.start(), match.end(1), group=int(match["group"]))


def group_of(primary: int, secondary: int) -> int:
    """Return the grade group of a pair of patterns (ISUP 2014)."""
    match primary + secondary:
        case score if score <= 6:
            return 1
        case 7:
            return 2 if primary == 3 else 3
        case 8:
            return 4
        case _:
            return 5


def find_gleason(reading: Reading, field: Field) -> Iterator[FieldValue]:
    """Yield the field's ``component`` of every grading, and what follows from patterns where nothing is stated."""
    component = field.settings["component"]
    gradings = reading.once(read_gradings)
    stated = [grading for grading in gradings if getattr(grading, component) is not None]
    for grading in stated:
        yield _value(reading, field, grading, getattr(grading, component), RULE)
    if stated and not all(grading.aside for grading in stated):
        return
    for grading in gradings:
        if grading.primary is None or grading.secondary is None:
            continue
        if component == "score":
            yield _value(reading, field, grading, grading.primary + grading.secondary, SCORE_RULE)
        elif component == "group":
            yield _value(reading, field, grading, group_of(grading.primary, grading.secondary), GROUP_RULE)


def _value(reading: Reading, field: Field, grading: Grading, value: int, rule: str) -> FieldValue:
    evidence = reading.evidence(grading.start, grading.end)
    option = field.option(value)
    return FieldValue(
        field=field.id,
        value=value,
        status=Status.STATED if rule == RULE else Status.DERIVED,
        evidence=(evidence,),
        raw=reading.raw(evidence),
        code=option.concept.coding if option and option.concept else None,
        part=reading.label_at(grading.start),
        confidence=0.6 if grading.aside else 0.95,
        rule=rule,
    )
