"""Parts: the specimens of a case, by the labels that the report gives them (``A.``, ``Part 2:``, ``C&D.``)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dicomsvc.reports.text.sections import Section

_LABEL = re.compile(
    r"""
    (?:^ | (?<=[\s:;.]))
    (?: (?:part|specimen|标本)\s*\#?\s* )?
    (?P<labels> [A-Z](?:\s?(?:[&,/-]|and)\s?[A-Z])* | [1-9][0-9]? | [①-⑳] )
    \s? (?: [.:)、] | (?<=[①-⑳]) ) \s* (?=[A-Z"(\u3400-\u9fff])
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
    if last.isdigit() != label.isdigit():
        return False
    return 0 < (int(label) - int(last) if label.isdigit() else ord(label) - ord(last)) <= 2
