"""Codes of invasion beside TNM categories, as ``pT3 pN1 (2/20) L1 V0 Pn0 R0`` has them (UICC's L, V and Pn).

Such a code counts only in a row with others: ``L1`` alone may be a vertebra or a block. ``Pn1`` is told from ``PN1`` by
its letters' case.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dicomsvc.reports.reading import Reading
from dicomsvc.reports.text.wording import searcher

_CODE = (
    r"[cypra]{0,3}t(?:is|[0-4x])[a-d]?(?:\(m\))?|[cypra]{0,3}n[0-3xo][a-c]?(?:\((?:sn|i[+-]|mi)\))?|[cypra]{0,2}m[0-1xo][a-c]?"
    r"|lv[01x]|l[01x]|v[0-2x]|pn[01x]|r[0-2x]|g[1-4x]"
)
_RATIO = r"(?:\(?\d{1,3}[ ]?/[ ]?\d{1,3}\)?[\s,;.]{0,3})?"
_ROW = searcher(rf"\b(?:{_CODE})(?:[\s,;.:/()]{{1,4}}{_RATIO}(?:{_CODE})\b)+")
_ONE = re.compile(r"\b(?P<letters>lv|l|v|pn)(?P<digit>[0-2])\b")
_CATEGORY = re.compile(r"\b[cypra]{1,3}[tn][0-4xoi]")


@dataclass(frozen=True, slots=True)
class InvasionCode:
    """``letters`` (``l``, ``v``, ``lv``, ``pn``) at ``text[start:end]``; ``present`` unless the digit is 0."""

    letters: str
    present: bool
    start: int
    end: int


def invasion_codes(reading: Reading) -> tuple[InvasionCode, ...]:
    """Return the codes of all rows that have a pathological category, or at least two codes of invasion."""
    return tuple(code for row in _ROW.finditer(reading.text) for code in _of_row(reading, row.start(), row.end()))


def _of_row(reading: Reading, start: int, end: int) -> Iterator[InvasionCode]:
    found = [
        InvasionCode(match["letters"], match["digit"] != "0", match.start(), match.end())
        for match in _ONE.finditer(reading.text, start, end)
        if match["letters"] != "pn" or reading.original[match.start() : match.start() + 2] == "Pn"
    ]
    if len(found) > 1 or _CATEGORY.search(reading.text, start, end):
        yield from found
