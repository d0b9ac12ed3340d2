"""Lengths as pathologists write and scanners read them: ``2.5 cm``, ``2. 5 cm``, ``2,5cm``, ``25 mm``, ``<0.1 cm``."""

import re
from dataclasses import dataclass

NUMBER = r"\d{1,3}(?:\s?\.\s?\d{1,2}|,\d{1,2})?"
"""A number with a stray blank before or behind its point."""
UNIT = r"(?:cm|mm|centimet(?:er|re)s?|millimet(?:er|re)s?|厘米|毫米|公分)"
_LESS = r"(?P<bound><|>|≤|≥|less than|greater than|more than|at least|<=|>=)?"
_LENGTH = rf"{_LESS}\s?(?P<number>{NUMBER})[\s.\-]{{0,3}}(?P<unit>{UNIT})(?![a-z])"
_BEFORE = re.compile(
    rf"{_LENGTH}[\s.,]*(?:\([^()]{{0,40}}\)[\s.]*)?(?:(?:away|distant|in distance|proximal|distal|superficial|"
    r"deep|anterior|posterior|medial|lateral|superior|inferior)[\s.]*)?(?:from|of|to)[\s.]+"
    r"(?!\s*[\d])[a-z\s.,/()\-]{0,45}$"
)
_BEHIND = re.compile(
    r"^[\s:,(.\-=/]*(?:(?:is|are|was|were|by|to|tumou?r|invasive|carcinoma|component|distance|of|from|the|clear|"
    r"negative|uninvolved|free|not involved|for|closest|nearest|clearance|located|approximately|about|at|only|with|"
    r"margin|lesion|minimum|microscopically|grossly|within|widely|it|距|肿瘤|离|约|最近|处|癌|组织|灶)[\s:,(.\-=/]*){0,9}"
    rf"{_LENGTH}(?!\s?[x*])"
)


@dataclass(frozen=True, slots=True)
class Length:
    """``bound`` is ``<`` or ``>`` where the report gives no exact length."""

    mm: float
    raw: str
    bound: str | None = None


def millimetres(number: str, unit: str) -> float:
    """Return the length in millimetres; ``number`` may have blanks at its point, or a comma for it."""
    value = float(re.sub(r"\s", "", number).replace(",", "."))
    return round(value * (10 if unit.startswith(("c", "厘", "公")) else 1), 2)


def _length(match: re.Match[str]) -> Length:
    bound = match["bound"]
    sign = None if bound is None else "<" if bound[0] in "<≤l" else ">"
    raw = match.string[match.start("number") : match.end("unit")]
    return Length(millimetres(match["number"], match["unit"]), raw, sign)


def length_before(head: str) -> Length | None:
    """Return the length at the end of ``head`` that ends there with "from the", as before a margin's name."""
    found = None
    for start in re.finditer(r"(?<![\d.,])\d", head[-90:]):
        found = _BEFORE.match(head[-90:], start.start()) or found
    if found is None:
        return None
    less = re.search(r"(?:<|less than)\s?$", found.string[: found.start("number")])
    length = _length(found)
    return Length(length.mm, length.raw, "<") if less else length


def length_behind(tail: str) -> Length | None:
    """Return the length that ``tail`` begins with, behind a margin's name and words such as "is uninvolved by"."""
    found = _BEHIND.match(tail)
    return _length(found) if found else None
