"""A structured report as a FHIR R4B Bundle."""

import base64
from collections.abc import Iterator
from typing import Any, Final

from dicomsvc import __version__
from dicomsvc.errors import InvalidInstance
from dicomsvc.reports.case import ReportCase
from dicomsvc.reports.fhir.elements import IDENTIFIER_TYPES, LOINC, Json, concept, human_name, instant, reference, urn
from dicomsvc.reports.fhir.observations import Context, field_observation, printable, section_observation, sites
from dicomsvc.reports.intake.received import ReportStatus
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.schema import fields
from dicomsvc.reports.values import Coding, FieldValue, Status, StructuredReport

_PATHOLOGY_STUDY: Final = Coding(LOINC, "11526-1", "Pathology study")
_PATHOLOGY: Final = Coding(LOINC, "LP7839-6", "Pathology")
_PARTICIPANTS: Final = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
_CONCLUDING: Final = "diagnosis"
_DIAGNOSES: Final = ("histologic_type", "histology", "subtype")
_READ_SECTIONS: Final = 60


def fhir_bundle(report: StructuredReport, case: ReportCase, *, transaction: bool = False) -> dict[str, Any]:
    """Return the bundle as JSON values: a collection, or a transaction that a FHIR server takes.

    Fields of the report's organs that it does not state are there with a data absent reason.

    Raises
    ------
    InvalidInstance
        When ``fhir.resources`` finds it not valid; the message names the element.
    """
    entries = list(_entries(report, case))
    bundle: Json = {
        "resourceType": "Bundle",
        "type": "transaction" if transaction else "collection",
        "timestamp": instant(case.structured),
        "entry": [_entry(url, resource, transaction) for url, resource in entries],
    }
    _check(bundle)
    return bundle


def _entry(url: str, resource: Json, transaction: bool) -> Json:
    entry: Json = {"fullUrl": url, "resource": resource}
    if transaction:
        entry["request"] = {"method": "POST", "url": resource["resourceType"]}
    return entry


def _check(bundle: Json) -> None:
    from fhir.resources.R4B.bundle import Bundle
    from pydantic import ValidationError

    try:
        Bundle.model_validate(bundle)
    except ValidationError as error:
        # The message of pydantic quotes the values.
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise InvalidInstance(f"the FHIR bundle is not valid at {place} ({first['type']})") from None


def _entries(report: StructuredReport, case: ReportCase) -> Iterator[tuple[str, Json]]:
    device = urn("device", __version__, report.version)
    yield device, _device(report)
    specimens = {part: urn(case.report_id, "specimen", part) for part in _parts(report.values)}
    for part, url in specimens.items():
        yield url, _specimen(case, part)
    context = _context(report, case, specimens)
    results: list[str] = []
    for number, url in context.section_urls.items():
        results.append(url)
        yield url, section_observation(context, context.sections[number])
    for number, value in enumerate((*report.values, *_unsaid(report))):
        url = urn(case.report_id, "field", value.field, value.part or "", str(number))
        results.append(url)
        yield url, field_observation(context, value)
    diagnostic = urn(case.report_id, "report")
    yield diagnostic, _diagnostic_report(report, case, context, results)
    yield urn(case.report_id, "provenance"), _provenance(case, device, [diagnostic, *results])


def _context(report: StructuredReport, case: ReportCase, specimens: dict[str, str]) -> Context:
    reading = Reading(report.text, report.quality.language) if report.quality.structured else None
    sections = reading.sections[:_READ_SECTIONS] if reading is not None else ()
    said = {
        n: urn(case.report_id, "section", str(n))
        for n, s in enumerate(sections)
        if report.text[s.start : s.end].strip()
    }
    common: Json = {"status": _observation_status(case), "issued": instant(case.structured)}
    if subject := _subject(case):
        common["subject"] = subject
    if case.reported is not None:
        common["effectiveDateTime"] = instant(case.reported)
    return Context(common, report.quality.language, report.text, sections, said, specimens, sites(report.values))


def _parts(values: tuple[FieldValue, ...]) -> list[str]:
    return sorted({value.part for value in values if value.part is not None})


def _unsaid(report: StructuredReport) -> Iterator[FieldValue]:
    """Yield the fields that were looked for and that the report does not state."""
    if not report.quality.structured:
        return
    said = {value.field for value in report.values}
    for field in fields().values():
        if field.id not in said and field.belongs_to(report.organs):
            yield FieldValue(field.id, None, Status.NOT_STATED)


def _observation_status(case: ReportCase) -> str:
    if case.status is ReportStatus.CANCELLED:
        return "cancelled"
    if not case.is_final:
        return "preliminary"
    return "corrected" if case.status is ReportStatus.CORRECTED else "final"


def _diagnostic_report(report: StructuredReport, case: ReportCase, context: Context, results: list[str]) -> Json:
    resource: Json = {
        "resourceType": "DiagnosticReport",
        "identifier": list(_identifiers(case)),
        "category": [concept("Pathology", _PATHOLOGY)],
        "code": concept("Pathology study", _PATHOLOGY_STUDY),
        **context.common,
        "result": [reference(url) for url in results],
        "presentedForm": [_presented(report)],
    }
    if context.specimen_urls:
        resource["specimen"] = [reference(url) for url in context.specimen_urls.values()]
    if case.sign_off is not None:
        resource["resultsInterpreter"] = [_person(case)]
    if case.study_instance_uid:
        uid = {"system": "urn:dicom:uid", "value": f"urn:oid:{case.study_instance_uid}"}
        resource["imagingStudy"] = [{"type": "ImagingStudy", "identifier": uid}]
    resource |= _conclusion(report, context)
    return {key: value for key, value in resource.items() if value != []}


def _identifiers(case: ReportCase) -> Iterator[Json]:
    for code, text, value in (
        ("FILL", "Filler Identifier", case.report_id),
        ("ACSN", "Accession ID", case.accession_number),
        ("PLAC", "Placer Identifier", case.placer_order_number),
    ):
        if value:
            yield {"type": concept(text, Coding(IDENTIFIER_TYPES, code, text)), "value": value}


def _conclusion(report: StructuredReport, context: Context) -> Json:
    """Return the diagnosis as the report words it, and the codes of the histologic type."""
    said = [
        report.text[section.start : section.end].strip() for section in context.sections if section.kind == _CONCLUDING
    ]
    conclusion: Json = {"conclusion": printable("\n\n".join(filter(None, said)))} if any(said) else {}
    diagnosed = [value for value in report.values if value.field in _DIAGNOSES and value.code is not None]
    if diagnosed:
        conclusion["conclusionCode"] = [concept(str(value.value), value.code) for value in diagnosed]
    return conclusion


def _presented(report: StructuredReport) -> Json:
    attachment: Json = {
        "contentType": "text/plain; charset=utf-8",
        "data": base64.b64encode(report.text.encode("utf-8", "replace")).decode("ascii"),
        "title": "Report as received",
    }
    if report.quality.language in ("en", "zh"):
        attachment["language"] = report.quality.language
    return attachment


def _subject(case: ReportCase) -> Json | None:
    if not case.patient_id:
        return None
    identifier: Json = {"value": case.patient_id}
    if case.issuer_of_patient_id:
        identifier["assigner"] = {"display": case.issuer_of_patient_id}
    subject: Json = {"type": "Patient", "identifier": identifier}
    if case.patient_name:
        subject["display"] = human_name(case.patient_name)
    return subject


def _specimen(case: ReportCase, part: str) -> Json:
    resource: Json = {"resourceType": "Specimen", "identifier": [{"value": part}]}
    if case.accession_number:
        resource["accessionIdentifier"] = {"value": case.accession_number}
    if subject := _subject(case):
        resource["subject"] = subject
    return resource


def _device(report: StructuredReport) -> Json:
    return {
        "resourceType": "Device",
        "deviceName": [{"name": "dicomsvc", "type": "manufacturer-name"}],
        "type": {"text": "Software that reads pathology reports"},
        "version": [
            {"type": {"text": "software"}, "value": __version__},
            {"type": {"text": "rules"}, "value": report.version or "none"},
        ],
    }


def _provenance(case: ReportCase, device: str, targets: list[str]) -> Json:
    resource: Json = {
        "resourceType": "Provenance",
        "target": [reference(url) for url in targets],
        "recorded": instant(case.sign_off.when if case.sign_off else case.structured),
        "agent": [{"type": _participant("assembler", "Assembler"), "who": reference(device)}],
    }
    if case.sign_off is not None:
        agent: Json = {"type": _participant("verifier", "Verifier"), "who": _person(case)}
        if case.sign_off.organisation:
            agent["onBehalfOf"] = {"type": "Organization", "display": case.sign_off.organisation}
        resource["agent"].append(agent)
    return resource


def _person(case: ReportCase) -> Json:
    return {"type": "Practitioner", "display": human_name(case.sign_off.person_name) if case.sign_off else ""}


def _participant(code: str, display: str) -> Json:
    return concept(display, Coding(_PARTICIPANTS, code, display))
