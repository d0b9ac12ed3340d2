"""Clauses: the stretch of text within which a word speaks of another."""

import re
from bisect import bisect_left, bisect_right

_BOUNDARY = re.compile(
    r"""
      (?<=[.;!?]) \s+ (?=[A-Z0-9(\[\-*"'])      # a sentence; a stray full stop before a small letter is none
    | (?<=[;。；！？◆◇★])                            # Chinese stops need no blank
    | (?<!\s)\s+ [-*•>] \s+ (?=\S)                      # a list's item
    | \n [^\S\n]* (?: \n | [-*•] | \(?[0-9a-zA-Z]{1,2}[.)] \s )
    """,
    re.VERBOSE,
)

_OPEN = re.compile(
    r"(?:^|\s)(?:of|for|by|the|and|or|with|to|no|is|are|was|were|in|from|at|a|an|not|without)\.$", re.IGNORECASE
)
"""No sentence ends with these: the full stop is the scanner's."""


class Clauses:
    """Where clauses begin and end in a text; offsets are of the original."""

    def __init__(self, original: str) -> None:
        found = [
            match
            for match in _BOUNDARY.finditer(original)
            if not _OPEN.search(original[max(0, match.start() - 12) : match.start()])
        ]
        self._starts = [0, *(match.end() for match in found)]
        self._ends = [*(match.start() for match in found), len(original)]

    def around(self, start: int, end: int) -> tuple[int, int]:
        """Return the bounds of the clause or clauses that hold ``[start, end)``."""
        first = bisect_right(self._starts, start) - 1
        last = bisect_left(self._ends, end)
        return self._starts[max(first, 0)], self._ends[min(last, len(self._ends) - 1)]

    @property
    def starts(self) -> tuple[int, ...]:
        return tuple(self._starts)
