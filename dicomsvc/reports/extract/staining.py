"""What a report says of the markers it names: result, percent, intensity, scores (``staining.toml``)."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

from dicomsvc.reports.extract.amounts import Amounts, percent_before, read_amounts
from dicomsvc.reports.extract.markers import Group, marker_groups
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.text.wording import alternatives, searcher

AFTER, BEFORE = 220, 160
"""How many characters behind and in front of a name are looked at."""
_NEAR, _AHEAD = 100, 80
"""How far behind a name its result may begin; how far in front of it a percent."""

_SIGN = re.compile(
    r"""\s?[:=]?\s{0,2}
    (?: \(\s*(?P<held>\+{1,4}|-{1,2}|±|\+/-)\s*[,)]
      | (?P<bare>\+/-(?=[\s,;)、，。]|$) | \+{1,4}(?!\d) | ± | -(?=\s*(?:[,;/)、，；。]|$|\n)) )
    )""",
    re.VERBOSE,
)
_HELD = re.compile(r"\s?[(\[](?P<inside>[^()\[\]]{1,60})[)\]]")
_PLUS = re.compile(r"(?<![\d+])\+{1,4}(?!\d)|[0-3]\s?\+")
_LABEL = re.compile(r"\s?\)?\s?[:=]")
_FILLER = re.compile(
    r"(?:[\s.:=\-,*|_\[\]#;]|\([^()]{0,60}\)?|\b(?:receptors?|proteins?|onco\w*|genes?|status|expression|antigens?|stain\w*|"
    r"immuno\w*|ihc|by|for|of|the|tests?|testing|assay|analysis|analytical|stud(?:y|ies)|scores?|results?|interpretation|"
    r"interpreted|as|is|are|was|were|has|have|been|performed|on|an?|other|another|specimen|reported|judged|activity|found|"
    r"weak(?:ly)?|moderate(?:ly)?|strong(?:ly)?|focal(?:ly)?|diffuse(?:ly)?|patchy|low|very|highly|tumou?r|neoplastic|"
    r"invasive|carcinoma|cells?|nuclear|in|all|both|fish|cish|ish|neu|over|amplification|mutations?|nuclei|also|this|"
    r"rearrangement|percent|approximately|about|fluorescence|situ|hybridi[sz]ation|page|clone|protein|to)\b|\d|"
    r"肿瘤细胞|癌细胞|免疫组化|检测|结果|蛋白|基因|均|呈|为|示|约|：|，|弱|强|中等?|灶性?|弥漫|部分|局灶|少量|个别|散在)*"
)
_SCALE = re.compile(
    r"defined as|considered|criteri|guideline|reference|interpreted on|\bcontrols?\b|cell lines|patients|predict|benefit|whether|regardless|"
    r"\bif\b|any nuclear|cases are|can be used|operable|\bscale\b|please|calculated|\bcould\b|\bshould\b|标准|判读|患者"
)
_REVERSED = re.compile(r"[\d%][\s.]{0,2}[=-]\s?$")
_UNCHOSEN = re.compile(r"(?:\[\s?\]|__+|☐|□|\(\s\))\s*$")
_OR_OTHER = re.compile(
    r"\s*(?:/|\bor\b|\bvs\b)\s*(?:negative|positive|equivocal|amplified)|\s*controls?\b|\s+(?:is|are) defined"
)
_PREVIOUS = re.compile(
    r"\b(?:previous(?:ly)?|prior|earlier|another specimen|core biopsy|outside|per (?:core )?biopsy)\b|外院|既往|前次|穿刺"
)
_ISH = re.compile(
    r"\b(?:d?[fcs]?ish|in[ .\-]{1,3}situ|hybridi[sz]ation|amplifi\w+|ratio|cep ?17|copy|copies)\b|扩增|比值|拷贝"
)
_ISH_FOR = re.compile(
    r"(?:\bd?[fcs]?ish|hybridi[sz]ation)\)?(?:\s(?:\(fish\)|analysis|stud(?:y|ies)|test(?:ing)?))*\s(?:for|of)\s?$"
)
_LEAVES_LIST = re.compile(
    r"[;。；:]|\b(?:is|are|was|were|which|shows?|while|whereas|with|by)\b|[.]\s+[A-Z][a-z]{2,}\s[a-z]"
)


_TOPICS = {
    "mutation": ("mutated", "wild_type"),
    "突变": ("mutated", "wild_type"),
    "rearrangement": ("rearranged", "not_rearranged"),
    "重排": ("rearranged", "not_rearranged"),
    "fusion": ("rearranged", "not_rearranged"),
    "amplification": ("amplified", "not_amplified"),
    "扩增": ("amplified", "not_amplified"),
}


@dataclass(frozen=True, slots=True)
class Staining:
    """What is said of one group of markers; ``result`` is a word of ``staining.toml`` or None where only amounts are.

    ``ish`` tells in-situ hybridisation from immunohistochemistry, ``previous`` a result that is repeated from another
    specimen. ``direct`` says that nothing else stands between name and result.
    """

    group: Group
    result: str | None
    amounts: Amounts
    start: int
    end: int
    direct: bool
    ish: bool
    previous: bool


@dataclass(frozen=True, slots=True)
class _Told:
    """A result with the stretch that tells it; ``at`` is where its own word begins."""

    result: str
    start: int
    end: int
    direct: bool
    at: int = 0


@cache
def _document() -> Mapping[str, Any]:
    return tomllib.loads((files("dicomsvc.reports.extract") / "staining.toml").read_text(encoding="utf-8"))


@cache
def _words(place: str, language: str) -> re.Pattern[str]:
    return searcher(
        "|".join(
            f"(?P<{name}>{alternatives((*(words['zh'] if language == 'zh' else ()), *words['en']))})"
            for name, words in _document()[place].items()
        )
    )


@cache
def _places(marker: str) -> tuple[str, ...]:
    """Return the tables of results for a marker, the one of its class first."""
    classes: Mapping[str, list[str]] = _document()["classes"]
    return (*(name for name, markers in classes.items() if marker in markers), "result")


def _results(marker: str, language: str, stretch: str) -> Iterator[re.Match[str]]:
    """Yield what may be results in ``stretch``, in order; what the marker's class says at a place goes first."""
    matches = [
        (match.start(), rank, match)
        for rank, place in enumerate(_places(marker))
        for match in _words(place, language).finditer(stretch)
    ]
    covered = 0
    for start, _, match in sorted(matches, key=lambda entry: entry[:2]):
        if start >= covered:
            covered = match.end()
            yield match


def stainings(reading: Reading) -> tuple[Staining, ...]:
    """Return what is said of each group of markers; a group of which nothing is said is left out."""
    groups = reading.once(marker_groups)
    found = []
    for position, group in enumerate(groups):
        following = groups[position + 1].start if position + 1 < len(groups) else len(reading.text)
        limit = min(following, group.end + AFTER, _layout_end(reading, group))
        said = _of_group(reading, group, limit)
        if said is not None:
            found.append(said)
    return tuple(found)


def _layout_end(reading: Reading, group: Group) -> int:
    ends = [part.start for part in reading.parts if part.start > group.end]
    # "HER2 by immunohistochemistry: 1+" has a heading's word in it.
    ends += [section.start for section in reading.sections if section.start > group.end and section.kind != "ancillary"]
    paragraph = reading.original.find("\n\n", group.end, group.end + AFTER)
    return min([*ends, paragraph if paragraph >= 0 else len(reading.text)])


def _of_group(reading: Reading, group: Group, limit: int) -> Staining | None:
    told = _named(reading, group) or _after(reading, group, limit)
    if told is None or not told.direct:
        told = _before(reading, group) or told
    if told is not None and (told.result == "open" or _answered_by_number(reading, group, told)):
        # "2+, FISH pending": what stands before the open question is told.
        limit, told = told.at, None
    amounts = read_amounts(reading.text[group.end : limit], her2="her2" in group.markers)
    start = min(group.start, told.start) if told else group.start
    ahead = max(0, group.start - _AHEAD)
    if before := percent_before(reading.text[ahead : group.start]):
        amounts = replace(amounts, percent=before[0], sign=before[1])
        start = min(start, ahead + before[2])
    elif told is None and (amounts.empty or _scale(reading, group.start, group.end + amounts.end)):
        return None
    end = max(group.end, told.end if told else 0, group.end + amounts.end)
    around = reading.text[max(0, group.start - 60) : end + 60]
    return Staining(
        group,
        told.result if told else None,
        amounts,
        start,
        end,
        direct=told is not None and told.direct,
        ish=_is_ish(reading.text, start, group, end),
        previous=_PREVIOUS.search(around) is not None,
    )


def _answered_by_number(reading: Reading, group: Group, told: _Told) -> bool:
    """Whether a number answers in the sentence before the one with the result ("HER2: 0. No amplification of …")."""
    between = reading.text[group.end : told.at]
    if "." not in between and ";" not in between:
        return False
    numbers = read_amounts(between, her2="her2" in group.markers)
    return not numbers.empty and re.search(r"[.;]\s", between[numbers.end :]) is not None


def _is_ish(text: str, start: int, group: Group, end: int) -> bool:
    ahead = text[max(0, group.start - 40) : group.start]
    return _ISH.search(text, start, end) is not None or _ISH_FOR.search(ahead) is not None


def _named(reading: Reading, group: Group) -> _Told | None:
    """Return the result that the name itself tells ("MSI-H", "dMMR")."""
    match = _words("name", reading.language).fullmatch(reading.text[group.start : group.end])
    return _Told(str(match.lastgroup), group.start, group.end, direct=True) if match else None


def _after(reading: Reading, group: Group, limit: int) -> _Told | None:
    """Return the result behind the names: a sign, or the first word of result that is no scale's or option's."""
    stretch = reading.text[group.end : limit]
    if (sign := _signed(stretch)) is not None:
        result, length = sign
        return _Told(result, group.end, group.end + length, direct=True)
    for match in _results(group.markers[0], reading.language, stretch[: _NEAR + 40]):
        gap = stretch[: match.start()]
        if match.start() > _NEAR or _far(reading, group.end, group.end + match.start()):
            return None
        if _REVERSED.search(gap) or _UNCHOSEN.search(gap) or _OR_OTHER.match(stretch, match.end()):
            continue
        direct = _FILLER.fullmatch(gap) is not None or _leads_on(reading.original[group.end : group.end + len(gap)])
        labelled = direct and (":" in gap or "(" in gap[:3] or "=" in gap)
        if not labelled and _scale(reading, group.start, group.end + match.end()):
            return None
        return _Told(
            _specific(str(match.lastgroup), gap),
            group.start,
            group.end + match.end(),
            direct,
            group.end + match.start(),
        )
    return None


def _leads_on(gap: str) -> bool:
    """Whether a label leads from the name to its answer ("(clone SP1) Interpretation:")."""
    return gap.rstrip().endswith(":") and re.search(r"[.;]\s+[A-Z]", gap) is None


def _specific(result: str, gap: str) -> str:
    """Return what "positive" or "negative" means where the text before it says of what ("EGFR mutation: negative")."""
    for topic, (positive, negative) in _TOPICS.items():
        if topic in gap:
            return {"positive": positive, "negative": negative}.get(result, result)
    return result


def _signed(stretch: str) -> tuple[str, int] | None:
    """Return the result that a sign directly behind the name gives, and where it ends: "+", "(-)", "(90%, 强+)"."""
    if match := _SIGN.match(stretch):
        sign = match["held"] or match["bare"]
        if sign in ("±", "+/-"):
            return "equivocal", match.end()
        return ("negative" if sign.startswith("-") else "positive"), match.end()
    held = _HELD.match(stretch)
    if held and _PLUS.search(held["inside"]) and not held["inside"].strip().startswith(("0", "<1%")):
        return "positive", held.end()
    return None


def _far(reading: Reading, start: int, end: int) -> bool:
    """Whether a sentence ends between, far from the name, and no label leads on."""
    gap = reading.original[start:end]
    if end - start <= 40 or gap.rstrip().endswith(":"):
        return False
    return re.search(r"[.;]\s+[A-Z]|[。；]", gap) is not None


def _scale(reading: Reading, start: int, end: int) -> bool:
    """Whether the clause explains a scale, a test or a treatment rather than reporting a result."""
    left, right = reading.clauses.around(start, end)
    return _SCALE.search(reading.text, max(left, start - 100), min(right, end + 60)) is not None


def _before(reading: Reading, group: Group) -> _Told | None:
    """Return what stands in front of a list of names ("negative for CK20, TTF-1 and …")."""
    if _LABEL.match(reading.text, group.end):
        return None
    left, _ = reading.clauses.around(group.start, group.start)
    begin = max(left, group.start - BEFORE)
    last = None
    for match in _words("before", reading.language).finditer(reading.text[begin : group.start]):
        last = match
    if last is None:
        return None
    gap = reading.original[begin + last.end() : group.start]
    if _LEAVES_LIST.search(gap) or _scale(reading, begin + last.start(), group.end):
        return None
    result = "lost" if last[0].startswith("loss") else str(last.lastgroup)
    return _Told(result, begin + last.start(), group.end, direct=len(gap) < 6)
