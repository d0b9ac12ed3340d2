"""Text of reports out of DICOM objects: structured reports of other makers, and Encapsulated PDF (PS3.3 A.35, A.45)."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EncapsulatedPDFStorage,
    EnhancedSRStorage,
)

from dicomsvc.errors import BadRequest, Conflict, DicomsvcError, InvalidInstance, UnsupportedInstance
from dicomsvc.hl7.message import moment
from dicomsvc.objects.codes import code_of, same_concept
from dicomsvc.reports.attachment import text_of
from dicomsvc.reports.intake.received import ReceivedReport, ReportStatus, Source
from dicomsvc.reports.sr.concepts import LANGUAGE, REPORT_TEXT

_DOCUMENTS: Final = (BasicTextSRStorage, EnhancedSRStorage, ComprehensiveSRStorage, Comprehensive3DSRStorage)
_DEEPEST: Final = 24
_MOST_ITEMS: Final = 20_000
_MEASUREMENTS: Final = "1500"


def read_report_object(ds: Dataset) -> ReceivedReport:
    """Return the report that an object holds, linked to the object's study.

    Raises
    ------
    UnsupportedInstance
        When objects of its class hold no report text; measurements of a model (PS3.16 TID 1500) are none.
    Conflict
        When it was written from a report here: it would come round again.
    BadRequest
        When it has no text, as a scanned PDF.
    InvalidInstance
        When it cannot be read.
    """
    try:
        sop_class_uid = ds.get("SOPClassUID")
        if sop_class_uid == EncapsulatedPDFStorage:
            text = _pdf(ds)
        elif sop_class_uid in _DOCUMENTS:
            text = _document(ds)
        else:
            raise UnsupportedInstance("report text is read out of structured reports and Encapsulated PDF")
        if not text.strip():
            raise BadRequest("the object holds no text")
        return _received(ds, text)
    except DicomsvcError:
        raise
    except Exception as error:  # noqa: BLE001 - values of untrusted objects fail in any way inside pydicom
        raise InvalidInstance(f"the report object cannot be read: {type(error).__name__}") from None


def _received(ds: Dataset, text: str) -> ReceivedReport:
    return ReceivedReport(
        text=text,
        source=Source.DICOM,
        status=_status(ds),
        report_id=_first_version(ds),
        accession_number=str(ds.get("AccessionNumber") or ""),
        patient_id=str(ds.get("PatientID") or ""),
        issuer_of_patient_id=str(ds.get("IssuerOfPatientID") or ""),
        study_instance_uid=str(ds.get("StudyInstanceUID") or "") or None,
        observed=_moment(ds),
        sender=str(ds.get("Manufacturer") or ""),
        control_id=str(ds.get("SOPInstanceUID") or ""),
    )


def _pdf(ds: Dataset) -> str:
    content = bytes(ds.get("EncapsulatedDocument") or b"")
    length = ds.get("EncapsulatedDocumentLength")
    return text_of(content[: int(length)] if length else content, "application/pdf")


def _document(ds: Dataset) -> str:
    templates = ds.get("ContentTemplateSequence") or ()
    if any(str(item.get("TemplateIdentifier") or "") == _MEASUREMENTS for item in templates):
        raise UnsupportedInstance("a measurement report (TID 1500) holds no report text")
    return "\n".join(_lines(ds, 0, [0]))


def _lines(parent: Dataset, depth: int, count: list[int]) -> Iterator[str]:
    """Yield the lines of an item's children: a container's name is a heading, a value stands after its name."""
    items: Sequence[Dataset] = parent.get("ContentSequence") or ()
    for item in items:
        count[0] += 1
        if depth > _DEEPEST or count[0] > _MOST_ITEMS:
            return
        if item.get("RelationshipType") in ("HAS OBS CONTEXT", "HAS ACQ CONTEXT", "HAS CONCEPT MOD"):
            continue
        concept = code_of(item.get("ConceptNameCodeSequence"))
        if same_concept(concept, REPORT_TEXT):
            raise Conflict("this document was written from a report: send the report itself")
        if concept is None or not same_concept(concept, LANGUAGE):
            yield from _item(item, concept.meaning if concept is not None else "")
        yield from _lines(item, depth + 1, count)


def _item(item: Dataset, name: str) -> Iterator[str]:
    kind = str(item.get("ValueType") or "")
    value = _value(item, kind)
    if kind == "CONTAINER":
        yield f"{name}:" if name else ""
    elif value and name:
        yield f"{name}:\n{value}" if "\n" in value or len(value) > 100 else f"{name}: {value}"
    elif value:
        yield value


def _value(item: Dataset, kind: str) -> str:
    match kind:
        case "TEXT":
            return str(item.get("TextValue") or "").replace("\r\n", "\n").replace("\r", "\n")
        case "CODE":
            code = code_of(item.get("ConceptCodeSequence"))
            return code.meaning if code is not None else ""
        case "NUM":
            measured = item.get("MeasuredValueSequence")
            if not measured:
                return ""
            unit = code_of(measured[0].get("MeasurementUnitsCodeSequence"))
            number = str(measured[0].get("NumericValue"))
            return number if unit is None or unit.value == "1" or "{" in unit.value else f"{number} {unit.value}"
        case _:
            return ""


def _status(ds: Dataset) -> ReportStatus:
    """Return what the flags say; a document without any is taken for final."""
    flags = [str(ds.get(name) or "") for name in ("CompletionFlag", "VerificationFlag", "PreliminaryFlag")]
    if any(flag in ("PARTIAL", "UNVERIFIED", "PRELIMINARY") for flag in flags):
        return ReportStatus.PRELIMINARY
    return ReportStatus.CORRECTED if ds.get("PredecessorDocumentsSequence") else ReportStatus.FINAL


def _first_version(ds: Dataset) -> str:
    """Return the instance that this one replaces, where it says so, else itself: what its versions have in common."""
    for study in ds.get("PredecessorDocumentsSequence") or ():
        for series in study.get("ReferencedSeriesSequence") or ():
            for instance in series.get("ReferencedSOPSequence") or ():
                return str(instance.get("ReferencedSOPInstanceUID"))
    return str(ds.get("SOPInstanceUID") or "")


def _moment(ds: Dataset) -> datetime | None:
    day, time = str(ds.get("ContentDate") or ""), str(ds.get("ContentTime") or "")
    return moment(f"{day}{time}{ds.get('TimezoneOffsetFromUTC') or ''}") if day else None
