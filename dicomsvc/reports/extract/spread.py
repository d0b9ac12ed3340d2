"""Spread to a structure: the field's wording names the structure, the clause says whether the tumour reaches it.

English is read in four forms, the surest first: a finding ("renal vein invasion: absent"), a checklist's line ("Renal
vein: not involved"), a verb before the structure ("extends into the renal vein") and what stands behind it ("renal vein
is free of tumour"). Chinese is read between commas and line ends, where one fact stands.

Settings of a field: ``part = true`` where the structure may be lacking from the specimen, so that "not identified"
behind its bare name says nothing of spread; ``confined`` wordings exclude the spread by definition ("organ confined").
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from dicomsvc.reports.extract.assertion import Asserted, asserted
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.schema import Field
from dicomsvc.reports.text.wording import compiled
from dicomsvc.reports.values import Assertion, FieldValue, Status

RULE = "spread/1"
CONFINED_RULE = "spread_from_confined/1"
BEFORE, AFTER = 110, 100
_CONFIDENCE = {"answer": 0.98, "prose": 0.95, "bare": 0.75, "verb": 0.93, "after": 0.9, "segment": 0.95}
_DEFINITION = re.compile(
    r"\bp?t[0-4][a-d]?\b[\s:.,=()\-]{0,6}(?:the )?(?:tumou?r|invasion|invades|extension|extends)\b"
)
"""The words of a T category beside it: a staging table, not this tumour."""
_LACKING = re.compile(
    r"[\s:.\-]*(?:not (?:identified|present|submitted|included|seen|found)|absent|none|present|yes|no\b|n/?a\b)"
)
_FACT_ENDS = re.compile(r"[,，;；。\n]|、(?=[未无不侵累突])|[但而]")
_NOT_SENT = re.compile(r"[\s:.\-]*(?:tissue )?not (?:present|submitted|included|received|available|sampled)")
_LABEL_END = re.compile(r"\s{0,2}(?:\([^()]{0,40}\)\s{0,2})?[:?=]")
_ELSEWHERE = re.compile(r"[,;]|\bmargins?\b")
"""Between a structure and a word that would decide: the word speaks of another thing."""
_BOUND = re.compile(r"\b(?:confined|limited|margins?|free)\b")
_BRACKET = re.compile(r"\s?\((?:nephrectomy|gross|microscopic)[^()]{0,20}\)")


@dataclass(frozen=True, slots=True)
class _Words:
    noun: re.Pattern[str]
    verb: re.Pattern[str]
    absent: re.Pattern[str]
    present: re.Pattern[str]
    other: re.Pattern[str]
    denied: re.Pattern[str]


@cache
def _words(language: str) -> _Words:
    document = tomllib.loads((files("dicomsvc.reports.extract") / "spread.toml").read_text(encoding="utf-8"))

    def read(table: Mapping[str, list[str]]) -> re.Pattern[str]:
        return compiled(table[language])

    return _Words(
        read(document["noun"]),
        read(document["verb"]),
        read(document["after"]["absent"]),
        read(document["after"]["present"]),
        read(document["other"]),
        read(document["denied"]),
    )


def find_spread(reading: Reading, field: Field) -> Iterator[FieldValue]:
    """Yield ``present`` or ``absent`` for each mention of the structure that says which."""
    decide = _segment if reading.language == "zh" else _clause
    for match in field.pattern(reading.language).finditer(reading.text):
        if not reading.weight_at(match.start()) or _is_definition(reading, match.start()):
            continue
        said = decide(reading, field, match.start(), match.end())
        if said is not None and said.assertion is not None:
            yield _value(reading, field, said)
    yield from _confined(reading, field)


def _clause(reading: Reading, field: Field, start: int, end: int) -> Asserted | None:
    words = _words("en")
    if noun := words.noun.match(reading.text, _past_gap(reading.text, end)) or words.noun.search(
        reading.text, start, end
    ):
        return _finding(reading, start, max(end, noun.end()), words)
    if bracket := _BRACKET.match(reading.text, end):
        end = bracket.end()
    if _NOT_SENT.match(reading.text, end):
        return None
    if (lacking := _LACKING.match(reading.text, end)) and field.settings.get("part") and lacking.end() > end:
        return _after(reading, start, lacking.end(), words)
    return _verb(reading, start, end, words) or _answer(reading, start, end) or _after(reading, start, end, words)


def _finding(reading: Reading, start: int, end: int, words: _Words) -> Asserted | None:
    said = asserted(reading, start, end)
    if said.form != "bare":
        return said
    return _verb(reading, start, end, words) or (None if _is_label(reading, end) else said)


def _is_label(reading: Reading, end: int) -> bool:
    """Whether what ends here is a checklist's label, to be answered behind it."""
    return _LABEL_END.match(reading.text, end) is not None


def _past_gap(text: str, end: int) -> int:
    while end < len(text) and text[end] in " \n-/":
        end += 1
    return end


def _answer(reading: Reading, start: int, end: int) -> Asserted | None:
    said = asserted(reading, start, end)
    return said if said.form == "answer" else None


def _verb(reading: Reading, start: int, end: int, words: _Words) -> Asserted | None:
    left, _ = reading.clauses.around(start, end)
    begin = max(left, start - BEFORE)
    found = None
    for match in words.verb.finditer(reading.text, begin, start):
        found = match
    if found is None:
        return None
    between = reading.text[found.end() : start]
    if ":" in between or ";" in between or _BOUND.search(between):
        return None
    if words.denied.search(between):
        return Asserted(Assertion.ABSENT, found.start(), end, "verb")
    if words.other.search(between):
        return None
    said = asserted(reading, found.start(), end)
    if said.form != "answer" and _is_label(reading, end):
        return None
    if _ELSEWHERE.search(reading.text[end : said.end]):
        return Asserted(Assertion.PRESENT, found.start(), end, "verb")
    return Asserted(said.assertion, min(said.start, found.start()), max(said.end, end), "verb")


def _after(reading: Reading, start: int, end: int, words: _Words) -> Asserted | None:
    _, right = reading.clauses.around(start, end)
    finish = min(right, end + AFTER)
    absent = words.absent.search(reading.text, end, finish)
    present = words.present.search(reading.text, end, finish)
    found = min((match for match in (absent, present) if match), key=lambda match: match.start(), default=None)
    if (
        found is None
        or words.other.search(reading.text, end, found.start())
        or ":" in reading.text[end + 3 : found.start()]
    ):
        return None
    if "margin" in reading.text[found.end() : found.end() + 30]:
        return None
    if _is_label(reading, found.end()):
        said = asserted(reading, start, found.end())
        return said if said.form == "answer" else None
    return Asserted(Assertion.ABSENT if found is absent else Assertion.PRESENT, start, found.end(), "after")


def _segment(reading: Reading, field: Field, start: int, end: int) -> Asserted | None:
    """Read one fact of a Chinese sentence: what stands between two commas around the structure."""
    words = _words("zh")
    left, right = reading.clauses.around(start, end)
    before = reading.original[max(left, start - BEFORE) : start]
    begin = start - len(before) + max((mark.end() for mark in _FACT_ENDS.finditer(before)), default=0)
    mark = _FACT_ENDS.search(reading.original[end : min(right, end + AFTER)])
    finish = end + mark.start() if mark else min(right, end + AFTER)
    if words.other.search(reading.text, begin, finish):
        return None
    reached = words.verb.search(reading.text, begin, finish) or words.present.search(reading.text, end, finish)
    denied = words.denied.search(reading.text, begin, finish)
    if reached is None and words.absent.search(reading.text, end, finish) is None:
        return None
    if denied:
        return Asserted(Assertion.ABSENT, begin, finish, "segment")
    said = asserted(reading, start, end)
    doubt = said.assertion is Assertion.INDETERMINATE
    return Asserted(Assertion.INDETERMINATE if doubt else Assertion.PRESENT, begin, finish, "segment")


def _is_definition(reading: Reading, start: int) -> bool:
    left, _ = reading.clauses.around(start, start + 1)
    if "any of the following" in reading.text[max(0, start - 300) : start]:
        return True
    return _DEFINITION.search(reading.text[max(left, start - 170) : start]) is not None


def _value(reading: Reading, field: Field, said: Asserted) -> FieldValue:
    evidence = reading.evidence(said.start, said.end)
    assertion = said.assertion or Assertion.PRESENT
    return FieldValue(
        field=field.id,
        value=Assertion.ABSENT.value if assertion is Assertion.ABSENT else Assertion.PRESENT.value,
        status=Status.UNCERTAIN if assertion is Assertion.INDETERMINATE else Status.STATED,
        assertion=assertion,
        evidence=(evidence,),
        raw=reading.raw(evidence),
        part=reading.label_at(said.start),
        confidence=_CONFIDENCE.get(said.form, 0.9),
        rule=RULE,
    )


def _confined(reading: Reading, field: Field) -> Iterator[FieldValue]:
    wordings = field.settings.get("confined", {}).get(reading.language, ())
    for match in compiled(tuple(wordings)).finditer(reading.text) if wordings else ():
        if not reading.weight_at(match.start()) or _is_definition(reading, match.start()):
            continue
        if asserted(reading, match.start(), match.end()).assertion is Assertion.PRESENT:
            evidence = reading.evidence(match.start(), match.end())
            yield FieldValue(
                field=field.id,
                value=Assertion.ABSENT.value,
                status=Status.DERIVED,
                assertion=Assertion.ABSENT,
                evidence=(evidence,),
                raw=reading.raw(evidence),
                part=reading.label_at(match.start()),
                confidence=0.75,
                rule=CONFINED_RULE,
            )
