"""The content tree: the report's sections as text, its fields as coded, numeric and text items with their evidence."""

from collections.abc import Iterator
from typing import Final

from highdicom import sr
from highdicom.sr.value_types import ContentItem
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicomsvc.objects.provenance import Equipment
from dicomsvc.objects.report_tree import device_uid
from dicomsvc.reports import coded
from dicomsvc.reports.case import ReportCase
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.sr import concepts
from dicomsvc.reports.values import Assertion, Evidence, FieldValue, Status, StructuredReport

_CONTAINS: Final = sr.RelationshipTypeValues.CONTAINS
_PROPERTY: Final = sr.RelationshipTypeValues.HAS_PROPERTIES
_INFERRED: Final = sr.RelationshipTypeValues.INFERRED_FROM
_MODIFIES: Final = sr.RelationshipTypeValues.HAS_CONCEPT_MOD
_CONTEXT: Final = sr.RelationshipTypeValues.HAS_OBS_CONTEXT


def report_tree(report: StructuredReport, case: ReportCase, equipment: Equipment) -> Dataset:
    """Return the root content item."""
    root = sr.ContainerContentItem(concepts.TITLE, is_content_continuous=False)
    items = sr.ContentSequence(is_root=False)
    if (language := concepts.language_code(report.quality.language)) is not None:
        items.append(sr.CodeContentItem(concepts.LANGUAGE, language, relationship_type=_MODIFIES))
    items.extend(_observers(report, case, equipment))
    items.extend(_sections(report))
    by_part: dict[str | None, list[FieldValue]] = {}
    for value in report.values:
        if value.value is not None and value.status is not Status.NOT_STATED:
            by_part.setdefault(value.part, []).append(value)
    for part, values in sorted(by_part.items(), key=lambda entry: entry[0] or ""):
        items.append(_findings(report, part, values))
    root.ContentSequence = items
    return root


def _observers(report: StructuredReport, case: ReportCase, equipment: Equipment) -> Iterator[ContentItem]:
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=device_uid(equipment),
        name=f"dicomsvc reports, rules {report.version}",
        manufacturer_name=equipment.manufacturer,
        model_name=" ".join((equipment.manufacturer_model_name, *equipment.software_versions)),
        serial_number=equipment.device_serial_number,
        role_in_procedure=codes.DCM.Performing,
    )
    yield from sr.ObserverContext(codes.DCM.Device, device)
    if case.sign_off is not None:
        person = sr.PersonObserverIdentifyingAttributes(
            name=case.sign_off.person_name,
            organization_name=case.sign_off.organisation or None,
            role_in_procedure=codes.DCM.Verifying,
        )
        yield from sr.ObserverContext(codes.DCM.Person, person)


def _sections(report: StructuredReport) -> Iterator[ContentItem]:
    """Yield the text as it was received, section by section; what headings it has stand before the next one."""
    if not report.quality.structured:
        yield _text(concepts.REPORT_TEXT, report.text, _CONTAINS)
        return
    sections = Reading(report.text, report.quality.language).sections
    ends = [*(section.end for section in sections[:-1]), len(report.text)]
    # From one section's end to the next one's: headings stand before what they head, and nothing is left out.
    for section, start, end in zip(sections, [0, *ends[:-1]], ends, strict=True):
        if report.text[start:end].strip():
            container = sr.ContainerContentItem(
                concepts.section_name(section.kind), is_content_continuous=False, relationship_type=_CONTAINS
            )
            item = _text(concepts.REPORT_TEXT, report.text[start:end], _CONTAINS)
            item.ContentSequence = _items(_place(Evidence(start, end)))
            container.ContentSequence = _items(item)
            yield container


def _findings(report: StructuredReport, part: str | None, values: list[FieldValue]) -> ContentItem:
    container = sr.ContainerContentItem(concepts.FINDINGS, is_content_continuous=False, relationship_type=_CONTAINS)
    items = sr.ContentSequence(is_root=False)
    if part is not None:
        items.append(sr.TextContentItem(concepts.SPECIMEN_IDENTIFIER, clean(part), relationship_type=_CONTEXT))
    items.extend(_field(report, value) for value in values)
    container.ContentSequence = items
    return container


def _field(report: StructuredReport, value: FieldValue) -> ContentItem:
    item = _valued(value, report.quality.language)
    children = sr.ContentSequence(is_root=False)
    children.append(sr.CodeContentItem(concepts.VALUE_STATUS, concepts.status_code(value), relationship_type=_PROPERTY))
    if value.assertion is not Assertion.PRESENT:
        children.append(_text(concepts.ASSERTION, value.assertion.value, _PROPERTY))
    if value.rule:
        children.append(_text(concepts.RULE, value.rule, _PROPERTY))
    for name, said in sorted(value.qualifiers.items()):
        children.append(_text(concepts.private(name, name.replace("_", " ")), str(said), _PROPERTY))
    for place in value.evidence:
        evidence = _text(concepts.REPORT_TEXT, report.text[place.start : place.end], _INFERRED)
        evidence.ContentSequence = _items(_place(place))
        children.append(evidence)
    item.ContentSequence = children
    return item


def _valued(value: FieldValue, language: str) -> ContentItem:
    name = concepts.name_of(value.field, language)
    number = coded.number(value)
    if number is not None:
        item = sr.NumContentItem(name, number, concepts.unit_code(value.unit), relationship_type=_CONTAINS)
        if float(number).is_integer():
            # A count is written as one: 5, not 5.0.
            item.MeasuredValueSequence[0].NumericValue = str(int(number))
        return item
    answer = coded.answer(value)
    code = concepts.coded_concept(answer) if answer is not None else None
    if code is not None:
        return sr.CodeContentItem(name, code, relationship_type=_CONTAINS)
    return _text(name, coded.answer_text(value, language), _CONTAINS)


def _place(place: Evidence) -> ContentItem:
    return _text(concepts.PLACE, f"{place.start}-{place.end}", _PROPERTY)


def _items(*items: ContentItem) -> sr.ContentSequence:
    sequence = sr.ContentSequence(is_root=False)
    sequence.extend(items)
    return sequence


def _text(name: Code, text: str, relationship: sr.RelationshipTypeValues) -> ContentItem:
    return sr.TextContentItem(name, clean(text) or "-", relationship_type=relationship)


def clean(text: str) -> str:
    """Return text without the control characters that Unlimited Text forbids (PS3.5 6.1.3), as long as it was."""
    return "".join(
        letter if (letter >= " " and not "\x7f" <= letter < "\xa0") or letter in "\t\n\r\f" else " " for letter in text
    )
