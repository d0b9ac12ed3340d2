"""Lymph nodes examined and positive: for the case, and for each station or part that the report counts on its own.

The case's total is what the report says it is (a checklist's numbers), else the sum over its parts. A statement that
repeats another, or sums up others, is not added to them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dicomsvc.reports.extract.node_counts import Count, counts
from dicomsvc.reports.extract.node_words import CUE
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.schema import Field
from dicomsvc.reports.text.parts import Part
from dicomsvc.reports.values import Evidence, FieldValue, Status

STATED_RULE, SUM_RULE, PART_RULE = "nodes/1", "node_sum/1", "node_part/1"
_STATION = re.compile(
    r"(?:level|station|st\.?|group|#)[ ]?\d{1,2}[a-z]{0,2}(?:[ ]?(?:,|and|&|-)[ ]?\d{1,2}[a-z]?)?"
    r"|第?[ ]?\d{1,3}[a-z]?[组站]"
    r"|sentinel|axillary|internal mammary|intramammary|infraclavicular|supraclavicular|rotter"
    r"|subcarinal|(?:para|pre)tracheal|hilar|interlobar|peribronchial|mediastinal|aort[oa][\- ]?pulmonary"
    r"|(?:left |right )?gastric|celiac|coeliac|common hepatic|splenic|perigastric|para[\- ]?cardial|omental"
    r"|(?:para|peri)[\- ]?o?esophag\w+|diaphragmatic|cervical|pulmonary ligament|greater curvature|lesser curvature"
    r"|mesenteric|mesorectal|peri ?colic|apical|para[\- ]?aortic|obturator|pelvic|iliac|inguinal|hepatic"
    r"|portal|peripancreatic"
    r"|前哨|腋窝|内乳|锁骨[上下]|肺门|纵隔|隆突下|气管旁|食管旁|胃左|小弯|大弯|贲门|肠系膜|肠周|肠旁|直肠旁|闭孔|盆腔|髂"
)
_HEADED = re.compile(
    r"[^:]{0,60}?(?:[a-z!]?[yv]m[a-z]{1,3}[\s\-]{0,3}|sentinel[\s\-]{1,2})n[o0][do]e(?P<plural>[es]{1,2})?\b"
)
_WHOLE = re.compile(r"total|overall|combined|altogether|regional lymph nodes? \(pn|共|总")
_ELSEWHERE = re.compile(r"sentinel|\bpart|specimen|\bsee\b|total")


_LABELS = ("label", "macro", "micro")


@dataclass(frozen=True, slots=True)
class Nodes:
    """All that a report says of its nodes; ``stations`` are the statements that were added up."""

    positive: int | None
    examined: int | None
    evidence: tuple[Evidence, ...]
    rule: str
    confidence: float
    stations: tuple[Count, ...]


def find_nodes(reading: Reading, field: Field) -> Iterator[FieldValue]:
    """Yield the case's total first, then one value a station or part where there are several."""
    counted = reading.once(nodes)
    side = str(field.settings["side"])
    total = getattr(counted, side) if counted else None
    if counted is None:
        return
    if total is not None:
        yield FieldValue(
            field=field.id,
            value=total,
            status=Status.DERIVED if counted.rule == SUM_RULE else Status.STATED,
            evidence=counted.evidence,
            raw=" … ".join(reading.raw(place) for place in counted.evidence),
            confidence=counted.confidence,
            rule=counted.rule,
        )
    if len(counted.stations) > 1:
        for station in counted.stations:
            yield from _of_station(reading, field, station, getattr(station, side))


def _of_station(reading: Reading, field: Field, station: Count, number: int | None) -> Iterator[FieldValue]:
    if number is None:
        return
    evidence = reading.evidence(station.start, station.end)
    name = station_name(reading, station)
    yield FieldValue(
        field=field.id,
        value=number,
        evidence=(evidence,),
        raw=reading.raw(evidence),
        part=reading.label_at(station.start),
        confidence=station.confidence,
        rule=STATED_RULE,
        qualifiers={"station": name} if name else {"station": "unnamed"},
    )


def station_name(reading: Reading, station: Count) -> str | None:
    """Return the station named in the statement, before it in its clause, or in its part's heading."""
    part = reading.part_at(station.start)
    if part is not None and (heading := _STATION.search(reading.text, part.start, min(part.start + 70, part.end))):
        return " ".join(heading.group().split())
    before = list(_STATION.finditer(reading.text, max(0, station.start - 45), station.start))
    named = before[-1] if before else _STATION.search(reading.text, station.start, station.end)
    return " ".join(named.group().split()) if named else None


def nodes(reading: Reading) -> Nodes | None:
    """Return the case's nodes, or None where the report counts none."""
    found = list(reading.once(counts))
    labelled = _labelled_total(found)
    plain = _merged(reading, [count for count in found if count.form not in _LABELS])
    plain.extend(_single_parts(reading, plain))
    sums = [total for kind in _groups(reading, plain).values() if (total := _sum(reading, kind)) is not None]
    summed = max(sums, key=lambda total: total.examined or 0, default=None)
    if labelled is not None and (labelled.positive or 0) <= (labelled.examined or 999):
        return _completed(reading, labelled, summed)
    return summed


def _completed(reading: Reading, labelled: Count, summed: Nodes | None) -> Nodes:
    """Return a checklist's total; the side that it lacks comes from the sum where both agree on the other."""
    positive, examined = labelled.positive, labelled.examined
    places = [reading.evidence(labelled.start, labelled.end)]
    if summed is not None and (positive is None or examined is None):
        positive = summed.positive if positive is None and _fits(summed.positive, examined) else positive
        examined = summed.examined if examined is None and _fits(positive, summed.examined) else examined
        places.extend(summed.evidence[:3])
    stations = summed.stations if summed else ()
    return Nodes(positive, examined, tuple(places), STATED_RULE, labelled.confidence, stations)


def _fits(positive: int | None, examined: int | None) -> bool:
    return positive is not None and examined is not None and positive <= examined


def _labelled_total(found: list[Count]) -> Count | None:
    labels = _with_deposits(found)
    both = [label for label in labels if label.positive is not None and label.examined is not None]
    if both:
        return max(both, key=lambda label: label.examined or 0)
    examined = [label for label in labels if label.examined is not None]
    positive = [label for label in labels if label.positive is not None]
    if not examined and not positive:
        return None
    most = max(examined, key=lambda label: label.examined or 0, default=None)
    involved = max(positive, key=lambda label: label.positive or 0, default=None)
    ends = [label for label in (most, involved) if label is not None]
    start, end = min(label.start for label in ends), max(label.end for label in ends)
    if end - start > 500:
        start, end = ends[0].start, ends[0].end
    return Count(involved.positive if involved else None, most.examined if most else None, start, end, "label", 0.97)


def _with_deposits(found: list[Count]) -> list[Count]:
    """Return the answers of checklists; macro- and micrometastases are added up where the total is not asked."""
    labels = [count for count in found if count.form == "label"]
    sorts = [count for count in found if count.form in ("macro", "micro")]
    if not sorts or any(label.positive is not None for label in labels):
        return labels
    largest = [
        max((c for c in sorts if c.form == form), key=lambda c: c.positive or 0, default=None) for form in _LABELS[1:]
    ]
    used = [count for count in largest if count is not None]
    start, end = min(count.start for count in used), max(count.end for count in used)
    return [*labels, Count(sum(count.positive or 0 for count in used), None, start, end, "label", 0.95)]


def _merged(reading: Reading, found: list[Count]) -> list[Count]:
    """Drop what says the same again: ``one of two (1/2)``, or the same ratio twice in a part."""
    kept: list[Count] = []
    for count in found:
        if not any(_repeats(reading, earlier, count) for earlier in kept):
            kept.append(count)
    return kept


def _repeats(reading: Reading, earlier: Count, count: Count) -> bool:
    if (earlier.positive, earlier.examined) != (count.positive, count.examined):
        return False
    if reading.label_at(earlier.start) != reading.label_at(count.start) or _kind(reading, earlier) != _kind(
        reading, count
    ):
        return False
    between = reading.text[earlier.end : count.start]
    if len(between) <= 120 and between.count("(") > between.count(")"):
        return True
    if reading.label_at(count.start) is not None and reading.part_at(earlier.start) != reading.part_at(count.start):
        # The same specimen's label again: the report tells its parts a second time.
        return True
    names = {station_name(reading, earlier), station_name(reading, count)}
    return (earlier.examined or 0) >= 3 and len(names) == 1


def _kind(reading: Reading, count: Count) -> str:
    section = reading.section_at(count.start)
    kind = section.kind if section else "body"
    return {"specimen": "diagnosis", "body": "diagnosis", "ancillary": "diagnosis"}.get(kind, kind)


def _groups(reading: Reading, found: list[Count]) -> dict[str, list[Count]]:
    """Return the statements by the kind of section: a diagnosis and a microscopy tell the same nodes twice."""
    grouped: dict[str, list[Count]] = {}
    for count in sorted(found, key=lambda count: count.start):
        grouped.setdefault(_kind(reading, count), []).append(count)
    return grouped


def _single_parts(reading: Reading, found: list[Count]) -> Iterator[Count]:
    """Yield one node for each part that is headed by one and says what it has, without a number."""
    for part in reading.parts:
        heading = _HEADED.match(reading.text, part.start, min(part.end, part.start + 110))
        if heading is None or heading["plural"] or any(part.start <= count.start < part.end for count in found):
            continue
        begin = heading.end()
        cue = CUE.search(reading.text, begin, min(part.end, begin + 160))
        if cue and _is_alone(reading, part, begin):
            yield Count(0 if cue["negative"] else 1, 1, part.start, cue.end(), "part", 0.8)


def _is_alone(reading: Reading, part: Part, begin: int) -> bool:
    return (
        re.search(
            r"\b(?:nodes|no (?:\w+ )?(?:lymph node|nodal tissue)|adipose|fibroadipose|fatty tissue|soft tissue)\b",
            reading.text[begin : min(part.end, begin + 200)],
        )
        is None
    )


def _sum(reading: Reading, group: list[Count]) -> Nodes | None:
    counted = [count for count in group if count.examined is not None]
    if not counted:
        return None
    added = _without_summaries(reading, counted)
    positive = sum(count.positive or 0 for count in added)
    examined = sum(count.examined or 0 for count in added)
    places = tuple(reading.evidence(count.start, count.end) for count in added)
    rule = SUM_RULE if len(added) > 1 else PART_RULE if added[0].form == "part" else STATED_RULE
    return Nodes(positive, examined, places, rule, min(count.confidence for count in added), tuple(added))


def _without_summaries(reading: Reading, counted: list[Count]) -> list[Count]:
    """Leave out the statement that sums up the others, or the others' sum where the summary has more."""
    for count in sorted(counted, key=lambda count: -(count.examined or 0)):
        others = [other for other in counted if other is not count]
        if not others:
            break
        positive = sum(other.positive or 0 for other in others)
        examined = sum(other.examined or 0 for other in others)
        if (count.positive, count.examined) == (positive, examined) and (
            len(others) > 1 or _is_summary(reading, count) or (examined >= 3 and not _is_headed(reading, count))
        ):
            return others
        if count.positive == positive and positive and count.examined == positive and _is_summary(reading, count):
            return others
        if (count.examined or 0) >= examined and (count.positive or 0) >= positive and _is_summary(reading, count):
            return [count]
    return counted


def _is_summary(reading: Reading, count: Count) -> bool:
    """Whether a statement says that it is of all nodes: it names a total, or stands in another organ's part."""
    around = reading.text[max(0, count.start - 60) : count.end + 100]
    if _WHOLE.search(around):
        return True
    line = reading.text[max(0, count.start - 25) : count.start]
    listed = re.search(r"nodes?[ ]?:[ \-]{0,3}$", line) is not None
    return listed and not _is_headed(reading, count) and _ELSEWHERE.search(around) is not None


def _is_headed(reading: Reading, count: Count) -> bool:
    part = reading.part_at(count.start)
    return part is not None and _HEADED.match(reading.text, part.start, part.end) is not None
