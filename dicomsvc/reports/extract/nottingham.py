"""Nottingham's combined score of breast carcinoma: tubules, nuclei and mitoses of 1 to 3 points each, and their sum.

The grade follows from the sum: 3 to 5 points grade 1, 6 and 7 grade 2, 8 and 9 grade 3 (Elston and Ellis 1991).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from dicomsvc.reports.reading import Reading
from dicomsvc.reports.schema import Field
from dicomsvc.reports.text.wording import searcher
from dicomsvc.reports.values import FieldValue, Status

RULE = "nottingham/1"
GRADE_RULE = "grade_from_nottingham/elston_ellis_1991"
SUM_RULE = "nottingham_from_components/elston_ellis_1991"
TOGETHER = 260
"""Parts of one score stand within so many characters."""
LEAST = 0.3
MOST = 200
"""Parts and totals that are looked at."""
_POINTS = r"(?:[\s:;=,\-()]|is\b|was\b|of\b|score\b|grade\b|points?\b|#){0,8}?"
_SCORED = r"(?:[^.;:]{0,60}?\bscore\s?[=:]?\s?)?"
_PARTS = searcher(
    r"\b(?:(?P<tubules>(?:glandular|acinar|tubul[a-z]{1,3}|architectur(?:e|al)|gland)"
    r"(?:[\s/()]{0,2}(?:acinar|tubular|papilla|differentiation|formation|score|features|grade)\)?)*)"
    r"|(?P<nuclei>nuclei|nuclear(?:\s(?:grade|pleomorphism|score|size|atypia|features))?|pleomorphism)"
    r"|(?P<mitoses>m[iy]to(?:sis|ses|tic)(?:\s(?:rate|count|activity|index|score|figures?))*))"
    rf"{_POINTS}{_SCORED}(?P<points>[1-3])(?:\s?/\s?3)?(?:\s|[.,;:)\](/]|points?|$)"
    r"|(?P<tubules_zh>腺管(?:形成)?|腺体形成)[^。;；0-9]{0,12}(?P<points_t>[1-3])\s?分?"
    r"|(?P<nuclei_zh>(?:细胞)?核(?:多形性|异型性?|级))[^。;；0-9]{0,12}(?P<points_n>[1-3])\s?分?"
    r"|(?P<mitoses_zh>核分裂(?:象|像|计数)?)[^。;；0-9/]{0,12}(?P<points_m>[1-3])\s?分"
)
_TOTALS = searcher(
    r"\b(?:(?:nottingham|richardson|s\.?b\.?r\.?|elston|combined|total|overall)[\s\-]{1,2}"
    r"(?:(?:combined|total|overall|histologic(?:al)?|nottingham|breast cancer)[\s\-]{1,2})*(?:score|sum|points)|total)"
    r"[\s:;=,(]{0,4}(?:is |of |score |= ?){0,2}(?P<total>[3-9])(?:\s?(?:/|of|out of)\s?9)?(?:\s|[.,;:)\](]|$)"
    r"|\b(?:nottingham|richardson|s\.?b\.?r\.?|elston)[\s:=(,]{1,4}(?P<of_nine>[3-9])\s?(?:/|of|out of)\s?9\b"
    r"|(?:总分|合计|总评分)[\s:为=]{0,3}(?P<total_zh>[3-9])\s?分?"
)
_ADDED = searcher(
    r"(?:nottingham|sbr|nhg|richardson|诺丁汉)[^.;。；]{0,30}?\(?(?P<a>[1-3])\s?\+\s?(?P<b>[1-3])\s?\+\s?(?P<c>[1-3])"
    r"(?:\s?=\s?(?P<sum>[3-9])\b)?"
    r"|(?:分级|级)\s?[(]\s?(?P<d>[1-3])\s?\+\s?(?P<e>[1-3])\s?\+\s?(?P<f>[1-3])"
)
_SUMMAND = re.compile(r"\s?\+")


@dataclass(frozen=True, slots=True)
class Nottingham:
    """One score, with what the report states of it; ``text[start:end]`` holds it."""

    start: int
    end: int
    total: int | None = None
    tubules: int | None = None
    nuclei: int | None = None
    mitoses: int | None = None

    @property
    def sum(self) -> int | None:
        """The stated total, or else the sum of the three parts."""
        parts = (self.tubules, self.nuclei, self.mitoses)
        return self.total or (sum(part for part in parts if part) if all(parts) else None)

    @property
    def grade(self) -> int | None:
        return None if self.sum is None else 1 if self.sum <= 5 else 2 if self.sum <= 7 else 3

    @property
    def components(self) -> dict[str, int]:
        named = {"score": self.sum, "tubules": self.tubules, "nuclei": self.nuclei, "mitoses": self.mitoses}
        return {name: points for name, points in named.items() if points is not None}


def find_nottingham(reading: Reading, field: Field) -> Iterator[FieldValue]:
    """Yield the points of the field's ``component``: ``total``, ``tubules``, ``nuclei`` or ``mitoses``."""
    component = str(field.settings["component"])
    for score in reading.once(read_nottingham):
        points = getattr(score, component)
        summed = component == "total" and points is None
        if summed:
            points = score.sum
        if points is None:
            continue
        evidence = reading.evidence(score.start, score.end)
        yield FieldValue(
            field=field.id,
            value=points,
            status=Status.DERIVED if summed else Status.STATED,
            evidence=(evidence,),
            raw=reading.raw(evidence),
            unit=field.unit,
            part=reading.label_at(score.start),
            confidence=0.95,
            rule=SUM_RULE if summed else RULE,
        )


def read_nottingham(reading: Reading) -> tuple[Nottingham, ...]:
    """Return the scores in the text: at least two parts, or a total that is named as one beside the system's name."""
    marks = sorted((*islice(_parts(reading), MOST), *islice(_totals(reading), MOST)), key=lambda mark: mark[0])
    found: list[Nottingham] = []
    group: list[tuple[int, int, str, int]] = []
    for mark in marks:
        names = {name for _, _, name, _ in group}
        if group and (mark[0] - group[0][0] > TOGETHER or mark[2] in names):
            found.extend(_score(group))
            group = []
        group.append(mark)
    found.extend(_score(group))
    return tuple(found)


def _score(group: list[tuple[int, int, str, int]]) -> Iterator[Nottingham]:
    points = {name: value for _, _, name, value in group}
    total = points.get("total") or points.get("named")
    parts = {name: points.get(name) for name in ("tubules", "nuclei", "mitoses")}
    if sum(value is not None for value in parts.values()) < 2 and "named" not in points:
        return
    stated = sum(value or 0 for value in parts.values())
    if total and all(parts.values()) and total != stated:
        total = None
    yield Nottingham(group[0][0], max(end for _, end, _, _ in group), total, **parts)


def _parts(reading: Reading) -> Iterator[tuple[int, int, str, int]]:
    for match in _PARTS.finditer(reading.text):
        if reading.weight_at(match.start()) < LEAST:
            continue
        for name, points in (("tubules", "points_t"), ("nuclei", "points_n"), ("mitoses", "points_m")):
            if match[name] or match[f"{name}_zh"]:
                yield match.start(), match.end(), name, int(match["points"] or match[points])


def _totals(reading: Reading) -> Iterator[tuple[int, int, str, int]]:
    for match in _TOTALS.finditer(reading.text):
        total = match["total"] or match["of_nine"] or match["total_zh"]
        # The first of points that are added up is no total.
        if reading.weight_at(match.start()) < LEAST or _SUMMAND.match(reading.text, match.end() - 1):
            continue
        named = match["of_nine"] or re.search(r"nottingham|richardson|s\.?b\.?r|elston", match[0])
        yield match.start(), match.end(), "named" if named else "total", int(total)
    for match in _ADDED.finditer(reading.text) if "+" in reading.text else ():
        if reading.weight_at(match.start()) < LEAST:
            continue
        first, last = ("a", "c") if match["a"] else ("d", "f")
        yield from _added(match, first, last)
        if match["sum"]:
            yield match.start(), match.end(), "total", int(match["sum"])


def _added(match: re.Match[str], first: str, last: str) -> Iterator[tuple[int, int, str, int]]:
    """Yield the parts of a score written as a sum, in Nottingham's order."""
    keys = [chr(code) for code in range(ord(first), ord(last) + 1)]
    for name, key in zip(("tubules", "nuclei", "mitoses"), keys, strict=True):
        yield match.start(), match.end(), name, int(match[key])
