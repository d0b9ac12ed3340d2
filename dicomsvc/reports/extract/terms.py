"""Terms: one word of a value set each, all sought in one pass over the text; the earlier in the table wins a place.

Unlike choices (`dicomsvc.reports.extract.choice`), terms may be many and may hold one another ("mucinous
adenocarcinoma"), so the specific stand before the general in the table. ``scope`` in the table names, for an organ,
the options that count only in its reports.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from re import Pattern

from dicomsvc.reports.extract.assertion import asserted
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.schema import Field, Option
from dicomsvc.reports.text.wording import alternatives, searcher
from dicomsvc.reports.values import Assertion, FieldValue

RULE = "term/1"
NEAR = 45
"""How many characters behind its label an answer may begin."""
LONGEST = 60
"""No term is longer, in characters."""
LEAST = 0.5
"""Terms without a label are not believed in sections of less weight."""
FLOOR = 0.3
"""Nor those with one in sections of less weight than this, as the clinical history."""
MOST = 5
"""Mentions of one option that are looked at."""
_EMPTY_BOX = re.compile(r"(?:\[\s{0,3}\]|\(\s{0,3}\)|[□☐◯○])\s{0,3}(?:g[1-4x]\s?[:,-]?\s?)?$")
_DEGREE = r"(?:well|moderate(?:ly)?|poorly)(?:\s?(?:to|/)\s?(?:moderately|poorly))?"
_GRADED = rf"(?:{_DEGREE}[\s.-]{{0,3}}differentiated(?:,\.)?[\s,-]{{0,3}})?"
_NUMBERED = r"(?:\(?(?:grade|g)\s?(?:[1-4]|i{1,3})(?:\s?(?:of|/)\s?(?:[34]|i{2,3}))?\)?(?:,\.)?[\s,-]{0,3})?"
_MACROS = {
    "{of}": rf"[,:]?[\s-]{{0,3}}{_GRADED}{_NUMBERED}(?:of\s(?:the\s)?)?\(?(?:the\s)?",
    "{invasive}": r"(?:(?:invasive|infiltrating)[\s,.-]{1,3})?(?:(?:mammary|breast)[\s.-]{1,3})?",
    "{graded} ": _GRADED,
    "{graded}": _GRADED,
    "carcinoma": r"[ck]a[rb]c[il1]n[o0e](?:m|rn|n{1,2})[ae]",
}
"""What short words in wordings stand for; scanners read "carcinoma" in many ways."""


@dataclass(frozen=True, slots=True)
class Term:
    """An option named at ``text[start:end]``; ``labelled`` when it answers the field's label."""

    option: Option
    start: int
    end: int
    labelled: bool


def find_terms(reading: Reading, field: Field) -> Iterator[Term]:
    """Yield the mentions of the field's options, denied or not; only those behind a label where ``label`` says so."""
    options = in_scope(reading, field)
    labels = [match.end() for match in field.pattern(reading.language).finditer(reading.text)]
    pattern = _pattern(tuple(wordings(option, reading.language) for option in options))
    whole = reading.language not in field.settings.get("label", ())
    for start, end in [(0, len(reading.text))] if whole else _behind(labels, len(reading.text)):
        for match in pattern.finditer(reading.text, start, end):
            before = bisect_right(labels, match.start()) - 1
            labelled = before >= 0 and match.start() - labels[before] <= NEAR
            if (labelled or whole) and not unchecked(reading, match.start()):
                yield Term(options[int(str(match.lastgroup)[1:])], match.start(), match.end(), labelled)


def unchecked(reading: Reading, start: int) -> bool:
    """Whether an empty box stands before ``start``: an answer of a list that was not chosen."""
    return _EMPTY_BOX.search(reading.text[max(0, start - 12) : start]) is not None


def _behind(labels: list[int], length: int) -> list[tuple[int, int]]:
    """Return the stretches in which answers to ``labels`` may stand, in order and apart."""
    found: list[tuple[int, int]] = []
    for label in labels:
        start = max(label, found[-1][1]) if found else label
        if start < (end := min(label + NEAR + LONGEST, length)):
            found.append((start, end))
    return found


def in_scope(reading: Reading, field: Field) -> tuple[Option, ...]:
    """Return the options that may be meant in a report of these organs."""
    scope = field.settings.get("scope", {})
    bound = {value for values in scope.values() for value in values}
    free = {value for organ in reading.organs for value in scope.get(organ, ())}
    return tuple(option for option in field.options if option.value not in bound or option.value in free)


def wordings(option: Option, language: str) -> tuple[str, ...]:
    """Return the wordings in ``language``; English terms stand in Chinese reports too."""
    english = option.wording.get("en", ())
    return (*option.wording.get("zh", ()), *english) if language == "zh" else english


@cache
def _pattern(words: tuple[tuple[str, ...], ...]) -> Pattern[str]:
    expressions = (alternatives(_expanded(wording) for wording in of) for of in words)
    return searcher("|".join(f"(?P<t{number}>{expression})" for number, expression in enumerate(expressions)))


def _expanded(wording: str) -> str:
    for word, meaning in _MACROS.items():
        wording = wording.replace(word, meaning)
    # Groups that capture cost time, and only those of the options are asked for.
    return re.sub(r"(?<!\\)\((?!\?)", "(?:", wording)


def find_term(reading: Reading, field: Field) -> Iterator[FieldValue]:
    """Yield the options that are named and neither denied nor of the past.

    ``least`` in the table is how far the section of a term without label must be believed; in the languages of
    ``label`` terms count nowhere but behind the label; ``minor`` terms yield to others.
    """
    least, minor = field.settings.get("least", LEAST), field.settings.get("minor", ())
    seen: dict[str, int] = {}
    for term in find_terms(reading, field):
        weight = reading.weight_at(term.start)
        if weight < FLOOR or (not term.labelled and weight < least):
            continue
        seen[term.option.value] = seen.get(term.option.value, 0) + 1
        if seen[term.option.value] > MOST:
            continue
        if asserted(reading, term.start, term.end).assertion in (Assertion.ABSENT, Assertion.HISTORICAL):
            continue
        yield term_value(reading, field, term, 0.6 if term.option.value in minor else 0.97 if term.labelled else 0.85)


def term_value(reading: Reading, field: Field, term: Term, confidence: float, rule: str = RULE) -> FieldValue:
    """Return the value of ``field`` that ``term`` names."""
    evidence = reading.evidence(term.start, term.end)
    return FieldValue(
        field=field.id,
        value=term.option.value,
        evidence=(evidence,),
        raw=reading.raw(evidence),
        code=term.option.concept.coding if term.option.concept else None,
        part=reading.label_at(term.start),
        confidence=confidence,
        rule=rule,
    )
