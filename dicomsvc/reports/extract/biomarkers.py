"""Biomarkers: receptors, proliferation, repair proteins, genes, and the list of all other stained markers.

A field names its ``marker`` (``markers.toml``; ``*`` for all that have no field of their own), what of a staining it
``reads`` (the result, or a number) and what the results of ``staining.toml`` ``means`` in its own words.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from dicomsvc.reports.extract.markers import listed
from dicomsvc.reports.extract.staining import Staining, stainings
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.schema import Field
from dicomsvc.reports.text.wording import compiled
from dicomsvc.reports.values import Assertion, FieldValue, Status

RULE = "biomarker/1"
CUTOFF_RULE = "receptor_from_percent/asco-cap2020"
ALLRED_RULE = "receptor_from_allred/1"
HER2_RULE = "her2_from_score/asco-cap2018"
POSITIVE_RULE = "her2_score_from_positive/asco-cap2018"
TRIPLE_RULE = "receptors_from_triple_negative/1"
_OF_SCORE = {0: "negative", 1: "negative", 2: "equivocal", 3: "positive"}
_DIRECT, _INDIRECT, _PREVIOUS = 0.97, 0.8, 0.15
"""Confidence of a result that stands at its name, elsewhere in the clause, and what a repeated result loses."""

_BY_IHC = re.compile(r"\bihc\b|immunohisto|immunoperox|immunostain|hercep ?test|免疫组化")
_HISTORY = re.compile(r"\bhistory of\b[^.;]{0,40}$|\bknown\s$|既往[^。；]{0,20}$")
_WEAK = re.compile(r"weak|focal|borderline|low|弱|灶")

Qualifiers = dict[str, str | float | int | bool]


def find_biomarker(reading: Reading, field: Field) -> Iterator[FieldValue]:
    """Yield what every staining of the field's marker says; a marker that is only named, or pending, gives nothing."""
    marker = str(field.settings["marker"])
    reader = _READERS[str(field.settings.get("reads", "result"))]
    if marker == "*":
        yield from _all_others(reading, field)
        return
    found = [
        value
        for said in reading.once(stainings)
        if marker in said.group.markers and (value := reader(reading, field, said)) is not None
    ]
    if field.settings.get("reads") == "her2":
        found = _ish_decides(found)
    yield from found
    if not found:
        yield from _implied(reading, field)


def _value(reading: Reading, field: Field, said: Staining, value: str | float | int) -> FieldValue:
    evidence = reading.evidence(said.start, said.end)
    option = field.option(value)
    section = reading.section_at(said.group.start)
    historical = _HISTORY.search(reading.text, max(0, said.start - 60), said.start) is not None
    return FieldValue(
        field=field.id,
        value=value,
        assertion=Assertion.HISTORICAL
        if historical or (section is not None and section.kind == "clinical")
        else Assertion.PRESENT,
        evidence=(evidence,),
        raw=reading.raw(evidence),
        unit=field.unit,
        code=option.concept.coding if option and option.concept else None,
        part=reading.label_at(said.group.start),
        confidence=(_DIRECT if said.direct else _INDIRECT) - (_PREVIOUS if said.previous else 0.0),
        rule=RULE,
        qualifiers=_qualifiers(said),
    )


def _qualifiers(said: Staining) -> Qualifiers:
    found: Qualifiers = {}
    amounts = said.amounts
    if amounts.percent is not None:
        low, high = amounts.percent
        found |= {"percent": high} if low == high else {"percent_low": low, "percent_high": high}
        if amounts.sign:
            found["comparator"] = amounts.sign
    if amounts.intensity is not None and said.result not in ("negative", "lost"):
        found["intensity"] = amounts.intensity
    if amounts.allred is not None:
        found["allred_score"] = amounts.allred
    if amounts.h_score is not None:
        found["h_score"] = amounts.h_score
    if said.ish:
        found["method"] = "in-situ hybridisation"
    if said.previous:
        found["specimen"] = "previous"
    return found


def _result(reading: Reading, field: Field, said: Staining) -> FieldValue | None:
    means: Mapping[str, str] = field.settings["means"]
    if said.result is not None and said.result in means:
        return _value(reading, field, said, means[said.result])
    if said.result is not None or "cutoff" not in field.settings:
        return None
    return _by_cutoff(reading, field, said)


def _by_cutoff(reading: Reading, field: Field, said: Staining) -> FieldValue | None:
    """Return the result that follows from a percent of cells, or from an Allred score where no percent is told."""
    cutoff, amounts = float(field.settings["cutoff"]), said.amounts
    if amounts.percent is not None:
        low, high = amounts.percent
        positive = low >= cutoff and not amounts.sign.startswith(("<", "≤"))
        negative = high < cutoff or (amounts.sign == "<" and high <= cutoff)
        rule = CUTOFF_RULE
    elif amounts.allred is not None:
        positive = amounts.allred >= 3
        negative = not positive
        rule = ALLRED_RULE
    else:
        return None
    if not positive and not negative:
        return None
    value = _value(reading, field, said, "positive" if positive else "negative")
    return replace(value, status=Status.DERIVED, rule=rule, confidence=value.confidence - 0.02)


def _her2(reading: Reading, field: Field, said: Staining) -> FieldValue | None:
    score = said.amounts.her2
    if score is not None and not said.ish:
        derived = _value(reading, field, said, _OF_SCORE[score])
        stated = field.settings["means"].get(said.result)
        if stated == derived.value:
            return derived
        return replace(derived, status=Status.DERIVED, rule=HER2_RULE)
    return _result(reading, field, said)


def _ish_decides(found: list[FieldValue]) -> list[FieldValue]:
    """Leave out equivocal stainings where in-situ hybridisation of a specimen as recent has decided."""
    decided = [value for value in found if value.qualifiers.get("method") and value.value != "equivocal"]
    return [value for value in found if value.value != "equivocal" or not decided]


def _her2_score(reading: Reading, field: Field, said: Staining) -> FieldValue | None:
    score = said.amounts.her2
    if score is None:
        return _score_of_positive(reading, field, said)
    value = replace(_value(reading, field, said, score), status=_certain(said))
    return replace(value, confidence=value.confidence - 0.1) if said.amounts.her2_range else value


def _score_of_positive(reading: Reading, field: Field, said: Staining) -> FieldValue | None:
    """Return 3 for "positive by IHC", which only 3+ is called; a weak positive may be 2+, a negative 0 or 1+."""
    evidence = reading.text[said.start : said.end]
    if said.result != "positive" or said.ish or _WEAK.search(evidence) or not _BY_IHC.search(evidence):
        return None
    value = _value(reading, field, said, 3)
    return replace(value, status=Status.DERIVED, rule=POSITIVE_RULE, confidence=value.confidence - 0.1)


def _certain(said: Staining) -> Status:
    return Status.UNCERTAIN if said.amounts.her2_range else Status.STATED


def _ish(reading: Reading, field: Field, said: Staining) -> FieldValue | None:
    told = said.amounts.her2 is None or said.result in ("amplified", "not_amplified")
    return _result(reading, field, said) if said.ish and told else None


def _ratio(reading: Reading, field: Field, said: Staining) -> FieldValue | None:
    return None if said.amounts.ratio is None else _value(reading, field, said, said.amounts.ratio)


def _percent(reading: Reading, field: Field, said: Staining) -> FieldValue | None:
    """Return the percent; of a range its upper end, with both in the qualifiers."""
    return None if said.amounts.percent is None else _value(reading, field, said, said.amounts.percent[1])


def _proportion(name: str) -> Callable[[Reading, Field, Staining], FieldValue | None]:
    def read(reading: Reading, field: Field, said: Staining) -> FieldValue | None:
        stated = said.amounts.tps if name == "tps" else said.amounts.cps
        if stated is None:
            return None
        value = _value(reading, field, said, stated[1])
        return replace(value, qualifiers={"comparator": stated[0]} if stated[0] else {})

    return read


_READERS: Mapping[str, Callable[[Reading, Field, Staining], FieldValue | None]] = {
    "result": _result,
    "her2": _her2,
    "her2_score": _her2_score,
    "ish": _ish,
    "ratio": _ratio,
    "percent": _percent,
    "tps": _proportion("tps"),
    "cps": _proportion("cps"),
}


def _all_others(reading: Reading, field: Field) -> Iterator[FieldValue]:
    """Yield one value for each listed marker and part: the one most believed."""
    best: dict[tuple[str, str | None, str], FieldValue] = {}
    for said in reading.once(stainings):
        value = _result(reading, field, said)
        if value is None:
            continue
        for marker in said.group.markers:
            if marker in listed():
                key = (marker, value.part, str(value.value))
                if key not in best or best[key].confidence < value.confidence:
                    best[key] = replace(value, qualifiers={"marker": marker, **value.qualifiers})
    yield from best.values()


def _implied(reading: Reading, field: Field) -> Iterator[FieldValue]:
    """Yield what a phrase says of several receptors at once ("triple negative")."""
    for result, wordings in field.settings.get("implied", {}).items():
        for match in compiled(tuple(wordings)).finditer(reading.text):
            if not reading.weight_at(match.start()):
                continue
            evidence = reading.evidence(match.start(), match.end())
            option = field.option(result)
            yield FieldValue(
                field=field.id,
                value=result,
                status=Status.DERIVED,
                evidence=(evidence,),
                raw=reading.raw(evidence),
                code=option.concept.coding if option and option.concept else None,
                part=reading.label_at(match.start()),
                confidence=0.8,
                rule=TRIPLE_RULE,
            )
