"""The numbers that go with a marker's result: percent of cells, intensity, scores, ratio."""

import re
from dataclasses import dataclass

_PERCENT = re.compile(
    r"""(?P<sign>[<>≤≥~]=?|(?:less|more|greater|fewer)[ ]than(?:[ ]or[ ]equal[ ]to)?|小于|大于|不足|超过)?\s{0,2}
    (?P<low>\d{1,3}(?:\.\d{1,2})?)\s?%?
    (?:\s?(?:-|to|~|至)\s?(?P<high>\d{1,3}(?:\.\d{1,2})?))?\s?(?:%|percent\b)
    (?!\s*(?:=|is\b|are\b|(?:neutral|buffered|formalin)))""",
    re.VERBOSE,
)
_OF_ALLRED = re.compile(
    r"(?:allred|quick)(?:\s+score)?\s*(?:of|is|[:=])?\s*(?P<value>[0-8])(?!\d)"
    r"|(?<![\d/])(?P<of_eight>[0-8])\s?/\s?8(?![\d/])"
)
_OF_H = re.compile(r"\bh[ \-]?score\s*(?:of|is|[:=])?\s*(?P<value>\d{1,3})(?!\d)")
_OF_HER2 = re.compile(
    r"""(?P<range>(?:0|zero|[il1])\s?\+?\s?(?:/|-|or|to|~)\s?[il1]\s?\+)
      | (?<![\d.])(?P<plus>[0-3il])\s?\+(?!\d)
      | (?<![\d.+])\+\s?(?P<reversed>[1-3])(?![\d%])
      | \bscores?(?:\s+(?:of|is)|\s?[:=])?\s?(?P<score>[0-3])(?!\d|[.%/]\d|%)
      | \bintensity(?:\s+(?:of|is)|\s?[:=])\s?(?P<intensity>[0-3])(?!\d|\.\d|%)
      | \bihc\s?[:=]?\s?(?P<ihc>[0-3])(?!\d|[.%/]\d|%)
      | (?:^\s?[:=]?|over\s?-?expressed|over\s?-?expression)\s?\(\s?(?P<held>[0-3])\s?\)
      | ^\s?[:=]\s?(?P<answer>[0-3])(?!\d|[.%/]\d|%)
      | ^\s(?P<alone>[0-3])(?=\s?[,;.)](?!\d)|$)
      | (?<![\d.])(?P<points>[0-3])\s?分
      | ^\s?\(\s?(?P<signs>\+{1,3})\s?[,)] | (?<!\+)(?P<many>\+{2,3})(?!\+)
      | \b(?:negative|equivocal|positive)\s?\(\s?(?P<told>[0-3])\s?\)""",
    re.VERBOSE,
)
_OF_RATIO = re.compile(
    r"(?:ratio|比值)[^\d<>]{0,24}(?P<value>\d{1,2}\.\d{1,2})|amplified\s?\(\s?(?:ratio\s?)?(?P<held>\d{1,2}\.\d{1,2})\s?\)"
)
_OF_INTENSITY = re.compile(
    r"\b(?P<word>weak|moderate|intermediate|strong)(?:ly)?(?:[ ]?(?:to|-|/)[ ]?(?P<to>moderate|intermediate|strong))?\b"
    r"|(?P<zh>强|中等|中|弱)(?=阳|\+|\)|，|,|表达|着色)"
)
_OF_TPS = re.compile(
    r"\b(?:tps|tumou?r proportion score)(?:\s?\(tps\))?\)?\s?(?:of|is|[:=约为])?\s?约?\s?(?P<sign>[<>≥≤]?)\s?"
    r"(?P<value>\d{1,3})"
)
_OF_CPS = re.compile(
    r"\b(?:cps|combined positive score)(?:\s?\(cps\))?\)?\s?(?:of|is|[:=约为])?\s?约?\s?(?P<sign>[<>≥≤]?)\s?"
    r"(?P<value>\d{1,3})(?!\s?%)"
)
_ZH_INTENSITY = {"强": "strong", "中等": "moderate", "中": "moderate", "弱": "weak"}
_SIGNS = {
    "less than": "<",
    "fewer than": "<",
    "more than": ">",
    "greater than": ">",
    "小于": "<",
    "不足": "<",
    "大于": ">",
}
_HEAD = 130
"""How far behind the name numbers may stand."""


_FOR_NEXT = re.compile(
    r"[<>~]?\d{1,3}(?:\s?-\s?\d{1,3})?\s?%\s*(?:of cells\s)?(?:positiv\w+\s)?(?:for|with)?(?:\sthe)?\s*$"
)
_OF_CELLS = re.compile(
    r"(?P<sign>[<>~])?(?P<low>\d{1,3})(?:\s?(?:-|to)\s?(?P<high>\d{1,3}))?\s?%\s"
    r"(?:of\s(?:the\s|all\s)?(?:invasive\s|tumou?r\s|neoplastic\s|"
    r"lesional\s|carcinoma\s)*(?:cells|nuclei)\s(?:(?:are|were|is|show|stain|with)\s)?)?"
    r"(?:positiv\w+\s|reactiv\w+\s|stain\w*\s|nuclear\s|strongly\s|strong\s)*(?:for|with)\s(?:the\s)?$"
)


@dataclass(frozen=True, slots=True)
class Amounts:
    """Numbers of one marker; ``end`` is where the last of them ends, behind the name.

    ``percent`` is (low, high), alike where one number is stated; ``sign`` is its "<" or ">". ``her2`` is the
    immunohistochemical score; ``her2_range`` says that two were named ("0/1+").
    """

    percent: tuple[float, float] | None = None
    sign: str = ""
    intensity: str | None = None
    allred: int | None = None
    h_score: int | None = None
    her2: int | None = None
    her2_range: bool = False
    ratio: float | None = None
    tps: tuple[str, int] | None = None
    cps: tuple[str, int] | None = None
    end: int = 0

    @property
    def empty(self) -> bool:
        return not self.end


def percent_before(ahead: str) -> tuple[tuple[float, float], str, int] | None:
    """Read the percent in front of a marker's name ("80% of tumour cells are positive for ER").

    Returns the percent (low, high), its sign, and where it begins in ``ahead``.
    """
    match = _OF_CELLS.search(ahead)
    if match is None or float(match["high"] or match["low"]) > 100:
        return None
    return (float(match["low"]), float(match["high"] or match["low"])), match["sign"] or "", match.start()


def read_amounts(stretch: str, *, her2: bool, name_follows: bool = False) -> Amounts:
    """Read the numbers in ``stretch``, the text behind a marker's name, at the longest up to the next name.

    Where a name follows, a percent directly before it is that name's ("80% are positive for ER and 40% for PR").
    """
    if name_follows and (of_next := _FOR_NEXT.search(stretch)):
        stretch = stretch[: of_next.start()] if of_next.start() > 3 else stretch
    head = stretch[:_HEAD]
    percent = _PERCENT.search(head)
    if percent and float(percent["high"] or percent["low"]) > 100:
        percent = None
    score = _OF_HER2.search(head) if her2 else None
    ratio = _OF_RATIO.search(stretch) if her2 else None
    intensity = _OF_INTENSITY.search(head)
    allred, h_score = _OF_ALLRED.search(stretch), _OF_H.search(stretch)
    tps, cps = _OF_TPS.search(stretch), _OF_CPS.search(stretch)
    spans = [match.end() for match in (percent, score, ratio, allred, h_score, tps, cps) if match]
    return Amounts(
        percent=(float(percent["low"]), float(percent["high"] or percent["low"])) if percent else None,
        sign=_sign(percent["sign"]) if percent else "",
        intensity=_intensity(intensity) if intensity else None,
        allred=int(allred["value"] or allred["of_eight"]) if allred else None,
        h_score=int(h_score["value"]) if h_score else None,
        her2=_score(score) if score else None,
        her2_range=bool(score and score["range"]),
        ratio=float(ratio["value"] or ratio["held"]) if ratio else None,
        tps=(tps["sign"], int(tps["value"])) if tps else None,
        cps=(cps["sign"], int(cps["value"])) if cps else None,
        end=max(spans, default=0),
    )


def _sign(word: str | None) -> str:
    if not word:
        return ""
    return next((sign for name, sign in _SIGNS.items() if word.startswith(name)), word)


def _intensity(match: re.Match[str]) -> str:
    if match["zh"]:
        return _ZH_INTENSITY[match["zh"]]
    return f"{match['word']} to {match['to']}" if match["to"] else match["word"]


def _score(match: re.Match[str]) -> int:
    if match["range"]:
        return 1
    if signs := match["signs"] or match["many"]:
        return len(signs)
    return int(next(value for name, value in match.groupdict().items() if value).replace("i", "1").replace("l", "1"))
