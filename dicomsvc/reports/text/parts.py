"""Parts: the specimens of a case, by the labels that the report gives them (``A.``, ``Part 2:``, ``C&D.``, ``①``).

A Chinese diagnosis numbers what it says of one specimen as well; a number labels a specimen there when a specimen's
name follows: in brackets or quotation marks, or as a side or as what was sent.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from dicomsvc.reports.text.sections import Section

_LABEL = re.compile(
    r"""
    (?:^ | (?<=[\s:;.：；。]))
    (?: (?:part|specimen|[标標]本)\s*\#?\s* )?
    (?P<labels> [A-Z](?:\s?(?:[&,/-]|and)\s?[A-Z])* | (?P<number> [1-9][0-9]? | [①-⑳] ) )
    \s? (?: [.:)、．：）] | (?<=[①-⑳]) ) \s*
    (?= [A-Z] | (?(number) ["'(“‘「『（【] | [\u3400-\u9fff"'(“‘「『（【] ) | (?:送[检檢]|另送|左|右|[双雙][侧側]) )
    """,
    re.VERBOSE,
)
_READ = ("diagnosis", "addendum", "synoptic", "body")


@dataclass(frozen=True, slots=True)
class Part:
    """``text[start:end]`` speaks of the specimen ``label``; several that are reported together have "A, B"."""

    label: str
    start: int
    end: int


def find_parts(original: str, sections: tuple[Section, ...]) -> tuple[Part, ...]:
    """Find the parts in the sections that hold diagnoses. Labels must rise from A or 1, else they are no labels."""
    found: list[Part] = []
    for section in sections:
        if section.kind in _READ:
            found.extend(_within(original, section))
    return tuple(found)


def _within(original: str, section: Section) -> Iterator[Part]:
    marks: list[tuple[str, int, int]] = []
    last = ""
    for match in _LABEL.finditer(original, section.start, section.end):
        labels = re.findall(r"[A-Z]|[0-9]+|[①-⑳]", match["labels"])
        if _follows(last, labels[0]):
            last = labels[-1]
            marks.append((", ".join(labels), match.start(), match.end()))
    if len(marks) < 2:
        return
    for position, (label, _, begin) in enumerate(marks):
        finish = marks[position + 1][1] if position + 1 < len(marks) else section.end
        yield Part(label, begin, finish)


def _follows(last: str, label: str) -> bool:
    if not last:
        return label in ("A", "1", "①")
    if last.isdecimal() != label.isdecimal():
        return False
    return 0 < _rank(label) - _rank(last) <= 2


def _rank(label: str) -> float:
    return int(label) if label.isdecimal() else unicodedata.numeric(label, ord(label[0]))
