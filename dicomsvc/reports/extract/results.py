"""The result that a report gives of markers: by the name itself, behind it, or in front of it (``staining.toml``)."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from dicomsvc.reports.extract.markers import Group
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.text.wording import alternatives, searcher

BEFORE = 160
"""How many characters in front of a name are looked at."""
_NEAR = 100
"""How far behind a name its result may begin."""
_SIGN = re.compile(
    r"""\s?[:=]?\s{0,2}
    (?: \(\s*(?P<held>\+{1,4}|-{1,2}|±|\+/-)\s*[,)]
      | (?P<bare>-ve\b | [1-3]\s?\+(?!\d) | \+/-(?=[\s,;)、，。]|$) | \+{1,4}(?!\d) | ±
          | -(?=\s*(?:[,;/)、，；。]|$|\n)) )
    )""",
    re.VERBOSE,
)
_CLONE = re.compile(r"\s?\((?=[^)]{0,8}[a-z])(?=[^)]{0,8}\d)[a-z\d\-]{3,8}\)")
"""An antibody's clone in brackets, before the sign: ``ALK(D5F3)(-)``."""
_HOW_MUCH = re.compile(r"\s?(?:弥漫性?|灶性?|局灶性?|部分|散在|少量|个别|大部分|强|弱|中等?|胞浆|胞核|核|膜)*")
"""What Chinese puts between name and sign: ``CK7弥漫(+)``."""
_HELD = re.compile(r"\s?[(\[](?P<inside>[^()\[\]]{1,60})[)\]]")
_PLUS = re.compile(r"(?<![\d+])\+{1,4}(?!\d)|[0-3]\s?\+")
_LABEL = re.compile(r"\s?\)?\s?[:=]")
_FILLER = searcher(
    r"(?:[\s.:=\-,*|_\[\]#;]|\([^()]{0,60}(?:\)|$)|\b(?:receptors?|proteins?|onco\w*|genes?|status|expression|antigens?|"
    r"stain\w*|immuno\w*|ihc|by|for|of|the|tests?|testing|assay|analysis|analytical|stud(?:y|ies)|scores?|results?|"
    r"interpretation|interpreted|as|is|are|was|were|has|have|been|performed|on|an?|other|another|specimen|reported|"
    r"judged|activity|found|"
    r"weak(?:ly)?|moderate(?:ly)?|strong(?:ly)?|focal(?:ly)?|diffuse(?:ly)?|patchy|low|very|highly|tumou?r|neoplastic|"
    r"invasive|carcinoma|cells?|nuclear|in|all|both|fish|cish|ish|neu|over|amplification|mutations?|nuclei|also|this|"
    r"rearrangement|percent|approximately|about|fluorescence|situ|hybridi[sz]ation|page|clone|protein|to)\b|\d|"
    r"肿瘤细胞|癌细胞|免疫组化|检测|结果|蛋白|基因|均|呈|为|示|约|：|，|弱|强|中等?|灶性?|弥漫|部分|局灶|少量|个别|散在)*"
)
_SCALE = re.compile(
    r"defined as|considered|criteri|guideline|reference|interpreted on|\bcontrols?\b|cell lines|patients|"
    r"predict|benefit|"
    r"whether|regardless|\bif\b|any nuclear|cases are|can be used|operable|\bscale\b|"
    r"please|calculated|\bcould\b|\bshould\b|标准|判读|患者"
)
_REVERSED = re.compile(r"[\d%][\s.]{0,2}[=-]\s?$")
_UNCHOSEN = re.compile(r"(?:\[\s?\]|__+|☐|□|\(\s\))\s*$")
_OR_OTHER = re.compile(
    r"\s*(?:/|\bor\b|\bvs\b)\s*(?:negative|positive|equivocal|amplified)|\s*cont(?:rols?)?\b|\s+(?:is|are) defined"
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


_DENIED = {
    "positive": "negative",
    "amplified": "not_amplified",
    "mutated": "wild_type",
    "rearranged": "not_rearranged",
    "lost": "retained",
}
_ASKABLE = re.compile(r"(?:突变|扩增|重排|融合|表达)$")
"""What a gene is asked for in Chinese; the answer may stand behind it ("突变(-)", "突变检测：阴性")."""
_ASKED = re.compile(
    r"\s?(?:检测|分析|状态|情况)?\s?[:=(]{0,2}\s?(?:阴性?|未(?:检出|见|检测到|突变|扩增)?|-(?=\s?[),;，。；]|$))|\s?(?P<topic>检测|分析|状态|情况)"
)
_SHARE = re.compile(r"(?P<less><|less\sthan)?\s?(?P<share>\d{1,3}(?:\.\d)?)\s?%(?!\s?(?:neutral|buffered|formalin))")
_PLAINLY = re.compile(r"p|immuno|reactive|over|express|阳|过")
_NO = re.compile(r"\b(?:no|neither|nor|without|lack of|absence of)\s(?:evidence\sof\s)?$")
_WHAT = re.compile(
    r"\s?(?:neu\s)?(?:gene\s)?(?P<what>amplification|over-?\s?expression|mutations?|re-?arrangements?|fusions?|expression)\b"
)


@dataclass(frozen=True, slots=True)
class Told:
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


def told_by_name(reading: Reading, group: Group) -> Told | None:
    """Return the result that the name itself tells ("MSI-H", "dMMR")."""
    match = _words("name", reading.language).search(reading.text[group.start : group.end])
    return Told(str(match.lastgroup), group.start, group.end, direct=True) if match else None


def told_after(reading: Reading, group: Group, limit: int) -> Told | None:
    """Return the result behind the names: a sign, or the first word of result that is no scale's or option's."""
    stretch = reading.text[group.end : limit]
    if (sign := _signed(stretch, her2="her2" in group.markers)) is not None:
        result, length = sign
        return Told(result, group.end, group.end + length, direct=True)
    for match in _results(group.markers[0], reading.language, stretch[: _NEAR + 40]):
        gap = stretch[: match.start()]
        begin, end = group.end + match.start(), group.end + match.end()
        if match.start() > _NEAR or _far(reading, group.end, begin):
            break
        if _REVERSED.search(gap) or _UNCHOSEN.search(gap) or _OR_OTHER.match(stretch, match.end()):
            continue
        asked = _ASKED.match(stretch, match.end()) if _ASKABLE.search(match[0]) else None
        if asked and asked["topic"]:
            continue
        direct = _FILLER.fullmatch(gap) is not None or _leads_on(reading.original[group.end : begin])
        labelled = direct and (":" in gap or "(" in gap[:3] or "=" in gap)
        if not labelled and explains(reading, group.start, end):
            break
        result = _with_percent(_specific(str(match.lastgroup), gap), gap)
        if result == "positive" and _SHARE.search(gap) and not _PLAINLY.match(match[0]):
            # "95% nuclear staining": the percent says it.
            return None
        if asked and result in _DENIED:
            return Told(_DENIED[result], group.start, group.end + asked.end(), direct, begin)
        denial = _NO.search(reading.text, max(0, group.start - 24), group.start) if result in _DENIED else None
        # "No HER2 overexpression detected".
        result, start = (_DENIED[result], denial.start()) if denial else (result, group.start)
        return Told(result, start, end, direct, begin)
    return _none_of(reading, group, stretch)


def _none_of(reading: Reading, group: Group, stretch: str) -> Told | None:
    """Return what "no" in front of the name denies where no word of result follows ("without HER2 amplification")."""
    what, denial = _WHAT.match(stretch), _NO.search(reading.text, max(0, group.start - 24), group.start)
    if what is None or denial is None or explains(reading, group.start, group.end):
        return None
    result = _specific("negative", what["what"])
    return Told(result, denial.start(), group.end + what.end(), direct=True, at=group.end)


def _leads_on(gap: str) -> bool:
    """Whether a label leads from the name to its answer ("(clone SP1) Interpretation:")."""
    return gap.rstrip().endswith(":") and re.search(r"[.;]\s+[A-Z]", gap) is None


def _specific(result: str, gap: str) -> str:
    """Return what "positive" or "negative" means where the text before it says of what ("EGFR mutation: negative")."""
    for topic, (positive, negative) in _TOPICS.items():
        if topic in gap:
            return {"positive": positive, "negative": negative}.get(result, result)
    return result


def _with_percent(result: str, gap: str) -> str:
    """Return "negative" for what no cell shows ("0% positive")."""
    share = _SHARE.search(gap)
    none = share is not None and (float(share["share"]) == 0 or (share["less"] and float(share["share"]) <= 1))
    return "negative" if none and result == "positive" else result


def _signed(stretch: str, *, her2: bool) -> tuple[str, int] | None:
    """Return the result that a sign directly behind the name gives, and where it ends: "+", "(-)", "(90%, 强+)"."""
    begin = clone.end() if (clone := _CLONE.match(stretch)) else 0
    begin = how_much.end() if (how_much := _HOW_MUCH.match(stretch, begin)) else begin
    if match := _SIGN.match(stretch, begin):
        sign = match["held"] or match["bare"]
        if sign[0].isdigit() and her2:
            return None
        if sign in ("±", "+/-"):
            return "equivocal", match.end()
        return ("negative" if sign.startswith("-") else "positive"), match.end()
    held = _HELD.match(stretch, begin)
    if held and (plus := _PLUS.search(held["inside"])) and not held["inside"].strip().startswith(("0", "<1%")):
        # A score of HER2 is no result.
        return None if her2 and plus[0][0].isdigit() else ("positive", held.end())
    return None


def _far(reading: Reading, start: int, end: int) -> bool:
    """Whether a sentence ends between, far from the name, and no label leads on."""
    gap = reading.original[start:end]
    if end - start <= 40 or gap.rstrip().endswith(":"):
        return False
    return re.search(r"[.;]\s+[A-Z]|[。；]", gap) is not None


def explains(reading: Reading, start: int, end: int) -> bool:
    """Whether the clause explains a scale, a test or a treatment rather than reporting a result."""
    left, right = reading.clauses.around(start, end)
    return _SCALE.search(reading.text, max(left, start - 100), min(right, end + 60)) is not None


def told_before(reading: Reading, group: Group) -> Told | None:
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
    if _LEAVES_LIST.search(gap) or explains(reading, begin + last.start(), group.end):
        return None
    result = "lost" if last[0].startswith("loss") else str(last.lastgroup)
    return Told(result, begin + last.start(), group.end, direct=len(gap) < 6)
