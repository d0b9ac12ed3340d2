"""Counts of lymph nodes as reports state them: ``2 of 15``, ``0/12``, ``Fourteen lymph nodes, negative``, ``Number
examined: 13``, ``淋巴结12枚，其中2枚见转移``.

Each statement found is a `Count`; which of them repeat or sum up others is `dicomsvc.reports.extract.nodes`'s to say.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dicomsvc.reports.reading import Reading
from dicomsvc.reports.text.wording import searcher

_ONES = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_WORDS = {word: number for number, word in enumerate((*_ONES, *_TEENS), 1)} | {
    word: 10 * number for number, word in enumerate(_TENS, 2)
}
_HAN = {character: number for number, character in enumerate("一二三四五六七八九", 1)} | {"两": 2}
_SPELT = (
    rf"(?:(?:{'|'.join(_TENS)})(?:[ \-]{{0,3}}(?:{'|'.join(_ONES)})\b)?|{'|'.join((*_TEENS, *_ONES))}|a single|single)"
)
_NUMBER = rf"(?:{_SPELT}|\d{{1,3}})(?:[ ]?[(\[][ ]?\d{{1,3}}[ ]?[)\]])?"
_NODES = r"(?:(?:[a-z!]?[yv][mn][a-z]{1,3}[\s\-.]{0,3}){0,2}n[o0][do]e[es]{0,2}|lns?)\b"
_OF = searcher(
    rf"\b(?P<positive>{_NUMBER}|none|no)[\s.]{{1,3}}(?:out )?of[\s.]{{1,3}}(?:the |a total of |these )?(?P<examined>{_NUMBER})"
    r"(?P<fraction>[ ]?\(\d{1,3}[ ]?/[ ]?\d{1,3}\))?"
)
_FRACTION = searcher(r"(?P<positive>\d{1,3})[ ]?/[ ]?(?P<examined>\d{1,3})")
_COUNT = searcher(
    rf"\b(?P<all>all )?(?P<number>{_NUMBER})[\s.]{{1,3}}(?P<between>(?:[a-z\-]{{2,20}}[,.]?\s{{1,3}}){{0,6}}?){_NODES}"
    rf"|{_NODES}[ ]?(?:x[ ]?(?P<times>\d{{1,2}})|\((?P<brackets>\d{{1,2}})\)|,[ ]?(?P<listed>{_NUMBER})\b)"
    r"|淋巴结(?P<gap>[^。;\d/:一-九两]{0,10}|:[ ]?(?:送检|共|检出|清扫|总|合)[^。;\d/:一-九两]{0,6})(?P<zh>\d{1,3}|[一二两三四五六七八九十]{1,3})[ ]?[枚个粒颗]"
    r"|(?P<before>\d{1,3}|[一二两三四五六七八九十]{1,3})[ ]?[枚个粒颗][^。;，\d]{0,12}?淋巴结"
)
_ROMAN = searcher(r"\bno\.?[ ]?\(?[ ]?(?P<positive>[ivxl]{1,7})[ ]?/[ ]?(?P<examined>[ivxl]{1,7}|\d{1,2})\b")
_LABEL = searcher(
    rf"(?:number|no\.|#|total|nodes?|count|淋巴结|阳性|转移|检出|总)(?P<what>[^:=;\d]{{0,110}}?)[:=][ ]{{0,3}}(?:\[?x\]?[ ])?"
    rf"(?P<number>{_NUMBER}|none|zero)[ ]?[枚个]?\b(?P<rest>[ ]?(?:/|of|out of)[ ]?\d{{1,3}})?"
)
_LABEL_NUMBER = 2
"""The group of the answer; RE2's matches know the places of groups by number alone."""
_NODE_WORD = re.compile(rf"{_NODES}|ymphonod|lyniphonod|淋巴结|哨兵|第?\d{{1,2}}[a-z]?[组站]|nodal")
_NOT_COUNTS = re.compile(
    r"(?:levels?|stations?|st\.?|parts?|#|group|zone|number|no\.|block|slide|specimen|grade|score|ratio)[ ]?$|[./&\d]$|[a-z]-$"
)
_NOT_FRACTION_BEFORE = re.compile(
    r"(?:grade|score|nottingham|hpf|mitos\w*|level|levels|\bck|keratins?|/|\.|-|inked|page|%|ratio|\+)[ :]{0,2}$|\d$"
)
_SCORE = re.compile(r"(?:grade|score|nottingham|page|level|block)[ :]{0,2}$")
_BOTH = re.compile(r"(?:number|no\.|#|total)[^:;]{0,60}(?:positive|involved|metasta)[^:;]{0,60}:[ ]{0,3}$")
_NOT_FRACTION_AFTER = re.compile(
    r"[ ]?(?:/|\d|[ ]?(?:hpf|per|cassette|cm|mm|high power|o'clock|[针条点周圈管]|高倍)|\.\d)"
)
_NOT_NODES = re.compile(
    r"\b(?:cm|mm|of|x|by|in|section|sections|cassettes?|blocks?|slides?|gm|grams?|metasta\w*|levels?|for|to|and one|possible|bisected|trisected|candidates?|whole|intact|submitted)\b"
)
_HANDLED = re.compile(
    r"[\s,(]{0,3}(?:bisected|trisected|quadrisected|serially|sectioned|submitted|measur|ranging|each\b|entirely|whole|in (?:one )?cassette)"
)
_NEGATIVE = (
    r"negative|benign|\bno\b(?! (?:lymph|other|prior|extra|evidence of (?:extra|lympho|peri)))|\bfree\b|uninvolved|without|reactive|hyperplasia|unremarkable|not involved|none"
    r"|histiocytosis|anthracosis|not identified|阴性|未见|无|均未|\(-\)|反应性"
)
_POSITIVE = (
    r"(?<!for )(?<!of )(?<!no )(?<!keratin )positive|involved by|involvement by|metasta\w*|contain\w*|with (?:tumou?r|carcinoma)|replaced"
    r"|deposits?|carcinoma (?:is |was )?(?:identified|present|seen)|阳性|见.{0,4}转移|转移|\(\++\)|癌累及"
)
_CUE = re.compile(rf"(?P<negative>{_NEGATIVE})|(?P<positive>{_POSITIVE})")
_SUBSET = re.compile(
    rf"\b(?P<number>{_NUMBER}|all|none|both|each)\s{{1,3}}(?:of\s{{1,2}}(?:them|these|which|those|the nodes)\b"
    rf"[^.;]{{0,30}}?(?P<cue>{_NEGATIVE}|{_POSITIVE})|(?:(?:are|is|were|was|nodes?|also)\s){{0,2}}?(?P<direct>positive|involved|metasta\w*|contain\w*|show\w* metasta\w*))"
    r"|其中[^。;\d]{0,6}(?P<zh>\d{1,3}|[一二两三四五六七八九十]{1,3})[ ]?[枚个粒颗][^。;]{0,6}?转移"
    r"|(?:转移|阳性)(?:数|枚数|数目|淋巴结)?[为共:]?[ ]?(?P<zhafter>\d{1,3})[ ]?[枚个粒颗]"
    r"|(?P<zhdirect>\d{1,3}|[一二两三四五六七八九十]{1,3})[ ]?[枚个粒颗][^。;，\d]{0,6}?(?:阳性|转移)"
)
_LED = re.compile(r"\b(?:in|to|of|within|involv\w+|from)\s{0,3}(?:all )?$")
_LISTED = re.compile(r"[\s,]{0,3}(?:and|&)?\s{0,3}")
_AFTER, _BEFORE, _LED_BEFORE = 150, 70, 200
_MOST = 200


@dataclass(frozen=True, slots=True)
class Count:
    """``positive`` of ``examined`` nodes, at ``text[start:end]``. A ``label`` statement may have one of them alone."""

    positive: int | None
    examined: int | None
    start: int
    end: int
    form: str
    confidence: float = 0.9


def number_of(text: str) -> int | None:
    """Return the number that ``text`` spells: ``12``, ``twenty-one``, ``sixteen (16)``, ``十二``."""
    text = text.strip()
    if text in ("none", "no", "zero"):
        return 0
    if text in ("a single", "single"):
        return 1
    if digits := re.match(r"\d+", text):
        return int(digits.group())
    if text and (text[0] in _HAN or text[0] == "十"):
        tens, _, ones = text.rpartition("十")
        return 10 * _HAN.get(tens, 1 if "十" in text else 0) + _HAN.get(ones, 0)
    words = re.findall(r"[a-z]+", text.partition("(")[0].partition("[")[0])
    return sum(_WORDS.get(word, 0) for word in words) or None


def counts(reading: Reading) -> tuple[Count, ...]:
    """Return every statement of node counts in what may be believed, in the order of the text."""
    if not any(word in reading.text for word in ("node", "nooe", "ln", "淋巴")):
        return ()
    ratios = [*_of(reading), *_romans(reading)]
    ratios.extend(count for count in _fractions(reading) if not _inside(count, ratios))
    labels = [count for count in _labels(reading) if not _inside(count, ratios)]
    plain = [count for count in _plain(reading, [*ratios, *labels]) if not _inside(count, [*ratios, *labels])]
    return tuple(sorted((*ratios, *labels, *plain), key=lambda count: count.start))


def _inside(count: Count, others: list[Count]) -> bool:
    return any(other.start < count.end and count.start < other.end for other in others)


def _read(reading: Reading, start: int) -> bool:
    section = reading.section_at(start)
    return section is None or section.kind not in _UNREAD


_UNREAD = ("gross", "intraoperative", "clinical", "blocks", "disclaimer")


def _near_nodes(reading: Reading, start: int, end: int, before: int = 110, after: int = 60) -> bool:
    """Whether nodes are spoken of around a ratio: in its clause, or in the heading of its part."""
    if _NODE_WORD.search(reading.text, end, min(len(reading.text), end + after)):
        return True
    if _NODE_WORD.search(reading.text, max(0, start - before), start):
        return True
    part = reading.part_at(start)
    return part is not None and _NODE_WORD.search(reading.text, part.start, min(part.start + 60, part.end)) is not None


def _of(reading: Reading) -> Iterator[Count]:
    for match in _OF.finditer(reading.text):
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
        if _SCORE.search(before) or re.match(r"[ ]?(?:cm|mm|blocks?|slides?|cores?|\.\d|%|cassettes?)", after):
            continue
        left, _ = reading.clauses.around(match.start(), match.start())
        if not _near_nodes(reading, match.start(), match.end(), min(60, match.start() - left), 60):
            continue
        yield Count(positive, examined, match.start(), match.end(), "ratio", 0.95)


def _fractions(reading: Reading) -> Iterator[Count]:
    for match in _FRACTION.finditer(reading.text):
        positive, examined = int(match["positive"]), int(match["examined"])
        before = reading.text[max(0, match.start() - 14) : match.start()]
        if not positive <= examined <= _MOST or not examined or not _read(reading, match.start()):
            continue
        if _NOT_FRACTION_BEFORE.search(before) or _NOT_FRACTION_AFTER.match(reading.text, match.end()):
            continue
        if _near_nodes(reading, match.start(), match.end(), 110, 40):
            form = "label" if _BOTH.search(reading.text[max(0, match.start() - 120) : match.start()]) else "fraction"
            yield Count(positive, examined, match.start(), match.end(), form, 0.95)


def _romans(reading: Reading) -> Iterator[Count]:
    """Yield ratios in Roman numbers: ``metastases in lymphonodis (No III/XXIV)``."""
    for match in _ROMAN.finditer(reading.text):
        positive, examined = _roman(match["positive"]), _roman(match["examined"])
        near = _NODE_WORD.search(reading.text, max(0, match.start() - 90), match.start())
        if near and 0 < positive <= examined <= _MOST and _read(reading, match.start()):
            yield Count(positive, examined, match.start(), match.end(), "fraction", 0.85)


def _roman(text: str) -> int:
    if text.isdigit():
        return int(text)
    digits = [{"i": 1, "v": 5, "x": 10, "l": 50}[letter] for letter in text]
    return sum(-a if a < b else a for a, b in zip(digits, [*digits[1:], 0], strict=True))


def _labels(reading: Reading) -> Iterator[Count]:
    """Yield the answers of checklists: ``Number of lymph nodes examined: 12``."""
    for match in _LABEL.finditer(reading.text):
        number = number_of(match["number"])
        if number is None or number > _MOST or not _read(reading, match.start()):
            continue
        label = reading.text[max(0, match.start() - 30) : match.start(_LABEL_NUMBER)]
        label = re.split(r"[.;\n:](?=.*[:=])", label)[-1]
        nodal = _NODE_WORD.search(reading.text, max(0, match.start() - 160), match.start(_LABEL_NUMBER))
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
    matches = [match for match in _COUNT.finditer(text) if _read(reading, match.start())]
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
    if (match["number"].isdigit() and text.startswith(".", match.start() + len(match["number"]))) or _HANDLED.match(
        text, match.end()
    ):
        return True
    return _NOT_COUNTS.search(before) is not None or _NOT_NODES.search(match["between"] or "") is not None


def _positive_of(reading: Reading, match: re.Match[str], examined: int, following: int) -> tuple[int | None, int]:
    """Return how many of the nodes counted are positive, and where that is said to its end."""
    text = reading.text
    part = reading.part_at(match.start())
    limit = min(match.end() + _AFTER, part.end if part else len(text), len(text))
    if subset := _SUBSET.search(text, match.end(), limit):
        number = _subset_number(subset, examined)
        first = _CUE.search(text, match.end(), subset.start())
        if number is not None and first is None and number <= examined:
            return number, subset.end()
    inner = _CUE.search(match["between"] or match["gap"] or "")
    if inner is None and _LED.search(text, max(0, match.start() - 12), match.start()):
        said = _said_before(reading, match, examined)
        if said[0] is not None:
            return said
    if inner:
        return (0 if inner["negative"] else examined), match.end()
    # "One hilar node and three mediastinal nodes are negative": the list shares its end.
    reach = limit if _LISTED.fullmatch(text[match.end() : following]) else min(limit, max(following, match.end()))
    cue = _CUE.search(text, match.end(), reach)
    if cue and not re.search(r"\n\s*\n", reading.original[match.end() : cue.start()]):
        return (0 if cue["negative"] else examined), cue.end()
    return _said_before(reading, match, examined)


def _subset_number(subset: re.Match[str], examined: int) -> int | None:
    if zh := subset["zh"] or subset["zhafter"] or subset["zhdirect"]:
        return number_of(zh)
    cue = subset["cue"]
    negative = cue is not None and re.fullmatch(_NEGATIVE, cue) is not None
    said = {"all": examined, "both": examined, "each": examined, "none": 0}.get(
        subset["number"], number_of(subset["number"])
    )
    if said is None:
        return None
    return examined - said if negative else said


def _said_before(reading: Reading, match: re.Match[str], examined: int) -> tuple[int | None, int]:
    left, _ = reading.clauses.around(match.start(), match.end())
    begin = max(left, match.start() - (_LED_BEFORE if _LED.search(reading.text, left, match.start()) else _BEFORE))
    cues = list(_CUE.finditer(reading.text, begin, match.start()))
    if not cues:
        return None, match.end()
    denied = any(cue["negative"] for cue in cues[-3:])
    return (0 if denied else examined), match.end()
