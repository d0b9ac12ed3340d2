"""Where in a text the words are that somebody looks for: offsets into the original, and a piece of text around them."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, func

from dicomsvc.reports.repository.tables import report_version

# Characters for private use, which no report has; where one has them all the same, nothing is highlighted by them.
_BEGIN: Final = "\ue000"
_END: Final = "\ue001"
_OPTIONS: Final = f"HighlightAll=true, StartSel={_BEGIN}, StopSel={_END}"
LARGEST_SEARCHED: Final = 100_000
_MOST: Final = 100
_AROUND: Final = 60
_LONGEST_SNIPPET: Final = 320


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a snippet; ``match`` is whether it was looked for."""

    text: str
    match: bool


@dataclass(frozen=True, slots=True)
class Found:
    """Places in the text, ``(start, end)`` in code points, and a snippet around the first of them."""

    places: tuple[tuple[int, int], ...]
    snippet: tuple[Piece, ...]


def headline(query: ColumnElement[object]) -> ColumnElement[str]:
    """Return the column that `found_in` reads the places of an English query from."""
    searched = func.left(report_version.c.text, LARGEST_SEARCHED)
    return func.ts_headline("pg_catalog.english", searched, query, _OPTIONS)


def found_in(text: str, marked: str | None, substrings: Sequence[str]) -> Found:
    """Return where ``substrings`` stand in ``text``, and what is marked in its copy ``marked``."""
    places = sorted({*_marked(text, marked or ""), *_substrings(text[:LARGEST_SEARCHED], substrings)})
    apart = tuple(_apart(places))[:_MOST]
    return Found(apart, tuple(_snippet(text, apart)))


def _marked(text: str, marked: str) -> Iterator[tuple[int, int]]:
    plain = marked.replace(_BEGIN, "").replace(_END, "")
    if text[:LARGEST_SEARCHED] != plain:
        # PostgreSQL leaves out what looks like markup: the words are then looked for one by one.
        words = {match[1] for match in re.finditer(f"{_BEGIN}([^{_END}]*){_END}", marked)}
        yield from _substrings(text[:LARGEST_SEARCHED], sorted(words))
        return
    offset = 0
    for number, piece in enumerate(re.split(f"[{_BEGIN}{_END}]", marked)):
        if number % 2:
            yield offset, offset + len(piece)
        offset += len(piece)


def _substrings(text: str, substrings: Iterable[str]) -> Iterator[tuple[int, int]]:
    for wanted in substrings:
        if wanted:
            for match in re.finditer(re.escape(wanted), text, re.IGNORECASE):
                yield match.span()


def _apart(places: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    last = -1
    for start, end in places:
        if start >= last:
            yield start, end
            last = end


def _snippet(text: str, places: Sequence[tuple[int, int]]) -> Iterator[Piece]:
    if not places:
        return
    begin = max(0, places[0][0] - _AROUND)
    stop = min(len(text), begin + _LONGEST_SNIPPET)
    at = begin
    for start, end in places:
        if end > stop:
            break
        if start > at:
            yield Piece(text[at:start], match=False)
        yield Piece(text[start:end], match=True)
        at = end
    if at < stop:
        yield Piece(text[at:stop], match=False)
