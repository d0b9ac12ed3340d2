"""FHIR R4B bundles out, DiagnosticReports in."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle

from dicomsvc.errors import BadRequest, InvalidInstance
from dicomsvc.reports.case import ReportCase
from dicomsvc.reports.fhir import fhir_bundle, read_diagnostic_report
from dicomsvc.reports.intake.received import ReportStatus, Source
from dicomsvc.reports.schema import fields
from dicomsvc.reports.values import FieldValue, Quality, StructuredReport
from tests.unit.reports.exchange_case import CASE, REPORT, SIGNED, TEXT, pdf, place


def resources(kind: str, case: ReportCase = CASE, report: StructuredReport = REPORT) -> list[dict[str, Any]]:
    entries = fhir_bundle(report, case)["entry"]
    return [entry["resource"] for entry in entries if entry["resource"]["resourceType"] == kind]


def observation(title: str) -> dict[str, Any]:
    (found,) = [each for each in resources("Observation") if each["code"]["text"] == title]
    return found


def extensions(resource: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [each for each in resource["extension"] if each["url"].endswith(f"/{name}")]


@pytest.mark.parametrize("transaction", [False, True])
@pytest.mark.parametrize("status", list(ReportStatus))
def test_bundle_is_valid_and_whole(status: ReportStatus, transaction: bool) -> None:
    bundle = fhir_bundle(REPORT, replace(CASE, status=status, sign_off=SIGNED), transaction=transaction)
    Bundle.model_validate_json(json.dumps(bundle))
    urls = [entry["fullUrl"] for entry in bundle["entry"]]
    assert len(set(urls)) == len(urls)
    named = {value for value in _references(bundle) if value.startswith("urn:uuid:")}
    assert named <= set(urls)


def _references(node: object) -> list[str]:
    if isinstance(node, dict):
        own = [node["reference"]] if isinstance(node.get("reference"), str) else []
        return own + [found for child in node.values() for found in _references(child)]
    return [found for child in node for found in _references(child)] if isinstance(node, list) else []


def test_same_report_makes_the_same_bundle() -> None:
    assert fhir_bundle(REPORT, CASE) == fhir_bundle(REPORT, CASE)


def test_report_that_could_not_be_structured_still_goes_out_as_text() -> None:
    unread = StructuredReport("?? ??", Quality(0.1, "und", False, "hardly any letters"), version="1")
    bundle = fhir_bundle(unread, ReportCase("S1", CASE.structured))
    kinds = [entry["resource"]["resourceType"] for entry in bundle["entry"]]
    assert kinds == ["Device", "DiagnosticReport", "Provenance"]


def test_diagnostic_report_holds_text_diagnosis_and_identifiers() -> None:
    (report,) = resources("DiagnosticReport")
    assert base64.b64decode(report["presentedForm"][0]["data"]).decode() == TEXT
    assert report["conclusion"].startswith("A. 左肾 Left kidney")
    types = {each["type"]["coding"][0]["code"]: each["value"] for each in report["identifier"]}
    assert types == {"FILL": "S26-1", "ACSN": "A-77", "PLAC": "PL-1"}
    assert report["imagingStudy"][0]["identifier"]["value"] == f"urn:oid:{CASE.study_instance_uid}"
    assert len(report["specimen"]) == 2


def test_value_points_to_its_words_its_section_and_its_specimen() -> None:
    found = observation("Laterality")
    assert found["valueCodeableConcept"]["coding"][0]["code"] == "7771000"
    (evidence,) = extensions(found, "evidence")
    said = {part["url"]: next(value for key, value in part.items() if key != "url") for part in evidence["extension"]}
    assert TEXT[said["start"] : said["end"]] == said["text"] == "Left"
    entries = {entry["fullUrl"]: entry["resource"] for entry in fhir_bundle(REPORT, CASE)["entry"]}
    section = entries[found["derivedFrom"][0]["reference"]]
    assert section["code"]["coding"][0]["code"] == "22637-3"
    assert entries[found["specimen"]["reference"]]["identifier"] == [{"value": "A"}]


def test_absent_finding_is_coded_and_interpreted() -> None:
    found = observation("Lymphovascular invasion")
    assert found["valueCodeableConcept"]["coding"][0]["code"] == "272519000"
    assert found["interpretation"][0]["coding"][0]["code"] == "NEG"
    assert extensions(found, "assertion")[0]["valueCode"] == "absent"


def test_numbers_have_units_and_qualifiers_are_components() -> None:
    assert observation("made up size")["valueQuantity"] == {
        "value": 4.5,
        "unit": "cm",
        "system": "http://unitsofmeasure.org",
        "code": "cm",
    }
    nodes = observation("made up nodes")
    assert nodes["valueInteger"] == 5
    assert nodes["component"] == [
        {"code": {"text": "sentinel"}, "valueBoolean": False},
        {"code": {"text": "station"}, "valueString": "hilar 肾门"},
    ]


def test_derived_and_contradictory_values_say_so() -> None:
    derived, conflict = observation("made up n"), observation("made up stage")
    assert extensions(derived, "value-status")[0]["valueCode"] == "derived"
    assert derived["method"] == {"text": "pn_from_counts/ajcc8"}
    assert extensions(conflict, "value-status")[0]["valueCode"] == "conflict"
    assert conflict["note"]


def test_what_the_report_does_not_state_has_a_reason_and_no_value() -> None:
    unsaid = [each for each in resources("Observation") if "dataAbsentReason" in each]
    titles = {each["code"]["text"] for each in unsaid}
    assert titles == {
        field.title["en"]
        for field in fields().values()
        if field.belongs_to(("kidney",)) and field.id not in ("laterality", "lymphovascular_invasion")
    }
    for each in unsaid:
        assert each["dataAbsentReason"]["coding"][0]["code"] == "unknown"
        assert not any(key.startswith("value") for key in each)


@pytest.mark.parametrize(
    ("status", "signed", "said"),
    [
        (ReportStatus.FINAL, False, "preliminary"),
        (ReportStatus.FINAL, True, "final"),
        (ReportStatus.CORRECTED, True, "corrected"),
        (ReportStatus.CORRECTED, False, "preliminary"),
        (ReportStatus.CANCELLED, True, "cancelled"),
    ],
)
def test_report_is_final_only_when_a_person_signed_it(status: ReportStatus, signed: bool, said: str) -> None:
    case = replace(CASE, status=status, sign_off=SIGNED if signed else None)
    (report,) = resources("DiagnosticReport", case)
    assert report["status"] == said
    (provenance,) = resources("Provenance", case)
    assert [agent["type"]["text"] for agent in provenance["agent"]] == (
        ["Assembler", "Verifier"] if signed else ["Assembler"]
    )


def test_bundle_that_is_not_valid_is_not_written_and_its_text_not_told() -> None:
    wrong = FieldValue("made_up_size", 4.5, unit="two  blanks of kidney", evidence=place("4.5 cm"))
    with pytest.raises(InvalidInstance, match="not valid at entry") as caught:
        fhir_bundle(replace(REPORT, values=(wrong,)), CASE)
    assert "kidney" not in str(caught.value)


def test_bundle_comes_back_as_the_report() -> None:
    (report,) = read_diagnostic_report(json.dumps(fhir_bundle(REPORT, replace(CASE, sign_off=SIGNED))).encode())
    assert (report.text, report.source, report.status) == (TEXT, Source.FHIR, ReportStatus.FINAL)
    assert (report.report_id, report.accession_number, report.placer_order_number) == ("S26-1", "A-77", "PL-1")
    assert (report.patient_id, report.issuer_of_patient_id) == ("P-1", "HOSP")
    assert report.study_instance_uid == CASE.study_instance_uid


def made(**report: Any) -> dict[str, Any]:
    return {"resourceType": "DiagnosticReport", "id": "r1", "status": "final", "code": {"text": "x"}, **report}


def attached(content: bytes, kind: str) -> dict[str, str]:
    return {"contentType": kind, "data": base64.b64encode(content).decode()}


@pytest.mark.parametrize(
    ("report", "text"),
    [
        ({"presentedForm": [attached("左肾".encode("gb18030"), "text/plain; charset=gb18030")]}, "左肾"),
        ({"presentedForm": [attached(pdf("scan"), "application/pdf"), attached(b"plain", "text/plain")]}, "plain"),
        ({"presentedForm": [attached(pdf("Grade 2"), "application/pdf")]}, "Grade 2"),
        ({"presentedForm": [attached(b"<p>Left</p><p>kidney</p>", "text/html")]}, "Left\nkidney"),
        ({"conclusion": "Benign."}, "Benign."),
        ({"text": {"status": "generated", "div": "<div>Benign.</div>"}}, "Benign."),
    ],
)
def test_text_is_found_where_it_stands(report: dict[str, Any], text: str) -> None:
    assert read_diagnostic_report(made(**report))[0].text.strip() == text


def test_patient_of_the_bundle_is_found_by_reference() -> None:
    patient = {"resourceType": "Patient", "id": "p", "identifier": [{"system": "urn:h", "value": "77"}]}
    report = made(conclusion="Benign.", subject={"reference": "Patient/p"})
    bundle = {"resourceType": "Bundle", "entry": [{"resource": patient}, {"resource": report}]}
    (read,) = read_diagnostic_report(bundle)
    assert (read.patient_id, read.issuer_of_patient_id, read.report_id) == ("77", "urn:h", "r1")


def test_withdrawn_report_needs_no_text() -> None:
    (read,) = read_diagnostic_report(made(status="entered-in-error"))
    assert read.status is ReportStatus.CANCELLED


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{", "no JSON"),
        (b"[]", "DiagnosticReport"),
        (b"[" * 100_000, "no JSON"),
        (made(), "no text"),
        (made(presentedForm=[{"url": "http://127.0.0.1/secret"}]), "not followed"),
        (made(presentedForm=[{"data": "%%%"}]), "base64"),
        (made(presentedForm=[attached(pdf(None), "application/pdf")]), "no text layer"),
        (made(presentedForm="text"), "cannot be read"),
        (made(subject=[1], conclusion="x"), "cannot be read"),
        ({"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Patient"}}]}, "DiagnosticReport"),
        ({"resourceType": "Bundle", "entry": 5}, "cannot be read"),
    ],
)
def test_what_holds_no_report_is_refused_with_the_reason(content: Any, why: str) -> None:
    with pytest.raises(BadRequest, match=why):
        read_diagnostic_report(content)
