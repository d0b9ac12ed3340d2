"""Observations: one a section with its text, one a value with where in the text it stands (FHIR R4B Observation)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from dicomsvc.reports import coded
from dicomsvc.reports.fhir.elements import CATEGORY, LOINC, Json, concept, extension, field_concept, nested, reference
from dicomsvc.reports.text.sections import Section
from dicomsvc.reports.values import Assertion, Coding, Evidence, FieldValue, Status

SECTION_CODES: Final = {
    "synoptic": Coding(LOINC, "60568-3", "Pathology Synoptic report"),
    "diagnosis": Coding(LOINC, "22637-3", "Pathology report final diagnosis"),
    "gross": Coding(LOINC, "22634-0", "Pathology report gross observation Narrative"),
    "microscopic": Coding(LOINC, "22635-7", "Pathology report microscopic observation Narrative Other stain"),
    "clinical": Coding(LOINC, "22636-5", "Pathology report relevant history"),
}
"""By the kinds of ``text/sections.toml``."""
_ABSENT_REASON: Final = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
_INTERPRETATION: Final = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
_INTERPRETED: Final = {
    "positive": ("POS", "Positive"), "present": ("POS", "Positive"), "negative": ("NEG", "Negative"),
    "absent": ("NEG", "Negative"), "equivocal": ("IND", "Indeterminate"), "indeterminate": ("IND", "Indeterminate"),
}  # fmt: skip
_UCUM: Final = "http://unitsofmeasure.org"
_SITES: Final = ("tumor_site", "primary_site", "specimen_site", "site")
_LONGEST_STRING: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Context:
    """What the observations of a report share; ``section_urls`` and ``specimen_urls`` are full URLs in the bundle."""

    common: Json
    language: str
    text: str
    sections: tuple[Section, ...]
    section_urls: Mapping[int, str]
    specimen_urls: Mapping[str, str]
    sites: Mapping[str | None, FieldValue]

    def section_at(self, place: Evidence) -> int | None:
        return next((n for n, each in enumerate(self.sections) if each.start <= place.start < each.end), None)


def sites(values: tuple[FieldValue, ...]) -> dict[str | None, FieldValue]:
    """Return the values that say where in the body, by part."""
    found: dict[str | None, FieldValue] = {}
    for name in _SITES:
        for value in values:
            if value.field == name and value.value is not None:
                found.setdefault(value.part, value)
    return found


def section_observation(context: Context, section: Section) -> Json:
    text = context.text[section.start : section.end].strip()
    return {
        "resourceType": "Observation",
        **context.common,
        "extension": [_place("section", Evidence(section.start, section.end))],
        "category": [_category("exam", "Exam")],
        "code": concept(section.kind.replace("_", " "), SECTION_CODES.get(section.kind)),
        "valueString": printable(text)[:_LONGEST_STRING],
    }


def field_observation(context: Context, value: FieldValue) -> Json:
    """Return the observation of a value; one that is not stated has a reason in place of a value."""
    observation: Json = {
        "resourceType": "Observation",
        **context.common,
        "category": [_category("laboratory", "Laboratory")],
        "code": field_concept(value.field, context.language),
    }
    if value.value is None or value.status is Status.NOT_STATED:
        observation["dataAbsentReason"] = not_stated()
        return observation
    observation |= _value(value, context.language)
    observation["extension"] = list(_extensions(context, value))
    if (interpretation := _INTERPRETED.get(str(value.value))) is not None:
        code, display = interpretation
        observation["interpretation"] = [concept(display, Coding(_INTERPRETATION, code, display))]
    observation |= _where(context, value)
    if value.rule:
        observation["method"] = {"text": value.rule}
    held_by = [n for n in map(context.section_at, value.evidence) if n in context.section_urls]
    if held_by:
        urls = [url for n, url in context.section_urls.items() if n in held_by]
        observation["derivedFrom"] = [reference(url) for url in urls]
    if value.qualifiers:
        observation["component"] = [_component(name, said) for name, said in sorted(value.qualifiers.items())]
    if value.status is Status.CONFLICT:
        observation["note"] = [{"text": "The report says different things; this is from its weightier place."}]
    return observation


def not_stated() -> Json:
    """Return why there is no value: the report does not say, which is not the same as that there is nothing."""
    return concept("not stated in the report", Coding(_ABSENT_REASON, "unknown", "Unknown"))


def _value(value: FieldValue, language: str) -> Json:
    number = coded.number(value)
    if number is not None and (value.unit or isinstance(number, float)):
        quantity: Json = {"value": number}
        if value.unit:
            quantity |= {"unit": value.unit, "system": _UCUM, "code": value.unit}
        return {"valueQuantity": quantity}
    if number is not None:
        return {"valueInteger": number}
    code = coded.answer(value)
    if code is not None or coded.is_word(value):
        return {"valueCodeableConcept": concept(coded.answer_text(value, language), code)}
    return {"valueString": printable(str(value.value))}


def _where(context: Context, value: FieldValue) -> Json:
    where: Json = {}
    site = context.sites.get(value.part) or context.sites.get(None)
    if site is not None and site.field != value.field:
        where["bodySite"] = concept(coded.answer_text(site, context.language), coded.answer(site))
    if value.part is not None and value.part in context.specimen_urls:
        where["specimen"] = reference(context.specimen_urls[value.part])
    return where


def _extensions(context: Context, value: FieldValue) -> Iterator[Json]:
    yield extension("value-status", valueCode=value.status.value.replace("_", "-"))
    if value.assertion is not Assertion.PRESENT:
        yield extension("assertion", valueCode=value.assertion.value)
    yield extension("confidence", valueDecimal=round(value.confidence, 4))
    for place in value.evidence:
        yield _place("evidence", place, context.text[place.start : place.end])


def _place(name: str, place: Evidence, text: str | None = None) -> Json:
    """Return a place in the report's text (presentedForm), in code points."""
    parts: list[tuple[str, Json]] = [("start", {"valueInteger": place.start}), ("end", {"valueInteger": place.end})]
    if text is not None and text.strip():
        parts.append(("text", {"valueString": printable(text)}))
    return nested(name, parts)


def _component(name: str, said: str | float | int | bool) -> Json:
    component: Json = {"code": concept(name.replace("_", " "))}
    if isinstance(said, bool):
        return component | {"valueBoolean": said}
    if isinstance(said, int):
        return component | {"valueInteger": said}
    if isinstance(said, float):
        return component | {"valueQuantity": {"value": said}}
    return component | {"valueString": printable(said)}


def _category(code: str, display: str) -> Json:
    return concept(display, Coding(CATEGORY, code, display))


def printable(text: str) -> str:
    """Return text without what FHIR's string forbids: control characters but tab and line ends (R4B 2.24.0.1)."""
    kept = "".join(letter if letter >= " " or letter in "\t\n\r" else " " for letter in text)
    return kept if kept.strip() else "-"
