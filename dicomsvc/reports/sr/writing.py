"""Writes a structured report as Enhanced SR (PS3.3 A.35.2, C.17)."""

from collections.abc import Sequence
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import EnhancedSRStorage

from dicomsvc.errors import Conflict, InvalidInstance
from dicomsvc.objects.codes import coding_scheme_items
from dicomsvc.objects.provenance import Algorithm, Equipment, Identity, Provenance
from dicomsvc.objects.report import ResultReference, document_modules, evidence_item
from dicomsvc.objects.source import SourceSlide, unicode_header
from dicomsvc.reports.case import ReportCase, SignOff
from dicomsvc.reports.intake.received import ReportStatus
from dicomsvc.reports.sr.tree import report_tree
from dicomsvc.reports.values import StructuredReport

NOT_VERIFIED: Final = "Fields found by software in the report, not verified"
VERIFIED: Final = "Fields of the report, verified by a person"
_LONGEST: Final = 64


def report_sr(
    report: StructuredReport,
    case: ReportCase,
    study: Dataset,
    identity: Identity,
    equipment: Equipment,
    *,
    referenced: Sequence[ResultReference] = (),
    predecessors: Sequence[ResultReference] = (),
) -> Dataset:
    """Return the document; `dicomsvc.objects.report.report_file` makes a file of it.

    ``study`` is the data set of any instance of the study that the report is linked to: patient and study are taken
    from there. ``referenced`` are the slides that the report is about, ``predecessors`` earlier documents of this
    report. It is VERIFIED and FINAL when its fields are signed off, else UNVERIFIED and PRELIMINARY.

    Raises
    ------
    Conflict
        When the report was cancelled.
    InvalidInstance
        When the study's instance has values that cannot be read.
    """
    if case.status is ReportStatus.CANCELLED:
        raise Conflict("a cancelled report is not written as a DICOM object")
    words = VERIFIED if case.is_final else NOT_VERIFIED
    ds = document_modules(_study(study), identity, _provenance(report, case, equipment, words), EnhancedSRStorage)
    # The equipment that made the slides had no part in this.
    ds.ContributingEquipmentSequence = ds.ContributingEquipmentSequence[-1:]
    ds.CompletionFlag = "PARTIAL" if case.status is ReportStatus.PRELIMINARY else "COMPLETE"
    ds.CompletionFlagDescription = words[:_LONGEST]
    ds.VerificationFlag = "VERIFIED" if case.is_final else "UNVERIFIED"
    ds.PreliminaryFlag = "FINAL" if case.is_final else "PRELIMINARY"
    if case.is_final and case.sign_off is not None:
        ds.VerifyingObserverSequence = [_verifying_observer(case.sign_off)]
    ds.CodingSchemeIdentificationSequence = coding_scheme_items()
    study_uid = str(study.StudyInstanceUID)
    if referenced:
        ds.CurrentRequestedProcedureEvidenceSequence = [evidence_item(study_uid, referenced)]
    if predecessors:
        ds.PredecessorDocumentsSequence = [evidence_item(study_uid, predecessors)]
    for element in report_tree(report, case, equipment):
        if element.keyword != "RelationshipType":
            ds.add(element)
    return ds


def _study(study: Dataset) -> SourceSlide:
    """Return the study as the common modules want it; a document has no frame of reference and no pixels.

    Raises
    ------
    InvalidInstance
        When the instance has values that cannot be read.
    """
    try:
        return _described(study)
    except Exception as error:  # noqa: BLE001 - border: values of somebody else's data set
        raise InvalidInstance(f"an instance of the study cannot be read ({type(error).__name__})") from None


def _described(study: Dataset) -> SourceSlide:
    return SourceSlide(
        study_instance_uid=str(study.StudyInstanceUID),
        series_instance_uid=str(study.SeriesInstanceUID),
        frame_of_reference_uid=str(study.StudyInstanceUID),
        container_identifier="",
        image_orientation=(0, -1, 0, -1, 0, 0),
        levels=(),
        dataset=unicode_header(study),
    )


def _provenance(report: StructuredReport, case: ReportCase, equipment: Equipment, words: str) -> Provenance:
    algorithm = Algorithm("dicomsvc reports", report.version or "0", codes.DCM.ArtificialIntelligence, "")
    return Provenance(algorithm, equipment, case.structured, "", statement=words)


def _verifying_observer(sign_off: SignOff) -> Dataset:
    item = Dataset()
    item.VerifyingOrganization = sign_off.organisation or "Unknown"
    item.VerificationDateTime = sign_off.when.strftime("%Y%m%d%H%M%S.%f%z")
    item.VerifyingObserverName = sign_off.person_name
    item.VerifyingObserverIdentificationCodeSequence = []
    return item
