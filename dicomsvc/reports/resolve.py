"""Which of the values that were found holds for the case, and where the report contradicts itself."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from dicomsvc.reports.reading import Reading
from dicomsvc.reports.schema import Field
from dicomsvc.reports.text.wording import searcher
from dicomsvc.reports.values import FieldValue, Status

BESIDE = 220
"""How many characters behind a value a tumour is looked for."""
_TUMOUR = searcher(r"\b(?:carcinoma|adenocarcinoma|cancer|sarcoma|melanoma|malignan(?:t|cy))\b|癌|肉瘤|恶性肿瘤")
_DENIED = re.compile(r"(?:\b(?:no|not|negative for|free of|without|history of)\b|未见|无)[^.;:,。，]{0,40}$")
CLOSE = 0.12
"""Values whose weights differ by less than this contradict each other; else the weightier holds."""


def resolve(reading: Reading, field: Field, found: Iterable[FieldValue]) -> Iterator[FieldValue]:
    """Yield the value for the case (``part`` None), then one for each part where parts differ.

    A field's ``prefer`` says which of contradicting values of equal weight stands: ``heaviest`` (the default),
    ``present`` (a finding that is present anywhere), ``positive`` (a receptor that is so in any tumour), ``largest``,
    ``first`` or ``last`` in the text, ``tumour`` (the one named most often beside a tumour). ``many = true`` keeps all
    different values, as margins and stations need.
    """
    values = list(found)
    if not values:
        return
    if field.settings.get("many"):
        yield from _distinct(values)
        return
    yield replace(_best(reading, field, values), part=None)
    by_part: dict[str, list[FieldValue]] = defaultdict(list)
    for value in values:
        if value.part is not None:
            by_part[value.part].append(value)
    of_parts = {part: _best(reading, field, of_part) for part, of_part in by_part.items()}
    if len({value.value for value in of_parts.values()}) > 1:
        yield from of_parts.values()


def weight(reading: Reading, value: FieldValue) -> float:
    """Return how far a value is believed: what its section is worth times the rule's confidence."""
    place = value.evidence[0].start if value.evidence else 0
    return reading.weight_at(place) * value.confidence


def _best(reading: Reading, field: Field, values: list[FieldValue]) -> FieldValue:
    weighed = sorted(values, key=lambda value: -weight(reading, value))
    top = weight(reading, weighed[0])
    rivals = [value for value in weighed if top - weight(reading, value) < CLOSE]
    chosen = _preferred(reading, field, rivals)
    agreeing = [value for value in weighed if value.value == chosen.value]
    evidence = tuple(dict.fromkeys(place for value in (chosen, *agreeing) for place in value.evidence))[:5]
    differ = _contradict(field, rivals) and len({value.part for value in rivals}) == 1
    status = Status.CONFLICT if differ and chosen.status is Status.STATED else chosen.status
    return replace(chosen, status=status, evidence=evidence)


def _contradict(field: Field, rivals: list[FieldValue]) -> bool:
    """Whether values that differ cannot both be: sizes of several tumours can, as can findings of different kinds."""
    if field.settings.get("prefer") == "largest" or len({value.value for value in rivals}) < 2:
        return False
    if (kinds := field.settings.get("gathers")) is None:
        return True
    named = [(value.value, set(re.findall(kinds, value.raw.lower()))) for value in rivals]
    return any(one != other and names & others for one, names in named for other, others in named)


def _preferred(reading: Reading, field: Field, rivals: list[FieldValue]) -> FieldValue:
    match field.settings.get("prefer", "heaviest"):
        case "present" | "positive" as wanted:
            return next((value for value in rivals if value.value == wanted), rivals[0])
        case "largest":
            return max(rivals, key=lambda value: float(value.value or 0))
        case "first":
            return min(rivals, key=lambda value: value.evidence)
        case "last":
            return max(rivals, key=lambda value: value.evidence)
        case "tumour":
            words = [value.value for value in _beside_tumours(reading, rivals) or rivals]
            return max(rivals, key=lambda value: words.count(value.value))
        case _:
            return rivals[0]


def _beside_tumours(reading: Reading, rivals: list[FieldValue]) -> list[FieldValue]:
    """Return the rivals behind which a tumour is named that is not denied, before the next rival."""
    if len({value.value for value in rivals}) < 2:
        return rivals
    starts = sorted(value.evidence[0].start for value in rivals)
    found = []
    for value in rivals:
        begin = value.evidence[0].end
        end = min((start for start in starts if start >= begin), default=begin + BESIDE)
        tumours = _TUMOUR.finditer(reading.text, begin, min(end, begin + BESIDE))
        if any(_DENIED.search(reading.text[max(0, match.start() - 50) : match.start()]) is None for match in tumours):
            found.append(value)
    return found


def _distinct(values: list[FieldValue]) -> Iterator[FieldValue]:
    seen = set()
    for value in values:
        key = (value.value, value.part, tuple(sorted(value.qualifiers.items())))
        if key not in seen:
            seen.add(key)
            yield value
