"""What a report says of the markers it names: result, percent, intensity, scores."""

import re
from dataclasses import dataclass, replace

from dicomsvc.reports.extract.amounts import Amounts, percent_before, read_amounts
from dicomsvc.reports.extract.markers import Group, marker_groups
from dicomsvc.reports.extract.results import Told, explains, told_after, told_before, told_by_name
from dicomsvc.reports.reading import Reading

AFTER, AHEAD = 220, 80
"""How many characters behind a name are looked at, and in front of it for a percent."""

_PREVIOUS = re.compile(
    r"\b(?:previous(?:ly)?|prior|earlier|another specimen|core biopsy|outside|per (?:core )?biopsy)\b"
    r"|外院|既往|前次|穿刺"
)
_ISH = re.compile(
    r"\b(?:d?[fcs]?ish|in[ .\-]{1,3}situ|hybridi[sz]ation|amplifi\w+|ratio|cep ?17|copy|copies)\b|扩增|比值|拷贝"
)
_ISH_FOR = re.compile(
    r"(?:\bd?[fcs]?ish|hybridi[sz]ation)\)?(?:\s(?:\(fish\)|analysis|stud(?:y|ies)|test(?:ing)?))*\s(?:for|of)\s?$"
)
_PAIR = re.compile(
    r"[\s:=]{0,3}(?:status\s?:?\s?)?\(?(positive|negative|pos|neg|\+|-|阳性|阴性)"
    r"\s?(?:/|,|\band\b)\s?(positive|negative|pos|neg|\+|-|阳性|阴性)"
    r"(?:\s?(?:/|,|,?\sand)\s?(positive|negative|pos|neg|\+|-))?(?=[\s).,;:，。；]|$)"
)


@dataclass(frozen=True, slots=True)
class Staining:
    """What is said of one group of markers; ``result`` is a word of ``staining.toml``, or None where only amounts are.

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


def stainings(reading: Reading) -> tuple[Staining, ...]:
    """Return what is said of each group of markers; a group of which nothing is said is left out."""
    groups = reading.once(marker_groups)
    found: list[Staining] = []
    for position, group in enumerate(groups):
        if paired := _paired(reading, group):
            found.extend(paired)
            continue
        following = groups[position + 1].start if position + 1 < len(groups) else len(reading.text)
        limit = min(following, group.end + AFTER, _layout_end(reading, group))
        said = _of_group(reading, group, limit, name_follows=limit == following < len(reading.text))
        if said is not None:
            found.append(said)
    return tuple(found)


def _paired(reading: Reading, group: Group) -> tuple[Staining, ...]:
    """Return the stainings of markers that are answered in the order of their names ("ER/PR: positive/negative")."""
    match = _PAIR.match(reading.text, group.end) if len(group.markers) > 1 else None
    if match is None:
        return ()
    answers = [answer for answer in match.groups() if answer]
    if len(answers) != len(group.markers):
        return ()
    previous = _PREVIOUS.search(reading.text, max(0, group.start - 60), match.end() + 60) is not None
    return tuple(
        Staining(
            Group((marker,), group.start, group.end),
            "negative" if answer[0] in "-n阴" else "positive",
            Amounts(),
            group.start,
            match.end(),
            direct=True,
            ish=False,
            previous=previous,
        )
        for marker, answer in zip(group.markers, answers, strict=True)
    )


def _layout_end(reading: Reading, group: Group) -> int:
    ends = [part.start for part in reading.parts if part.start > group.end]
    # "HER2 by immunohistochemistry: 1+" has a heading's word in it.
    ends += [section.start for section in reading.sections if section.start > group.end and section.kind != "ancillary"]
    paragraph = reading.original.find("\n\n", group.end, group.end + AFTER)
    return min([*ends, paragraph if paragraph >= 0 else len(reading.text)])


def _of_group(reading: Reading, group: Group, limit: int, *, name_follows: bool) -> Staining | None:
    told = told_by_name(reading, group) or told_after(reading, group, limit)
    if told is None or not told.direct:
        told = told_before(reading, group) or told
    if told is not None and (told.result == "open" or _answered_by_number(reading, group, told)):
        # "2+, FISH pending": what stands before the open question is told.
        limit, told = told.at, None
    stretch = reading.text[group.end : limit]
    amounts = read_amounts(stretch, her2="her2" in group.markers, name_follows=name_follows)
    start = min(group.start, told.start) if told else group.start
    ahead = max(0, group.start - AHEAD)
    if before := percent_before(reading.text[ahead : group.start]):
        amounts = replace(amounts, percent=before[0], sign=before[1])
        start = min(start, ahead + before[2])
    elif told is None and (amounts.empty or explains(reading, group.start, group.end + amounts.end)):
        return None
    end = max(group.end, told.end if told else 0, group.end + amounts.end)
    left, _ = reading.clauses.around(group.start, end)
    around = reading.text[max(left, group.start - 60) : end + 60]
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


def _answered_by_number(reading: Reading, group: Group, told: Told) -> bool:
    """Whether a number answers in the sentence before the one with the result ("HER2: 0. No amplification of …")."""
    between = reading.text[group.end : told.at]
    if "." not in between and ";" not in between:
        return False
    numbers = read_amounts(between, her2="her2" in group.markers)
    return not numbers.empty and re.search(r"[.;]\s", between[numbers.end :]) is not None


def _is_ish(text: str, start: int, group: Group, end: int) -> bool:
    ahead = text[max(0, group.start - 40) : group.start]
    return _ISH.search(text, start, end) is not None or _ISH_FOR.search(ahead) is not None
