"""Structured reports of what a model found: Comprehensive 3D SR of template TID 1500 (PS3.3 A.35.13, PS3.16 A).

In go plain values; out comes one document that says what was measured, by which model with which settings, on which
slide, and which objects show it. Nobody has verified it: that is what `dicomsvc.objects.verification` records.
highdicom needs some ten milliseconds a group: a report is for slides, regions and classes. Single cells belong into
bulk annotations.
"""

from collections.abc import Iterable

from pydicom.dataset import Dataset
from pydicom.uid import UID, Comprehensive3DSRStorage, ExplicitVRLittleEndian

from dicomsvc.objects.codes import coding_scheme_items
from dicomsvc.objects.common import NOT_VERIFIED, common_modules
from dicomsvc.objects.part10 import Write, header
from dicomsvc.objects.provenance import Identity, Provenance
from dicomsvc.objects.report_content import (
    Evaluation,
    ReportContent,
    ReportGroup,
    ReportMeasurement,
    ResultReference,
)
from dicomsvc.objects.report_text import report_text
from dicomsvc.objects.report_tree import report_root
from dicomsvc.objects.source import SourceSlide

# The modules of frame of reference, specimen and series references are no part of this IOD (PS3.3 A.35.13.3).
_OF_OTHER_OBJECTS = (
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "ContainerIdentifier",
    "IssuerOfTheContainerIdentifierSequence",
    "AlternateContainerIdentifierSequence",
    "ContainerTypeCodeSequence",
    "ContainerDescription",
    "ContainerComponentSequence",
    "SpecimenDescriptionSequence",
)


def report_dataset(source: SourceSlide, content: ReportContent, identity: Identity, provenance: Provenance) -> Dataset:
    """Return a report, complete and not verified.

    Raises
    ------
    InvalidInstance
        When it would not be valid: no group, an empty group, a number that is not finite, a region of two points.
    """
    ds = document_modules(source, identity, provenance, Comprehensive3DSRStorage)
    ds.CompletionFlag = "COMPLETE"
    ds.CompletionFlagDescription = NOT_VERIFIED
    ds.VerificationFlag = "UNVERIFIED"
    ds.PreliminaryFlag = "PRELIMINARY"
    ds.CodingSchemeIdentificationSequence = coding_scheme_items()
    finest = source.levels[0]
    slide = ResultReference(source.series_instance_uid, finest.sop_class_uid, finest.sop_instance_uid)
    ds.CurrentRequestedProcedureEvidenceSequence = [
        evidence_item(source.study_instance_uid, [slide, *_referenced(content)])
    ]
    for element in report_root(source, content, provenance, identity.sop_instance_uid):
        ds.add(element)
    return ds


def write_report(
    write: Write, source: SourceSlide, content: ReportContent, identity: Identity, provenance: Provenance
) -> None:
    """Write a report as a Part 10 file; see `report_dataset`."""
    write(report_file(report_dataset(source, content, identity, provenance)))


def report_file(dataset: Dataset) -> bytes:
    """Return a report as a Part 10 file in Explicit VR Little Endian, which viewers ask for.

    Raises
    ------
    InvalidInstance
        When a value does not fit its value representation.
    """
    return header(dataset, ExplicitVRLittleEndian)


def document_modules(source: SourceSlide, identity: Identity, provenance: Provenance, sop_class_uid: str) -> Dataset:
    """Return the modules that documents have in common, without the flags and the content (PS3.3 A.35, C.17)."""
    ds = common_modules(source, identity, provenance, "SR", sop_class_uid, referenced=())
    for keyword in _OF_OTHER_OBJECTS:
        if keyword in ds:
            delattr(ds, keyword)
    ds.ReferencedPerformedProcedureStepSequence = []
    ds.PerformedProcedureCodeSequence = []
    return ds


def evidence_item(study_instance_uid: str, references: Iterable[ResultReference]) -> Dataset:
    """Return an item for objects of one study, by series (PS3.3 C.17.2.3)."""
    item = Dataset()
    item.StudyInstanceUID = UID(study_instance_uid)
    item.ReferencedSeriesSequence = list(_series(references))
    return item


def _referenced(content: ReportContent) -> Iterable[ResultReference]:
    for group in content.groups:
        for reference in (group.segmentation, group.annotations):
            if reference is not None:
                yield reference
    yield from content.results


def _series(references: Iterable[ResultReference]) -> Iterable[Dataset]:
    by_series: dict[str, list[ResultReference]] = {}
    for reference in dict.fromkeys(references):
        by_series.setdefault(reference.series_instance_uid, []).append(reference)
    for series_instance_uid, instances in by_series.items():
        series = Dataset()
        series.SeriesInstanceUID = UID(series_instance_uid)
        series.ReferencedSOPSequence = [_instance(instance) for instance in instances]
        yield series


def _instance(reference: ResultReference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = UID(reference.sop_class_uid)
    item.ReferencedSOPInstanceUID = UID(reference.sop_instance_uid)
    return item


__all__ = [
    "Evaluation",
    "ReportContent",
    "ReportGroup",
    "ReportMeasurement",
    "ResultReference",
    "document_modules",
    "evidence_item",
    "report_dataset",
    "report_file",
    "report_text",
    "write_report",
]
