"""What a report says of the markers it names: result, percent, intensity, scores (``staining.toml``)."""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from dicomsvc.reports.extract.amounts import Amounts, read_amounts
from dicomsvc.reports.extract.markers import Group, marker_groups
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.text.wording import alternatives, searcher

AFTER, BEFORE = 220, 160
"""How many characters behind and in front of a name are looked at."""
_NEAR = 100
"""How far behind a name its result may begin."""

_SIGN = re.compile(
    r"""\s?[:=]?\s{0,2}
    (?: \(\s*(?P<held>\+{1,4}|-{1,2}|±|\+/-)\s*[,)]
      | (?P<bare>\+/-(?=[\s,;)、，。]|$) | \+{1,4}(?!\d) | ± | -(?=\s*(?:[,;/)、，；。]|$|\n)) )
    )""",
    re.VERBOSE,
)
_HELD = re.compile(r"\s?[(\[](?P<inside>[^()\[\]]{1,60})[)\]]")
_PLUS = re.compile(r"(?<![\d+])\+{1,4}(?!\d)|[0-3]\s?\+")
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
    r"defined as|considered|criteri|guideline|reference|\bcontrols?\b|cell lines|patients|predict|benefit|whether|regardless|"
    r"\bif\b|any nuclear|cases are|can be used|operable|\bscale\b|please|\bcould\b|\bshould\b|标准|判读|患者"
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
_LEAVES_LIST = re.compile(
    r"[;。；:]|\b(?:is|are|was|were|which|shows?|while|whereas|with|by)\b|[.]\s+[A-Z][a-z]{2,}\s[a-z]"
)


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
    result: str | None
    start: int
    end: int
    direct: bool


@cache
def _words(place: str, language: str) -> re.Pattern[str]:
    document = tomllib.loads((files("dicomsvc.reports.extract") / "staining.toml").read_text(encoding="utf-8"))
    return searcher(
        "|".join(
            f"(?P<{name}>{alternatives((*(words['zh'] if language == 'zh' else ()), *words['en']))})"
            for name, words in document[place].items()
        )
    )


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
    section, part = reading.section_at(group.start), reading.part_at(group.start)
    ends = [place.end for place in (section, part) if place is not None and place.end > group.start]
    paragraph = reading.original.find("\n\n", group.end, group.end + AFTER)
    return min([*ends, paragraph if paragraph >= 0 else len(reading.text)])


def _of_group(reading: Reading, group: Group, limit: int) -> Staining | None:
    told = _after(reading, group, limit)
    if told is None or not told.direct:
        told = _before(reading, group) or told
    stretch = reading.text[group.end : limit]
    if told is not None and told.result == "open":
        return None
    amounts = read_amounts(stretch, her2="her2" in group.markers)
    if told is None and amounts.empty:
        return None
    if told is None and _scale(reading, group.start, group.end):
        return None
    start = min(group.start, told.start) if told else group.start
    end = max(group.end, told.end if told else 0, group.end + amounts.end)
    around = reading.text[max(0, group.start - 60) : end + 60]
    return Staining(
        group,
        told.result if told else None,
        amounts,
        start,
        end,
        direct=told is not None and told.direct,
        ish=_ISH.search(reading.text, max(0, group.start - 12), end) is not None,
        previous=_PREVIOUS.search(around) is not None,
    )


def _after(reading: Reading, group: Group, limit: int) -> _Told | None:
    """Return the result behind the names: a sign, or the first word of result that is no scale's or option's."""
    stretch = reading.text[group.end : limit]
    if (sign := _signed(stretch)) is not None:
        result, length = sign
        return _Told(result, group.end, group.end + length, direct=True)
    for match in _words("result", reading.language).finditer(stretch[: _NEAR + 40]):
        gap = stretch[: match.start()]
        if match.start() > _NEAR or _far(reading, group.end, group.end + match.start()):
            return None
        if _REVERSED.search(gap) or _UNCHOSEN.search(gap) or _OR_OTHER.match(stretch, match.end()):
            continue
        direct = _FILLER.fullmatch(gap) is not None
        labelled = direct and (":" in gap or "(" in gap[:3] or "=" in gap)
        if not labelled and _scale(reading, group.start, group.end + match.end()):
            return None
        return _Told(str(match.lastgroup), group.start, group.end + match.end(), direct)
    return None


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
