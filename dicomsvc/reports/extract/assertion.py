"""What a clause says of a finding in it: present, absent, indeterminate, historical (``assertion.toml``).

Negation is sought before and after the finding within its clause, as ConText does (Harkema et al. 2009); a checklist's
answer ("Finding: word") goes first.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from dicomsvc.reports.reading import Reading
from dicomsvc.reports.text.wording import compiled
from dicomsvc.reports.values import Assertion

BEFORE, AFTER = 90, 90
"""How many characters before and after a finding are looked at, within its clause."""
_BY = r"(?:by (?:the )?(?:invasive )?(?:tumou?r|carcinoma|cancer|melanoma)(?: cells)?[ ]{0,3})?"
_BRACKETS = rf"{_BY}(?:\([^()]{{0,60}}\)[ ]{{0,3}}|\[[^\[\]]{{0,60}}\][ ]{{0,3}})?"
_CHINESE_END = re.compile(r"[,，](?![ ]{0,2}(?:均|皆|都|全部))")
"""A Chinese comma parts what is said of one finding from the next, unless it says the same of all."""
_ASKED = rf"(?:is |are )?(?:present|identified|seen|noted|found|detected)[ ]{{0,3}}{_BRACKETS}(?:\?[ ]?:?|:)"
_ANSWER = re.compile(
    rf"[ ]{{0,3}}{_BRACKETS}(?P<mark>\?:?|:|=|-{{1,2}}(?=[ a-z\u3400-\u9fff])|\.{{3,}}|{_ASKED})[ .\-*\[\]]{{0,6}}"
)
_TICKED = re.compile(r"[ ]{0,3}(?:(?:\[[ _]{0,3}\]|☐|□)[^\[\]☐☒☑□■\n:]{1,40}){0,5}(?:\[[ ]?[x✓√][ ]?\]|☒|☑|■)[ ]{0,2}")
"""Up to the box that is ticked, in a row of boxes to choose from."""

_NEXT = re.compile(rf"[ ]{{0,3}}{_BRACKETS}(?:\.[ \n]{{1,3}}|,[ ]{{1,2}}|\n[ ]{{0,3}})")
_ALONE = re.compile(r"[ ]{0,2}(?:[.,;\n(]|$)")
_OTHER_LABEL = re.compile(r"[\s.\-]*(?:$|final evaluation|[a-z][a-z /()\-]{2,45}:|[0-9][.)] )")
"""What follows a label that has no answer: the next label, or a list to choose from."""


@dataclass(frozen=True, slots=True)
class Asserted:
    """``assertion`` None: the report names the finding and says that nothing was said of it (not applicable).

    ``start``, ``end`` span the finding and the word that decides; ``form`` is how it is said: ``answer``, ``prose``
    or ``bare`` where no word decides.
    """

    assertion: Assertion | None
    start: int
    end: int
    form: str


@dataclass(frozen=True, slots=True)
class _Words:
    label: Mapping[Assertion | None, re.Pattern[str]]
    before: Mapping[Assertion | None, re.Pattern[str]]
    after: Mapping[Assertion | None, re.Pattern[str]]
    stop: re.Pattern[str]
    commas_part: bool


@cache
def _words(language: str) -> _Words:
    document = tomllib.loads((files("dicomsvc.reports.extract") / "assertion.toml").read_text(encoding="utf-8"))

    def table(place: str) -> Mapping[Assertion | None, re.Pattern[str]]:
        return {
            None if name == "not_stated" else Assertion(name): _both(words, language)
            for name, words in document[place].items()
        }

    stop = _both(document["stop"]["words"], language)
    return _Words(table("label"), table("before"), table("after"), stop, language == "zh")


def _both(words: Mapping[str, list[str]], language: str) -> re.Pattern[str]:
    return compiled((*words["zh"], *words["en"]) if language == "zh" else words["en"])


def asserted(reading: Reading, start: int, end: int) -> Asserted:
    """Return what is said of the finding at ``text[start:end]``."""
    words = _words(reading.language)
    left, right = reading.clauses.around(start, end)
    return (
        _answered(reading.text, start, end, words)
        or _negated_before(reading.text, start, end, left, words)
        or _answered_next(reading.text, start, end, words)
        or _told_after(reading.text, start, end, right, words)
        or _told_before(reading.text, start, end, left, words)
        or Asserted(Assertion.PRESENT, start, end, "bare")
    )


def _answered_next(text: str, start: int, end: int, words: _Words) -> Asserted | None:
    """Return the answer that stands alone behind a full stop or a line's end: "Neural invasion. Present."."""
    mark = _NEXT.match(text, end)
    if mark is None:
        return None
    for assertion in (None, Assertion.INDETERMINATE, Assertion.ABSENT, Assertion.PRESENT):
        found = words.label[assertion].match(text, mark.end())
        if found and _ALONE.match(text, found.end()):
            return Asserted(assertion, start, found.end(), "answer")
    return None


def _answered(text: str, start: int, end: int, words: _Words) -> Asserted | None:
    mark = _ANSWER.match(text, end)
    if mark is None:
        return None
    ticked = _TICKED.match(text, mark.end("mark"))
    begin = ticked.end() if ticked else mark.end()
    for assertion in (None, Assertion.INDETERMINATE, Assertion.ABSENT, Assertion.PRESENT):
        if found := words.label[assertion].match(text, begin):
            return Asserted(assertion, start, found.end(), "answer")
    # A label whose answer is no word that we know, or is missing, says nothing by itself.
    unanswered = _OTHER_LABEL.match(text[mark.end() : mark.end() + 60])
    return Asserted(None, start, mark.end(), "answer") if unanswered else None


def _reach(text: str, start: int, left: int, words: _Words) -> int:
    """Return from where words before the finding reach it."""
    begin = max(left, start - BEFORE, text.rfind(":", left, start) + 1)
    for stop in words.stop.finditer(text, begin, start):
        begin = stop.end()
    return begin


def _last(pattern: re.Pattern[str], text: str, begin: int, end: int) -> re.Match[str] | None:
    found = None
    for match in pattern.finditer(text, begin, end):
        found = match
    return found


def _negated_before(text: str, start: int, end: int, left: int, words: _Words) -> Asserted | None:
    begin = _reach(text, start, left, words)
    for assertion in (Assertion.INDETERMINATE, Assertion.ABSENT, Assertion.HISTORICAL):
        if found := _last(words.before[assertion], text, begin, start):
            return Asserted(assertion, found.start(), end, "prose")
    return None


def _told_before(text: str, start: int, end: int, left: int, words: _Words) -> Asserted | None:
    if found := _last(words.before[Assertion.PRESENT], text, _reach(text, start, left, words), start):
        return Asserted(Assertion.PRESENT, found.start(), end, "prose")
    return None


def _told_after(text: str, start: int, end: int, right: int, words: _Words) -> Asserted | None:
    finish = min(right, end + AFTER)
    colon = text.find(":", end, finish)
    finish = colon if colon >= 0 else finish
    if words.commas_part and (comma := _CHINESE_END.search(text, end, finish)):
        finish = comma.start()
    elif not words.commas_part and (stop := words.stop.search(text, end, finish)):
        finish = stop.start()
    best: Asserted | None = None
    for assertion in (Assertion.ABSENT, Assertion.INDETERMINATE, Assertion.PRESENT):
        found = words.after[assertion].search(text, end, finish)
        if found and (best is None or found.end() < best.end):
            best = Asserted(assertion, start, found.end(), "prose")
    return best
