"""The size of the invasive tumour: its largest dimension in mm, and its dimensions as the report has them.

Every length with a unit is a candidate; the words around it tell what it measures (``sizes.toml``): the tumour, or a
specimen, a node, a distance. A checklist's answer counts more than prose, the invasive component more than the whole.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import islice

from dicomsvc.reports.extract.lengths import NUMBER, UNIT, millimetres
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.resolve import CLOSE
from dicomsvc.reports.schema import Field
from dicomsvc.reports.text.wording import searcher
from dicomsvc.reports.values import FieldValue

RULE = "size/1"
LEFT, RIGHT = 100, 60
READ = 0.4
"""Sections of less weight tell what was seen before or during the operation."""
LARGEST_MM = 600
MOST = 500
"""Lengths that are looked at; no report has as many."""
_JOIN = rf"[\s.]{{0,2}}(?:{UNIT})?[\s.]{{0,3}}[x*][\s.]{{0,3}}"
_LENGTHS = rf"(?:{NUMBER}{_JOIN}){{0,3}}(?P<last>{NUMBER})[\s.\-]{{0,3}}(?P<unit>{UNIT})"
_DETERMINER = re.compile(
    r"(?:\b(?:an?|one|the|single|this|is|another|reveals?|shows?|showing|and|with|of|for|contains?)\b|[(,:.\-])[\s.]*$"
)

_PLACE = re.compile(r"\b(?:in|of|within|at|involving)\b")
_SPECIMEN = re.compile(r"weigh\w*|specimen|grams|标本")
"""What a bare "Size:" behind it is of."""


@dataclass(frozen=True, slots=True)
class Size:
    """A length of the tumour at ``text[start:end]``; ``dimensions`` counts its numbers."""

    start: int
    end: int
    mm: float
    dimensions: int
    confidence: float


@cache
def _words(language: str) -> Mapping[str, re.Pattern[str]]:
    table = tomllib.loads((files("dicomsvc.reports.extract") / "sizes.toml").read_text(encoding="utf-8"))
    codes = ("zh", "en") if language == "zh" else ("en",)
    return {name: re.compile("|".join(entry[code] for code in codes)) for name, entry in table.items()}


def find_size(reading: Reading, field: Field) -> Iterator[FieldValue]:
    """Yield each size of the tumour; with ``dimensions = true`` those with several numbers, as text."""
    as_text = bool(field.settings.get("dimensions"))
    for size in _with_dimensions(reading) if as_text else reading.once(sizes):
        evidence = reading.evidence(size.start, size.end)
        raw = reading.raw(evidence)
        yield FieldValue(
            field=field.id,
            value=raw if as_text else int(size.mm) if size.mm == int(size.mm) else size.mm,
            evidence=(evidence,),
            raw=raw,
            unit=field.unit,
            part=reading.label_at(size.start),
            confidence=size.confidence,
            rule=RULE,
        )


def _with_dimensions(reading: Reading) -> list[Size]:
    """Return, from the weightiest place, the size with several numbers whose largest is the tumour's."""
    found = reading.once(sizes)
    weights = {size: reading.weight_at(size.start) * size.confidence for size in found}
    top = max(weights.values(), default=0.0)
    largest = max((size.mm for size in found if top - weights[size] < CLOSE), default=0.0)
    fitting = [size for size in found if size.dimensions > 1 and size.mm == largest]
    return sorted(fitting, key=lambda size: -weights[size])[:1]


def sizes(reading: Reading) -> tuple[Size, ...]:
    """Return all lengths that measure the primary tumour."""
    words = _words(reading.language)
    found: list[Size] = []
    for match in islice(searcher(_LENGTHS).finditer(reading.text), MOST):
        if reading.weight_at(match.start()) < READ:
            continue
        left = reading.text[max(0, match.start() - LEFT) : match.start()]
        right = reading.text[match.end() : match.end() + RIGHT]
        confidence = _confidence(left, right, words)
        numbers = re.findall(NUMBER, match[0])
        mm = max(millimetres(number, match["unit"]) for number in numbers)
        if confidence and 0 < mm <= LARGEST_MM:
            found.append(Size(match.start(), match.end(), mm, len(numbers), confidence))
    return tuple(found)


def _confidence(left: str, right: str, words: Mapping[str, re.Pattern[str]]) -> float:
    """Return how surely the length between ``left`` and ``right`` is the tumour's, 0 if it is not."""
    if words["behind_other"].match(right) or words["or_less"].match(right) or words["classification"].search(left):
        return 0.0
    if words["label_word"].search(left) and (label := words["label"].search(left)):
        return _labelled(label[0], left[: label.start()], words)
    if _DETERMINER.search(left) and (named := _measured_behind(right, words)) is not None:
        return 0.93 if named else 0.0
    return _measured_before(left, words)


def _labelled(label: str, before: str, words: Mapping[str, re.Pattern[str]]) -> float:
    """Return how surely an answer is the tumour's size: by its words, else by whom the sentence names."""
    about = label.rstrip(" :=-.,(")
    if words["not_primary"].search(about) or (words["other"].search(about) and not words["tumour"].search(about)):
        return 0.0
    sentence = re.split(r"[.;。；]\s", before)[-1]
    if words["tumour"].search(about):
        other = _last(words["other"], sentence.split(":")[-1][-25:])
        return 0.0 if other else 0.99 if words["invasive"].search(sentence[-15:] + about) else 0.97
    if not sentence.split(":")[-1].strip(" -*.,\n"):
        return 0.0 if _last(words["other"], sentence[-40:]) or _SPECIMEN.search(before[-60:]) else 0.95
    return min(0.95, _measured_before(sentence, words)) or (0.0 if words["other"].search(sentence) else 0.5)


def _measured_behind(right: str, words: Mapping[str, re.Pattern[str]]) -> bool | None:
    """Whether the noun behind ("a 2 cm firm tan mass") is the tumour; None if no noun is near."""
    piece = re.split(r"[.;:]\s|measur|\blocated|\binvolv|\bin (?:greatest|maxim)", right)[0]
    tumour, other = words["tumour"].search(piece), words["other"].search(piece)
    if tumour is None:
        return False if other else None
    if words["not_primary"].search(piece[: tumour.start()]):
        return False
    return other is None or tumour.start() < other.start()


def _measured_before(left: str, words: Mapping[str, re.Pattern[str]]) -> float:
    tumour, other, organ = (_last(words[name], left) for name in ("tumour", "other", "organ"))
    if tumour is None or (other is not None and other.start() > tumour.start()):
        return 0.0
    if words["not_primary"].search(left[: tumour.start()]):
        return 0.0
    between = left[tumour.end() :]
    if (
        organ is not None
        and organ.start() > tumour.start()
        and not re.search(r"\b(?:in|of|within|at|involving)\b", between)
    ):
        return 0.0
    if re.search(r"[;。；]|\.\s+[a-z\u3400-\u9fff]{3,}[^.]{12,}", between):
        return 0.0
    return 0.94 if words["invasive"].search(left[max(0, tumour.start() - 25) :]) else 0.93


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    found = None
    for match in pattern.finditer(text):
        found = match
    return found
