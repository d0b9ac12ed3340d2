"""Patterns for whole texts: wordings of the tables, and grammars of extractors.

RE2 runs them, in time linear in the text whatever the text (no lookaround, no back references), and some twenty times
as fast as `re` where many words are sought. `re` is for short stretches that are cut out already.

A wording is a regular expression over normalised, lower-case text in which a space stands for whatever parts two words
in scanned text: blanks, a line's end, a hyphen, a stray full stop (``perineural. invasion``, ``lympho-vascular``).
"""

import re
from collections.abc import Iterable
from functools import cache
from typing import cast

import re2

from dicomsvc.reports.text.linear import LinearPattern

GAP = r"[\s\-./]{0,3}"
"""What may stand between two words of a wording."""
_GROUP = re.compile(r"(?<![\\\[])\((?!\?)")
"""A group that captures: RE2 is several times as fast where none does."""
_HAN = re.compile(r"[\u3400-\u9fff]")


@cache
def searcher(expression: str) -> re.Pattern[str]:
    """Compile an expression for searching whole texts.

    The answer has the methods of `re.Pattern` that are used here; words and their bounds are of ASCII alone.

    Raises
    ------
    ValueError
        The expression is none, or has what RE2 lacks.
    """
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 64 << 20
    try:
        return cast("re.Pattern[str]", LinearPattern(expression, options))
    except re2.error as error:
        raise ValueError(f"not an expression of RE2: {error}") from error


def compiled(wordings: Iterable[str]) -> re.Pattern[str]:
    """Compile wordings to one pattern; where two fit at a place, the earlier in the table does."""
    return _of_wordings(tuple(wordings))


@cache
def _of_wordings(wordings: tuple[str, ...]) -> re.Pattern[str]:
    return searcher(alternatives(wordings))


def alternatives(wordings: Iterable[str]) -> str:
    """Return the expression for wordings, bounded by what ends words; for none, one that matches nothing."""
    return "|".join(_bounded(wording) for wording in wordings) or r"[^\s\S]"


def _bounded(wording: str) -> str:
    body = _GROUP.sub("(?:", wording.replace(" ", GAP))
    if _HAN.search(wording):
        return f"(?:{body})"
    first = r"\b" if wording[0].isalnum() or wording[0] in "([" else ""
    ends_in_word = wording[-1].isalnum() or (wording[-1] in ")]?" and not wording.endswith(("\\)", "\\]", "\\?")))
    return rf"{first}(?:{body})(?:\b|$)" if ends_in_word else f"{first}(?:{body})"
