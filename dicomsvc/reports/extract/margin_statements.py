"""What a report says of resection margins: statements, each of one mention (``margins.toml``).

A statement is sought behind the mention ("margins are free of tumour", "deep margin: 3 mm"), before it ("tumour extends
to the inked margin") and, under the heading "Margins:", for each name in the list.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from dicomsvc.reports.extract.lengths import Length, length_before, length_behind
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.text.wording import compiled
from dicomsvc.reports.values import Assertion

BEFORE, BEHIND = 110, 130
_SENTENCE = re.compile(r"[.;!?。；]\s+(?=[A-Z(\[\-*])|[。；;]|\s[-*•]{1,2}\s+(?=[A-Z])|\n\s*\n|\n\s*[-*•]")
_OWN_LABEL = re.compile(
    r"(?:[\s(),/\-]|\([^()]{0,50}\)|\b(?:status|involvement|involved|by|tumou?r|carcinoma|invasive|resection|surgical|of|for|"
    r"or|and|the|is|are|deep|distance|assessment|final|margins?|biops\w+|re-?excision|excision|shave|specimen|\w+ectomy|"
    r"component|cancer|malignan\w+|neoplasm|in situ|dcis|adenocarcinoma|melanoma|sarcoma|lesion|new|additional|frozen|section|right|left)\b)*$"
)
_UNFINISHED = re.compile(
    r"(?:^|\b(?:is|are|was|were|be|of|for|by|the|and|to|from|focally|widely|extensively|grossly|closely))\W*$"
)
_GOES_ON = re.compile(
    r"^\W*(?:is|are|was|were|negative|neg|free|uninvolved|unremarkable|involved|clear|positive|not|widely)\b"
)
"""A full stop behind the noun is the scanner's when a verb or an answer follows."""

_CHINESE_CLAUSE = re.compile(r"[^，,。；]*(?:[，,](?=\s*(?:均|皆|都|未|无|阴性|见|可见|查见|\())[^，,。；]*)*")
"""A Chinese comma goes on about the margin only where a verb or an answer follows."""
_HEADED = re.compile(r"\s*(?:status|assessment|involvement)?\s?[:.]")
_DISTANCE = re.compile(r"\bdistance\b|距")
_ANSWERS = {
    **dict.fromkeys(("no", "none", "negative", "free", "absent", "not", "clear", "uninvolved"), Assertion.ABSENT),
    **dict.fromkeys(("yes", "positive", "present", "involved"), Assertion.PRESENT),
}


@dataclass(frozen=True, slots=True)
class Statement:
    """What is said of the margins ``names`` (empty: of the margins as such) at ``text[start:end]``.

    ``state`` is None where only a distance is told. ``lesion`` is ``invasive`` or ``in_situ`` where the report says
    which; ``harmless`` where what is at the margin is no cancer.
    """

    start: int
    end: int
    state: Assertion | None
    names: tuple[str, ...] = ()
    distance: Length | None = None
    closest: bool = False
    all: bool = False
    lesion: str | None = None


@dataclass(frozen=True, slots=True)
class _Words:
    noun: re.Pattern[str]
    decides: re.Pattern[str]
    question: re.Pattern[str]
    before: Mapping[Assertion, re.Pattern[str]]
    subject: re.Pattern[str]
    in_situ: re.Pattern[str]
    harmless: re.Pattern[str]
    idle: re.Pattern[str]
    name: re.Pattern[str]
    names_before: re.Pattern[str]
    listed: re.Pattern[str]


@cache
def _words(language: str) -> _Words:
    table = tomllib.loads((files("dicomsvc.reports.extract") / "margins.toml").read_text(encoding="utf-8"))
    codes = ("zh", "en") if language == "zh" else ("en",)

    def words(entry: Mapping[str, Any]) -> str:
        return "|".join(entry[code] for code in codes)

    bound = r"\b" if language == "en" else ""
    names = "|".join(f"(?P<{name}>{bound}(?:{words(entry)}){bound})" for name, entry in table["name"].items())
    plain = re.sub(r"\?P<\w+>", "?:", names)
    # Atomic: names that contain one another must not be tried in all combinations.
    run = rf"(?>(?:{plain}|{bound}(?:{words(table['filler'])}){bound})[\s,./&、()\-]*)"
    return _Words(
        noun=compiled(wording for code in codes for wording in table["noun"][code]),
        decides=re.compile(
            "|".join(f"(?P<{name}>{words(table['decides'][name])})" for name in ("none", "absent", "present"))
        ),
        question=re.compile(words(table["question"])),
        before={Assertion(name): re.compile(words(table["before"][name])) for name in ("absent", "present")},
        subject=re.compile(words(table["subject"])),
        in_situ=re.compile(words(table["in_situ"])),
        harmless=re.compile(words(table["harmless"])),
        idle=re.compile(words(table["idle"])),
        name=re.compile(names),
        names_before=re.compile(rf"{run}++$"),
        listed=re.compile(
            rf"[\s.,;\-*]*(?P<names>{run}++)(?:margins? ?)?(?:\([^()]{{0,30}}\) ?)?[:=\-][\s.]*(?P<body>[^:;；]{{2,90}})"
        ),
    )


def statements(reading: Reading) -> tuple[Statement, ...]:
    """Return all statements on margins where anything is believed, in the order of the text."""
    words = _words(reading.language)
    found: list[Statement] = []
    for match in words.noun.finditer(reading.text):
        if reading.weight_at(match.start()) and (not found or match.start() >= found[-1].end or not found[-1].all):
            found.extend(_of_mention(reading, match.start(), match.end(), words))
    return tuple(found)


def _of_mention(reading: Reading, start: int, end: int, words: _Words) -> Iterator[Statement]:
    begin = max(0, start - BEFORE, reading.clauses.around(start, end)[0])
    near = reading.text[max(0, start - 70) : start]
    named = words.names_before.search(near)
    first = start - len(near) + named.start() if named else start
    head = reading.text[min(begin, first) : first]
    if words.idle.search(reading.text[max(0, start - 40) : start]) or words.idle.search(head[-40:]):
        return
    tail = _tail(reading, end, words)
    around = reading.text[first:start]
    headed = _HEADED.match(reading.text[end : end + 30])
    listed = list(_listed(reading, end + headed.end(), words)) if headed else []
    yield from listed
    state, left, right, lesion = _said(head, tail, words)
    distance = length_before(head + reading.text[first:start]) or length_behind(tail)
    if (state is None and distance is None) or (listed and state is None):
        return
    yield Statement(
        start=first - left,
        end=end + right if state is not None or distance is None else end + _length_end(tail, distance),
        state=state,
        names=_names(around, words),
        distance=distance,
        closest=bool(re.search(r"closest|nearest|最近", around)),
        all=bool(re.search(r"\ball\b|所有|全部|各", around)),
        lesion=lesion,
    )


def _length_end(tail: str, distance: Length) -> int:
    place = tail.find(distance.raw)
    return place + len(distance.raw) if place >= 0 else 0


def _names(stretch: str, words: _Words) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(match.lastgroup) for match in words.name.finditer(stretch)))


def _tail(reading: Reading, end: int, words: _Words) -> str:
    """Return what follows a mention and may speak of it: to the sentence's end, or the next label's begin."""
    piece = reading.text[end : end + BEHIND]
    if question := words.question.match(piece):
        return question[0]
    for stop in _SENTENCE.finditer(reading.original[end : end + BEHIND]):
        before = reading.text[end : end + stop.start()].strip(" .,:;-()")
        goes_on = _GOES_ON if not before else _UNFINISHED
        if not goes_on.search(before or reading.text[end + stop.end() : end + stop.end() + 20]):
            piece = reading.text[end : end + stop.start()]
            break
    if reading.language == "zh" and (clause := _CHINESE_CLAUSE.match(piece)):
        piece = clause[0]
    colon = piece.find(":")
    if colon < 0:
        return piece
    own = _OWN_LABEL.match(piece[:colon])
    if own:
        colon += len(piece[colon:]) - len(piece[colon:].lstrip(": "))
    second = piece.find(":", colon) if own else colon
    return piece if second < 0 else _without_label(piece[:second], colon if own else 0)


def _without_label(piece: str, least: int) -> str:
    """Return ``piece`` without its last words, the label that a colon came behind."""
    separated = max(piece.rfind(mark, least) for mark in (".", ",", ";", " -", "  ", "\n"))
    return piece[:separated] if separated > least else piece


def _said(head: str, tail: str, words: _Words) -> tuple[Assertion | None, int, int, str | None]:
    """Return the state, how far the support reaches to the left and right of the mention, and the lesion."""
    if question := words.question.match(tail):
        return _ANSWERS.get(question["answer"]), 0, question.end(), None
    if before := _before(head, words):
        return before
    decided = words.decides.search(tail)
    if decided is None or decided.lastgroup == "none":
        return None, 0, decided.end() if decided else 0, None
    state_behind = Assertion(decided.lastgroup)
    rest = tail[decided.start() : decided.end() + 45].split(",")[0].split(".")[0]
    lesion = _lesion(rest, words)
    if lesion == "harmless":
        return None, 0, 0, None
    return state_behind, 0, decided.end(), lesion


def _before(head: str, words: _Words) -> tuple[Assertion, int, int, str | None] | None:
    for state in (Assertion.ABSENT, Assertion.PRESENT):
        found = words.before[state].search(head)
        if found is None:
            continue
        clause = head[: found.end()]
        if state is Assertion.PRESENT:
            bare = re.match(r"positive|involved", found[0])
            if not bare and (not words.subject.search(clause) or _DISTANCE.search(clause)):
                continue
            if re.search(r"\b(?:no|not|without|nor)\b(?!\s+only)|未|不", clause):
                state = Assertion.ABSENT
        lesion = _lesion(clause, words)
        if lesion == "harmless":
            return None
        return state, len(head) - found.start(), 0, lesion
    return None


def _lesion(stretch: str, words: _Words) -> str | None:
    if re.search(r"invasive|infiltrating|浸润", stretch):
        return "invasive"
    if words.in_situ.search(stretch):
        return "in_situ"
    return "harmless" if words.harmless.search(stretch) else None


def _listed(reading: Reading, place: int, words: _Words) -> Iterator[Statement]:
    """Yield what stands under the heading "Margins:" as "deep: negative; radial: 2 mm"."""
    for _ in range(12):
        item = words.listed.match(reading.text[place : place + 200])
        if item is None or not (names := _names(item["names"], words)):
            return
        body = re.split(r"\.\s|\n|,\s(?=\w+\s?$)", item["body"])[0]
        state, _, right, lesion = _said("", body, words)
        distance = length_behind(body)
        if state is None and distance is None:
            return
        finish = item.start("body") + (right or len(body.rstrip()))
        yield Statement(place + item.start("names"), place + finish, state, names, distance, lesion=lesion)
        place += item.start("body") + len(body)
