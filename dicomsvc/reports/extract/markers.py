"""Where a report names markers (``markers.toml``), and which of them it names in one breath."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files

from dicomsvc.reports.reading import Reading
from dicomsvc.reports.text.wording import compiled

_BETWEEN = re.compile(
    r"(?:[\s,/、，&]|\band\b|\bor\b|\bas well as\b|\bboth\b|\bthe\b|及|和|与|以及|均|"
    r"\.\s+(?=and\b|or\b)|(?<=and)\.|(?<=,)\.)*"
)
_SAME_AGAIN = re.compile(r"\s*[(/,]?\s*(?:or )?")
_COUNTED = re.compile(r"\s*(?:sentinel|lymph|nodes?|children|cm\b|mm\b|previous|prior|biops)")
_ANSWER = re.compile(
    r"\s?\)?[\s.:\-]{1,4}(?:page\s\d+\sof[\s.\d]{0,4})?(?:\([a-z ]{3,14}\)\s?)?"
    r"(?:positive|negative|阳性|阴性)(?!\s(?:or|/|is|if|control|cut))(?![^.;]{0,40}(?:negative|positive|阳性|阴性))"
)
LONGEST_BETWEEN = 30


@dataclass(frozen=True, slots=True)
class Group:
    """Markers named in one breath ("ER, PR and HER2"), at ``text[start:end]``; what is said holds for each."""

    markers: tuple[str, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Names:
    any: re.Pattern[str]
    each: Mapping[str, re.Pattern[str]]


@cache
def _names(language: str) -> _Names:
    document = tomllib.loads((files("dicomsvc.reports.extract") / "markers.toml").read_text(encoding="utf-8"))
    entries = {**document["field"], **document["list"]}
    # English names stand in Chinese reports too.
    spoken = {
        marker: (*(names.get("zh", ()) if language == "zh" else ()), *names["en"]) for marker, names in entries.items()
    }
    ranked = sorted((name for names in spoken.values() for name in names), key=len, reverse=True)
    return _Names(compiled(ranked), {marker: compiled(names) for marker, names in spoken.items()})


@cache
def listed() -> frozenset[str]:
    """Return the markers that have no field of their own."""
    document = tomllib.loads((files("dicomsvc.reports.extract") / "markers.toml").read_text(encoding="utf-8"))
    return frozenset(document["list"])


@lru_cache(maxsize=4096)
def _meant(name: str, language: str) -> str | None:
    return next((marker for marker, pattern in _names(language).each.items() if pattern.fullmatch(name)), None)


def marker_groups(reading: Reading) -> tuple[Group, ...]:
    """Return where markers are named, in order, outside the sections that are not read."""
    groups: list[Group] = []
    for match in _names(reading.language).any.finditer(reading.text):
        marker = _meant(match[0], reading.language)
        if marker is None or not _is_name(reading, match.start(), match.end()):
            continue
        last = groups[-1] if groups else None
        if last is not None and match.start() - last.end <= LONGEST_BETWEEN:
            between = reading.text[last.end : match.start()]
            same = marker == last.markers[-1] and _SAME_AGAIN.fullmatch(between)
            if same or _BETWEEN.fullmatch(between):
                end = match.end() + (1 if same and "(" in between and reading.text[match.end() :][:1] == ")" else 0)
                groups[-1] = Group(tuple(dict.fromkeys((*last.markers, marker))), last.start, end)
                continue
        groups.append(Group((marker,), match.start(), match.end()))
    return tuple(group for group in groups if reading.weight_at(group.start) or _answers(reading, group))


def _answers(reading: Reading, group: Group) -> bool:
    """Whether a plain result stands here though the section is not read: behind a page's head, in a table of ranges."""
    return _ANSWER.match(reading.text, group.end) is not None


def _is_name(reading: Reading, start: int, end: int) -> bool:
    """Whether the letters are a marker's name: "er" is a word's piece in scanned text, "Her 2 nodes" a sentence."""
    name = reading.original[start:end]
    if _COUNTED.match(reading.text[end : end + 12]):
        return False
    letters = [character for character in name if character.isalpha()]
    if len(letters) > 3 or len(letters) == 1 or len(name) > len(letters):
        return True
    return name.isupper() or name == "Syn" or reading.text[end : end + 1] in {"+", "/", "("}
