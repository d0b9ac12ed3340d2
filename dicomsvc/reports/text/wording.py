"""Wordings of the field tables, compiled to patterns.

A wording is a regular expression over normalised, lower-case text in which a space stands for whatever parts two words
in scanned text: blanks, a line's end, a hyphen, a stray full stop (``perineural. invasion``, ``lympho-vascular``).
"""

import re
from collections.abc import Iterable
from functools import cache

GAP = r"[\s\-./]{0,3}"
"""What may stand between two words of a wording; bounded, so that no text makes a search slow."""
_HAN = re.compile(r"[\u3400-\u9fff]")


def compiled(wordings: Iterable[str]) -> re.Pattern[str]:
    """Compile wordings to one pattern; the longest that fits is not sought, so the order is that of the table."""
    return _compile(tuple(wordings))


@cache
def _compile(wordings: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(_bounded(wording) for wording in wordings) or r"(?!)")


def _bounded(wording: str) -> str:
    body = wording.replace(" ", GAP)
    return f"(?:{body})" if _HAN.search(wording) else rf"(?<![a-z0-9])(?:{body})(?![a-z0-9])"
