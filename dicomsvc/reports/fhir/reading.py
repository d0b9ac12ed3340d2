"""Reports out of FHIR: a DiagnosticReport, or a Bundle that holds some, as their text (R4 and R4B alike).

What is read is the text: presentedForm (text, HTML, RTF, PDF with a text layer), else conclusion, else the narrative.
Links to documents elsewhere are never followed.
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from dicomsvc.errors import BadRequest, DicomsvcError
from dicomsvc.reports.attachment import plain_text, text_of
from dicomsvc.reports.intake.received import ReceivedReport, ReportStatus, Source

Json = Mapping[str, Any]

_STATUSES: Final = {
    "registered": ReportStatus.PRELIMINARY, "partial": ReportStatus.PRELIMINARY,
    "preliminary": ReportStatus.PRELIMINARY, "final": ReportStatus.FINAL, "amended": ReportStatus.CORRECTED,
    "corrected": ReportStatus.CORRECTED, "appended": ReportStatus.CORRECTED, "cancelled": ReportStatus.CANCELLED,
    "entered-in-error": ReportStatus.CANCELLED, "unknown": ReportStatus.PRELIMINARY,
}  # fmt: skip
_DICOM_UID: Final = "urn:dicom:uid"
_MOST_REPORTS: Final = 100
_TYPES_FIRST: Final = ("text/plain", "text/html", "text/rtf", "application/rtf", "application/pdf")


def read_diagnostic_report(content: bytes | str | Json) -> list[ReceivedReport]:
    """Return the reports of a DiagnosticReport or a Bundle.

    Raises
    ------
    BadRequest
        When it is neither, holds no text, or a document in it cannot be read.
    """
    document = content if isinstance(content, Mapping) else _parsed(content)
    try:
        resources = list(_resources(document))
        reports = [resource for resource in resources if resource.get("resourceType") == "DiagnosticReport"]
        if not reports:
            raise BadRequest("a DiagnosticReport is asked for, or a Bundle with one")
        if len(reports) > _MOST_REPORTS:
            raise BadRequest(f"the bundle holds more than {_MOST_REPORTS} reports")
        return [_received(report, resources) for report in reports]
    except DicomsvcError:
        raise
    except Exception as error:  # noqa: BLE001 - border: JSON of anybody, of any shape
        raise BadRequest(f"the DiagnosticReport cannot be read: {type(error).__name__}") from None


def _parsed(content: bytes | str) -> Json:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise BadRequest("the body is no JSON") from None
    if not isinstance(document, dict):
        raise BadRequest("a DiagnosticReport is asked for, or a Bundle with one")
    return document


def _resources(document: Json) -> Iterator[Json]:
    if document.get("resourceType") != "Bundle":
        yield document
        return
    for entry in document.get("entry") or ():
        resource = entry.get("resource")
        if isinstance(resource, dict):
            # A reference may name an entry by its full URL.
            yield {**resource, "_fullUrl": entry.get("fullUrl")}


def _received(report: Json, resources: list[Json]) -> ReceivedReport:
    status = _STATUSES.get(str(report.get("status")), ReportStatus.PRELIMINARY)
    text = _text(report)
    if not text.strip():
        if status is not ReportStatus.CANCELLED:
            raise BadRequest("the DiagnosticReport has no text: neither presentedForm nor conclusion nor narrative")
        text = ""
    patient_id, issuer = _patient(report, resources)
    own = _identified(report, "FILL", "RI") or _identifier(report) or str(report.get("id") or "")
    return ReceivedReport(
        text=text,
        source=Source.FHIR,
        status=status,
        report_id=own,
        placer_order_number=_identified(report, "PLAC"),
        accession_number=_identified(report, "ACSN"),
        patient_id=patient_id,
        issuer_of_patient_id=issuer,
        study_instance_uid=_study(report, resources),
        observed=_moment(report.get("issued") or report.get("effectiveDateTime")),
    )


def _text(report: Json) -> str:
    forms = [form for form in report.get("presentedForm") or () if form.get("data")]
    forms.sort(key=lambda form: _rank(str(form.get("contentType") or "")))
    for form in forms:
        kind, _, parameters = str(form.get("contentType") or "").partition(";")
        charset = parameters.partition("charset=")[2].strip(' "') or "utf-8"
        if text := text_of(_data(form), kind, charset):
            return text
    conclusion = str(report.get("conclusion") or "")
    if conclusion.strip():
        return conclusion
    narrative = report.get("text") or {}
    if str(narrative.get("div") or ""):
        return plain_text(str(narrative["div"]))
    if any(form.get("url") for form in report.get("presentedForm") or ()):
        raise BadRequest("presentedForm is a link, which is not followed: send the document itself")
    return ""


def _rank(content_type: str) -> int:
    kind = content_type.partition(";")[0].strip().lower()
    return _TYPES_FIRST.index(kind) if kind in _TYPES_FIRST else len(_TYPES_FIRST)


def _data(form: Json) -> bytes:
    try:
        return base64.b64decode("".join(str(form["data"]).split()), validate=True)
    except binascii.Error:
        raise BadRequest("presentedForm.data is not in base64") from None


def _identified(resource: Json, *types: str) -> str:
    """Return the identifier of one of the types of HL7 table 0203."""
    for identifier in resource.get("identifier") or ():
        for code in (identifier.get("type") or {}).get("coding") or ():
            if code.get("code") in types:
                return str(identifier.get("value") or "")
    return ""


def _identifier(resource: Json) -> str:
    """Return the first identifier without a type, or of another than the orders' ones."""
    for identifier in resource.get("identifier") or ():
        codes = {code.get("code") for code in (identifier.get("type") or {}).get("coding") or ()}
        if not codes & {"ACSN", "PLAC"} and identifier.get("value"):
            return str(identifier["value"])
    return ""


def _patient(report: Json, resources: list[Json]) -> tuple[str, str]:
    subject = report.get("subject") or {}
    identifier = subject.get("identifier")
    if not identifier:
        patient = _resolved(report, str(subject.get("reference") or ""), resources)
        identifiers = patient.get("identifier") or () if patient else ()
        records = [each for each in identifiers if _identified({"identifier": [each]}, "MR", "PI")]
        identifier = next(iter(records or identifiers), None)
    if not identifier:
        return "", ""
    assigner = (identifier.get("assigner") or {}).get("display")
    return str(identifier.get("value") or ""), str(assigner or identifier.get("system") or "")


def _resolved(report: Json, reference: str, resources: list[Json]) -> Json | None:
    if not reference:
        return None
    if reference.startswith("#"):
        contained = report.get("contained") or ()
        return next((each for each in contained if each.get("id") == reference[1:]), None)
    for each in resources:
        named = f"{each.get('resourceType')}/{each.get('id')}"
        if reference in (each.get("_fullUrl"), named) or reference.endswith(f"/{named}"):
            return each
    return None


def _study(report: Json, resources: list[Json]) -> str | None:
    for link in report.get("imagingStudy") or ():
        study = _resolved(report, str(link.get("reference") or ""), resources) or {}
        for identifier in (link.get("identifier") or {}, *(study.get("identifier") or ())):
            if identifier.get("system") == _DICOM_UID:
                uid = str(identifier.get("value") or "").removeprefix("urn:oid:")
                if uid and len(uid) <= 64 and uid.replace(".", "").isdigit():
                    return uid
    return None


def _moment(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text)) if text else None
    except ValueError:
        return None
