"""Counts of lymph nodes as reports state them: ``2 of 15``, ``0/12``, ``Fourteen lymph nodes, negative``, ``Number
examined: 13``, ``淋巴结12枚，其中2枚见转移``.

Each statement found is a `Count`; which of them repeat or sum up others is `dicomsvc.reports.extract.nodes`'s to say.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from dicomsvc.reports.extract.node_words import (
    BOTH,
    COUNT,
    CUE,
    FRACTION,
    HANDLED,
    LABEL,
    LABEL_NUMBER,
    LED,
    LISTED,
    NEGATIVE,
    NODE_WORD,
    NOT_COUNTS,
    NOT_FRACTION_AFTER,
    NOT_FRACTION_BEFORE,
    NOT_NODES,
    OF,
    ROMAN,
    SCORE,
    SUBSET,
    number_of,
)
from dicomsvc.reports.reading import Reading

_AFTER, _BEFORE, _LED_BEFORE = 150, 70, 200
_MOST = 200
"""Nodes; a larger number counts something else."""
_FLOOD = 150
"""Statements of a kind that are read; more stand in no report."""


@dataclass(frozen=True, slots=True)
class Count:
    """``positive`` of ``examined`` nodes, at ``text[start:end]``. A ``label`` statement may have one of them alone."""

    positive: int | None
    examined: int | None
    start: int
    end: int
    form: str
    confidence: float = 0.9


def counts(reading: Reading) -> tuple[Count, ...]:
    """Return every statement of node counts in what may be believed, in the order of the text."""
    if not any(word in reading.text for word in ("node", "nooe", "ln", "淋巴")):
        return ()
    ratios = [*islice(_of(reading), _FLOOD), *islice(_romans(reading), _FLOOD)]
    ratios.extend(count for count in islice(_fractions(reading), _FLOOD) if not _inside(count, ratios))
    labels = [count for count in islice(_labels(reading), _FLOOD) if not _inside(count, ratios)]
    plain = [count for count in _plain(reading, [*ratios, *labels]) if not _inside(count, [*ratios, *labels])]
    return tuple(sorted((*ratios, *labels, *plain), key=lambda count: count.start)[:_FLOOD])


def _inside(count: Count, others: list[Count]) -> bool:
    return any(other.start < count.end and count.start < other.end for other in others)


def _read(reading: Reading, start: int) -> bool:
    section = reading.section_at(start)
    return section is None or section.kind not in _UNREAD


_UNREAD = ("gross", "intraoperative", "clinical", "blocks", "disclaimer")


def _near_nodes(reading: Reading, start: int, end: int, before: int = 110, after: int = 60) -> bool:
    """Whether nodes are spoken of around a ratio: in its clause, or in the heading of its part."""
    if NODE_WORD.search(reading.text, end, min(len(reading.text), end + after)):
        return True
    if NODE_WORD.search(reading.text, max(0, start - before), start):
        return True
    part = reading.part_at(start)
    return part is not None and NODE_WORD.search(reading.text, part.start, min(part.start + 60, part.end)) is not None


def _of(reading: Reading) -> Iterator[Count]:
    for match in OF.finditer(reading.text):
        positive, examined = number_of(match["positive"]), number_of(match["examined"])
        if (
            positive is None
            or examined is None
            or not positive <= examined <= _MOST
            or not _read(reading, match.start())
        ):
            continue
        after = reading.text[match.end() : match.end() + 70]
        before = reading.text[max(0, match.start() - 14) : match.start()]
        if SCORE.search(before) or re.match(r"[ ]?(?:cm|mm|blocks?|slides?|cores?|\.\d|%|cassettes?)", after):
            continue
        left, _ = reading.clauses.around(match.start(), match.start())
        if not _near_nodes(reading, match.start(), match.end(), min(60, match.start() - left), 60):
            continue
        yield Count(positive, examined, match.start(), match.end(), "ratio", 0.95)


_OTHERS = re.compile(r"[。;]|另|\n\s*\n")
"""What ends the list of those nodes "among them" (其中) that a ratio before has counted already."""


def _fractions(reading: Reading) -> Iterator[Count]:
    last = 0
    among = False
    for match in FRACTION.finditer(reading.text):
        positive, examined = int(match["positive"]), int(match["examined"])
        before = reading.text[max(0, match.start() - 14) : match.start()]
        if not positive <= examined <= _MOST or not examined or not _read(reading, match.start()):
            continue
        if NOT_FRACTION_BEFORE.search(before) or NOT_FRACTION_AFTER.match(reading.text, match.end()):
            continue
        if _near_nodes(reading, match.start(), match.end(), 110, 40):
            *others, between = _OTHERS.split(reading.text[last : match.start()])
            among = bool(last) and ("其中" in between or (among and not others))
            last = match.end()
            if among:
                continue
            form = "label" if BOTH.search(reading.text[max(0, match.start() - 120) : match.start()]) else "fraction"
            yield Count(positive, examined, match.start(), match.end(), form, 0.95)


def _romans(reading: Reading) -> Iterator[Count]:
    """Yield ratios in Roman numbers: ``metastases in lymphonodis (No III/XXIV)``."""
    for match in ROMAN.finditer(reading.text):
        positive, examined = _roman(match["positive"]), _roman(match["examined"])
        near = NODE_WORD.search(reading.text, max(0, match.start() - 90), match.start())
        if near and 0 < positive <= examined <= _MOST and _read(reading, match.start()):
            yield Count(positive, examined, match.start(), match.end(), "fraction", 0.85)


def _roman(text: str) -> int:
    if text.isdigit():
        return int(text)
    digits = [{"i": 1, "v": 5, "x": 10, "l": 50}[letter] for letter in text]
    return sum(-a if a < b else a for a, b in zip(digits, [*digits[1:], 0], strict=True))


def _labels(reading: Reading) -> Iterator[Count]:
    """Yield the answers of checklists: ``Number of lymph nodes examined: 12``."""
    for match in LABEL.finditer(reading.text):
        number = number_of(match["number"])
        if number is None or number > _MOST or not _read(reading, match.start()):
            continue
        label = reading.text[max(0, match.start() - 30) : match.start(LABEL_NUMBER)]
        label = re.split(r"[.;\n:](?=.*[:=])", label)[-1]
        nodal = NODE_WORD.search(reading.text, max(0, match.start() - 160), match.start(LABEL_NUMBER))
        kind = _kind(label)
        if (
            nodal is None
            or kind is None
            or re.match(r"\.\d|[ ]?(?:cm|mm|%)|[枚个粒颗]?(?:淋巴结)?中", reading.text[match.end() : match.end() + 5])
        ):
            continue
        if match["rest"]:
            examined = int(re.findall(r"\d+", match["rest"])[0])
            if number <= examined:
                yield Count(number, examined, match.start(), match.end(), "label", 0.97)
        elif kind in ("positive", "macro", "micro"):
            form = "label" if kind == "positive" else kind
            yield Count(number, None, match.start(), match.end(), form, 0.97)
        elif kind == "examined":
            yield Count(None, number, match.start(), match.end(), "label", 0.97)


def _kind(label: str) -> str | None:
    """Return what a label asks for; None where it asks for no total (a size, a sentinel count, one sort of deposit)."""
    if re.search(r"size|largest|dimension|distance|sentinel nodes? examined|site|level", label):
        return None
    if re.search(r"isolated|\bitc", label):
        return None
    if re.search(r"micromet", label) and not re.search(r"macromet", label):
        return "micro"
    if re.search(r"macromet", label):
        return "macro"
    positive = re.search(r"positive|involved|metasta|with (?:tumou?r|carcinoma|macro)|contain|阳性|转移", label)
    examined = re.search(
        r"examin|identified|sampled|retrieved|dissected|evaluated|found|removed|total|检出|总数|送检", label
    )
    if positive and examined:
        return "both" if "/" in label else "positive"
    return "positive" if positive else "examined" if examined else None


def _plain(reading: Reading, taken: list[Count]) -> Iterator[Count]:
    """Yield counts that words around them call positive or negative: ``Two benign lymph nodes``."""
    text = reading.text
    matches = [match for match in islice(COUNT.finditer(text), 3 * _FLOOD) if _read(reading, match.start())]
    starts = sorted([count.start for count in taken] + [match.start() for match in matches])
    for match in matches:
        said = (
            match["number"] or match["times"] or match["brackets"] or match["listed"] or match["zh"] or match["before"]
        )
        examined = number_of(said)
        if examined is None or not 0 < examined <= 99 or _misread(text, match):
            continue
        following = next((start for start in starts if start > match.start()), len(text))
        positive, end = _positive_of(reading, match, examined, following)
        if positive is not None and positive <= examined:
            yield Count(positive, examined, match.start(), max(end, match.end()), "plain", 0.88)


def _misread(text: str, match: re.Match[str]) -> bool:
    if match["number"] is None:
        return False
    before = text[max(0, match.start() - 12) : match.start()]
    if (match["number"].isdigit() and text.startswith(".", match.start() + len(match["number"]))) or HANDLED.match(
        text, match.end()
    ):
        return True
    return NOT_COUNTS.search(before) is not None or NOT_NODES.search(match["between"] or "") is not None


def _positive_of(reading: Reading, match: re.Match[str], examined: int, following: int) -> tuple[int | None, int]:
    """Return how many of the nodes counted are positive, and where that is said to its end."""
    text = reading.text
    part = reading.part_at(match.start())
    limit = min(match.end() + _AFTER, part.end if part else len(text), len(text))
    if subset := SUBSET.search(text, match.end(), limit):
        number = _subset_number(subset, examined)
        first = CUE.search(text, match.end(), subset.start())
        if number is not None and first is None and number <= examined:
            return number, subset.end()
    inner = CUE.search(match["between"] or match["gap"] or "")
    if inner is None and LED.search(text, max(0, match.start() - 12), match.start()):
        said = _said_before(reading, match, examined)
        if said[0] is not None:
            return said
    if inner:
        return (0 if inner["negative"] else examined), match.end()
    # "One hilar node and three mediastinal nodes are negative": the list shares its end.
    reach = limit if LISTED.fullmatch(text[match.end() : following]) else min(limit, max(following, match.end()))
    cue = CUE.search(text, match.end(), reach)
    if cue and not re.search(r"\n\s*\n", reading.original[match.end() : cue.start()]):
        return (0 if cue["negative"] else examined), cue.end()
    return _said_before(reading, match, examined)


def _subset_number(subset: re.Match[str], examined: int) -> int | None:
    if zh := subset["zh"] or subset["zhafter"] or subset["zhdirect"]:
        return number_of(zh)
    cue = subset["cue"]
    negative = cue is not None and re.fullmatch(NEGATIVE, cue) is not None
    said = {"all": examined, "both": examined, "each": examined, "none": 0}.get(
        subset["number"], number_of(subset["number"])
    )
    if said is None:
        return None
    return examined - said if negative else said


def _said_before(reading: Reading, match: re.Match[str], examined: int) -> tuple[int | None, int]:
    left, _ = reading.clauses.around(match.start(), match.end())
    begin = max(left, match.start() - (_LED_BEFORE if LED.search(reading.text, left, match.start()) else _BEFORE))
    cues = list(CUE.finditer(reading.text, begin, match.start()))
    if not cues:
        return None, match.end()
    denied = any(cue["negative"] for cue in cues[-3:])
    return (0 if denied else examined), match.end()
