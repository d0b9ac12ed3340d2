"""Sections of a report, by their headings (``sections.toml``)."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from dicomsvc.reports.text.wording import alternatives, searcher

BODY = "body"
"""What stands before the first heading."""


@dataclass(frozen=True, slots=True)
class Section:
    """``text[start:end]`` without its heading; ``weight`` says how far what stands there is believed, 0 to 1."""

    kind: str
    start: int
    end: int
    weight: float


@dataclass(frozen=True, slots=True)
class _Headings:
    pattern: re.Pattern[str]
    weights: Mapping[str, float]


@cache
def _headings(language: str) -> _Headings:
    document = tomllib.loads((files("dicomsvc.reports.text") / "sections.toml").read_text(encoding="utf-8"))
    kinds = document["section"]
    # English headings stand in Chinese reports too.
    languages = ("zh", "en") if language == "zh" else ("en",)
    kinds_named = (
        f"(?P<{entry['kind']}>{alternatives(word for code in languages for word in entry[code])})" for entry in kinds
    )
    return _Headings(searcher("|".join(kinds_named)), {entry["kind"]: float(entry["weight"]) for entry in kinds})


_AFTER = re.compile(r"[ \-]{0,4}(?P<colon>:)|[ ]{0,2}\.(?= )|(?=[ ]{2,}|$)")
_SENTENCE_END = ".:;!?。；：！？)]*"
_AFTER_CHINESE = re.compile(r"[ ]{0,4}(?:[】\]」〕][ ]{0,2}:?|(?P<colon>:))")
_HAN = re.compile(r"[\u3400-\u9fff]")
INDENT = 80
"""How many blanks at most may stand before a Chinese heading in its line."""
_WITHIN_WORDS = ("diagnosis", "synoptic", "addendum")
"""Kinds whose Chinese headings may follow other words (``直肠癌病理诊断：``); others would be part of a word."""
_OF_A_LINE = ("specimen", "administrative")
"""Kinds that a Chinese report tells in one line; what follows belongs to the section before again."""


def find_sections(original: str, text: str, language: str) -> tuple[Section, ...]:
    """Cut ``text`` (normalised, as long as ``original``) at its headings, in order, without gaps but the headings."""
    headings = _headings(language)
    found: list[tuple[str, int, int]] = [(BODY, 0, 0)]
    for start, end, kind in _marks(original, text, headings.pattern):
        _end_line(found, original, start)
        found.append((kind, start, end))
    _end_line(found, original, len(text))
    sections = []
    for position, (kind, _, begin) in enumerate(found):
        finish = found[position + 1][1] if position + 1 < len(found) else len(text)
        if finish > begin:
            sections.append(Section(kind, begin, finish, headings.weights.get(kind, 0.7)))
    return tuple(sections)


def _end_line(found: list[tuple[str, int, int]], original: str, end: int) -> None:
    """Let the section before a Chinese heading of one line go on behind that line, up to ``end``."""
    kind, start, begin = found[-1]
    if kind not in _OF_A_LINE or not _HAN.match(original, start):
        return
    line_end = original.find("\n", begin, end)
    if line_end >= 0 and original[line_end:end].strip():
        before = next(earlier for earlier, *_ in reversed(found) if earlier not in _OF_A_LINE)
        found.append((before, line_end, line_end))


def _marks(original: str, text: str, pattern: re.Pattern[str]) -> Iterator[tuple[int, int, str]]:
    for match in pattern.finditer(text):
        if _HAN.match(text, match.start()):
            end = _chinese_end(original, text, match)
            if end is not None:
                yield match.start(), end, str(match.lastgroup)
            continue
        after = _AFTER.match(text, match.end())
        line_ends = original[match.end() : match.end() + 3].lstrip(" \r").startswith("\n")
        if after is None and not line_ends:
            continue
        if (after is None or after["colon"] is None) and not _begins(original, match.start()):
            continue
        yield match.start(), after.end() if after else match.end(), str(match.lastgroup)


def _begins(original: str, position: int) -> bool:
    """Whether a line or a sentence begins at ``position``, and in capitals as a heading without a colon does."""
    before = original[:position].rstrip(" ") if position < 200 else original[position - 200 : position].rstrip(" ")
    return not before or ((before[-1] == "\n" or before[-1] in _SENTENCE_END) and original[position].isupper())


def _chinese_end(original: str, text: str, match: re.Match[str]) -> int | None:
    """Return where a Chinese heading ends, None where its words are no heading."""
    start, end = match.span()
    if start and text[start - 1].isalnum() and match.lastgroup not in _WITHIN_WORDS:
        return None
    after = _AFTER_CHINESE.match(text, end)
    if after is not None and (after["colon"] or text[start - 1 : start] in "【[「〔"):
        return after.end()
    begin = max(0, start - INDENT)
    line_start = original.rfind("\n", begin, start)
    line = original[line_start + 1 if line_start >= 0 else begin : start].strip(" \t\r\u3000")
    if line or not (end == len(text) or original[end] in "\r\n" or (original[end].isspace() and end - start >= 4)):
        return None
    return end
