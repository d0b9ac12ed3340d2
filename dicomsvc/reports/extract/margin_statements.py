"""What a report says of resection margins: statements, each of one mention (``margins.toml``).

A statement is sought behind the mention ("margins are free of tumour", "deep margin: 3 mm"), before it ("tumour extends
to the inked margin") and, under the heading "Margins:", for each name in the list.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from dicomsvc.reports.extract.lengths import Length, length_before, length_behind
from dicomsvc.reports.extract.margin_words import MarginWords, margin_words
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.values import Assertion

BEFORE, BEHIND = 110, 130
"""How many characters before and behind a mention are looked at."""
MOST = 300
"""Mentions that are read; no report has as many."""
_SENTENCE = re.compile(r"[.;!?。；]\s+(?=[A-Z(\[\-*])|[。；;]|\s[-*•]{1,2}\s+(?=[A-Z])|\n\s*\n|\n\s*[-*•]")
_CHINESE_CLAUSE = re.compile(r"[^，,。；]*(?:[，,](?=\s*(?:均|皆|都|未|无|阴性|见|可见|查见|\())[^，,。；]*)*")
"""A Chinese comma goes on about the margin only where a verb or an answer follows."""
_NEGATIVE = re.compile(r"n(?!/a)(?!ot (?:appl|ass|spec|know|stat))|absent")
_HEADED = re.compile(r"\s*(?:status|assessment|involvement)?\s?[:.]")
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


def statements(reading: Reading) -> tuple[Statement, ...]:
    """Return all statements on margins where anything is believed, in the order of the text."""
    words = margin_words(reading.language)
    found: list[Statement] = []
    for match in islice(words.noun.finditer(reading.text), MOST):
        if reading.weight_at(match.start()) and (not found or match.start() >= found[-1].end or not found[-1].all):
            found.extend(_of_mention(reading, match.start(), match.end(), words))
    for state, pattern in words.whole.items():
        for match in islice(pattern.finditer(reading.text), MOST):
            if reading.weight_at(match.start()) and not words.idle.search(
                reading.text[max(0, match.start() - 40) : match.start()]
            ):
                found.append(Statement(match.start(), match.end(), state))
    return tuple(sorted(found, key=lambda statement: statement.start))


def _of_mention(reading: Reading, start: int, end: int, words: MarginWords) -> Iterator[Statement]:
    begin = max(0, start - BEFORE, reading.clauses.around(start, end)[0])
    near = reading.text[max(0, start - 70) : start]
    named = words.names_before.search(near)
    first = start - len(near) + named.start() if named else start
    head = reading.text[min(begin, first) : first]
    if words.idle.search(reading.text[max(0, start - 40) : start]) or words.idle.search(head[-40:]):
        return
    # Ink is named where specimens are described, too: only what reaches it tells of a margin.
    tail = "" if reading.text[start:end] == "ink" else _tail(reading, end, words)
    around = reading.text[first:start]
    headed = _HEADED.match(reading.text[end : end + 30])
    listed = list(_listed(reading, end + headed.end(), words)) if headed else []
    yield from listed
    state, left, right, lesion = _said(head, tail, words)
    near_end = length_before(head + around)
    distance = near_end or length_behind(tail)
    if state is None and distance is not None and not distance.mm:
        state = Assertion.PRESENT
    if (state is None and distance is None) or (listed and state is None):
        return
    if near_end:
        left = max(left, len(head + around) - (head + around).rfind(near_end.raw) - len(around))
    elif distance:
        right = max(right, tail.find(distance.raw) + len(distance.raw))
    yield Statement(
        start=first - left,
        end=end + right,
        state=state,
        names=_names(reading.text[first:end], words),
        distance=distance,
        closest=bool(words.closest.search(around)),
        all=bool(words.all.search(around)),
        lesion=lesion,
    )


def _names(stretch: str, words: MarginWords) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(match.lastgroup) for match in words.name.finditer(stretch)))


def _tail(reading: Reading, end: int, words: MarginWords) -> str:
    """Return what follows a mention and may speak of it: to the sentence's end, or the next label's begin."""
    piece = reading.text[end : end + BEHIND]
    if question := words.question.match(piece):
        return question[0]
    for stop in _SENTENCE.finditer(reading.original[end : end + BEHIND]):
        before = reading.text[end : end + stop.start()].strip(" .,:;-()")
        goes_on = words.goes_on if not before else words.unfinished
        if not goes_on.search(before or reading.text[end + stop.end() : end + stop.end() + 20]):
            piece = reading.text[end : end + stop.start()]
            break
    if reading.language == "zh" and (clause := _CHINESE_CLAUSE.match(piece)):
        piece = clause[0]
    colon = piece.find(":")
    if colon < 0:
        return piece
    own = words.own_label.match(piece[:colon])
    if own:
        colon += len(piece[colon:]) - len(piece[colon:].lstrip(": "))
    second = piece.find(":", colon) if own else colon
    return piece if second < 0 else _without_label(piece[:second], colon if own else 0)


def _without_label(piece: str, least: int) -> str:
    """Return ``piece`` without its last words, the label that a colon came behind."""
    separated = max(piece.rfind(mark, least) for mark in (".", ",", ";", " -", "  ", "\n"))
    return piece[:separated] if separated > least else piece


def _said(head: str, tail: str, words: MarginWords) -> tuple[Assertion | None, int, int, str | None]:
    """Return the state, how far the support reaches to the left and right of the mention, and the lesion."""
    if question := words.question.match(tail):
        return _ANSWERS.get(question["answer"]), 0, question.end(), None
    if before := _before(head, words):
        answer = words.answered.match(tail) if before[0] is Assertion.PRESENT else None
        if answer is None:
            return before
        told = _NEGATIVE.match(answer["answer"])
        return (Assertion.ABSENT, before[1], answer.end(), before[3]) if told else (None, 0, 0, None)
    decided = words.decides.search(tail)
    if decided is None or decided.lastgroup == "none":
        return None, 0, decided.end() if decided else 0, None
    state_behind = Assertion(str(decided.lastgroup))
    rest = tail[decided.start() : decided.end() + 45].split(",")[0].split(".")[0]
    lesion = _lesion(rest, words)
    if lesion == "harmless":
        return None, 0, 0, None
    return state_behind, 0, decided.end(), lesion


def _before(head: str, words: MarginWords) -> tuple[Assertion, int, int, str | None] | None:
    for state in (Assertion.ABSENT, Assertion.PRESENT):
        found = words.before[state].search(head)
        if found is None:
            continue
        clause = head[: found.end()]
        if state is Assertion.PRESENT:
            bare = re.match(r"positive|involved", found[0])
            if not bare and (not words.subject.search(clause) or words.distance.search(clause)):
                continue
            if words.denies.search(re.split("[;；]", clause[-60:])[-1]):
                state = Assertion.ABSENT
        lesion = _lesion(clause, words)
        if lesion == "harmless":
            return None
        return state, len(head) - found.start(), 0, lesion
    return None


def _lesion(stretch: str, words: MarginWords) -> str | None:
    if words.invasive.search(stretch):
        return "invasive"
    if words.in_situ.search(stretch):
        return "in_situ"
    return "harmless" if words.harmless.search(stretch) else None


def _listed(reading: Reading, place: int, words: MarginWords) -> Iterator[Statement]:
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
        measured = body.find(distance.raw) + len(distance.raw) if distance else 0
        finish = item.start("body") + max(right, measured)
        yield Statement(place + item.start("names"), place + finish, state, names, distance, lesion=lesion)
        place += item.start("body") + len(body)
