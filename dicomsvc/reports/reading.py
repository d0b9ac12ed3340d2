"""A report as the extractors read it: normalised text, sections, parts, clauses."""

from bisect import bisect_right
from collections.abc import Callable
from typing import Any, TypeVar

from dicomsvc.reports.text.clauses import Clauses
from dicomsvc.reports.text.normalise import normalised
from dicomsvc.reports.text.parts import Part, find_parts
from dicomsvc.reports.text.sections import Section, find_sections
from dicomsvc.reports.values import Evidence

T = TypeVar("T")
REACH = {"specimen": (250, 0.9), "clinical": (600, 0.7), "administrative": (250, 0.7)}
"""How many characters such a section may take, and what stands behind them is worth: the next heading was not seen."""


class Reading:
    """One report's text and its layout.

    ``original`` is the text as it came; ``text`` is normalised (lower case, narrow forms) and as long, so that one
    offset holds in both. ``organs`` are the packages that the report is about.
    """

    def __init__(self, original: str, language: str, organs: tuple[str, ...] = ()) -> None:
        self.original = original
        self.language = language
        self.organs = organs
        self.text = normalised(original)
        self.sections = find_sections(original, self.text, language)
        self.parts = find_parts(original, self.sections)
        self.clauses = Clauses(original)
        self._section_starts = [section.start for section in self.sections]
        self._part_starts = [part.start for part in self.parts]
        self._once: dict[Callable[[Reading], Any], Any] = {}

    def section_at(self, offset: int) -> Section | None:
        position = bisect_right(self._section_starts, offset) - 1
        return self.sections[position] if position >= 0 else None

    def weight_at(self, offset: int) -> float:
        """Return how far what stands at ``offset`` is believed, 0 (not read at all) to 1."""
        section = self.section_at(offset)
        if section is None:
            return 0.7
        reach, behind = REACH.get(section.kind, (0, 0.0))
        return behind if reach and offset >= section.start + reach else section.weight

    def part_at(self, offset: int) -> Part | None:
        position = bisect_right(self._part_starts, offset) - 1
        part = self.parts[position] if position >= 0 else None
        return part if part is not None and offset < part.end else None

    def label_at(self, offset: int) -> str | None:
        part = self.part_at(offset)
        return part.label if part else None

    def evidence(self, start: int, end: int) -> Evidence:
        """Return the place without blanks at its ends."""
        while start < end and self.original[start].isspace():
            start += 1
        while end > start and self.original[end - 1].isspace():
            end -= 1
        return Evidence(start, end)

    def raw(self, evidence: Evidence) -> str:
        return self.original[evidence.start : evidence.end]

    def once(self, function: Callable[["Reading"], T]) -> T:
        """Return ``function(self)``, worked out at most once: what several fields share."""
        if function not in self._once:
            self._once[function] = function(self)
        found: T = self._once[function]
        return found
