"""Structured reports as Enhanced SR, and report text out of DICOM objects."""

import io
from dataclasses import replace

import highdicom as hd
import pytest
from highdicom import sr
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import EncapsulatedPDFStorage, EnhancedSRStorage, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import PersonName

from dicomsvc.errors import BadRequest, Conflict, InvalidInstance, UnsupportedInstance
from dicomsvc.objects.codes import code_of
from dicomsvc.objects.report import ResultReference, report_file
from dicomsvc.reports.case import ReportCase
from dicomsvc.reports.intake.received import ReportStatus, Source
from dicomsvc.reports.sr import read_report_object, report_sr
from dicomsvc.reports.sr.concepts import name_of
from dicomsvc.reports.values import Quality, StructuredReport
from tests.unit.objects.report_case import report as measurement_report
from tests.unit.objects.result_slide import EQUIPMENT, PATIENT_NAME, identity, slide
from tests.unit.reports.exchange_case import CASE, REPORT, SIGNED, TEXT, pdf


def written(case: ReportCase = CASE, report: StructuredReport = REPORT) -> Dataset:
    source = slide()
    finest = source.levels[0]
    image = ResultReference(source.series_instance_uid, finest.sop_class_uid, finest.sop_instance_uid)
    ds = report_sr(report, case, source.dataset, identity("report"), EQUIPMENT, referenced=[image])
    return dcmread(io.BytesIO(report_file(ds)))


def children(item: Dataset, name: str) -> list[Dataset]:
    found = [(code_of(child.ConceptNameCodeSequence), child) for child in item.get("ContentSequence") or ()]
    return [child for concept, child in found if concept is not None and concept.meaning == name]


def field(ds: Dataset, name: str) -> Dataset:
    (found,) = [item for findings in children(ds, "Findings") for item in children(findings, name)]
    return found


def test_document_belongs_to_the_study_and_is_unicode() -> None:
    ds = written()
    assert (ds.SOPClassUID, ds.SpecificCharacterSet, ds.Modality) == (EnhancedSRStorage, "ISO_IR 192", "SR")
    assert ds.PatientName == PATIENT_NAME
    (study,) = ds.CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == ds.StudyInstanceUID
    assert isinstance(hd.sr.srread(io.BytesIO(report_file(ds))), hd.sr.EnhancedSR)


def test_study_in_another_character_set_is_named_in_unicode() -> None:
    study = slide().dataset
    study.SpecificCharacterSet = "GB18030"
    study.StudyDescription = "肾病理"
    study.file_meta = FileMetaDataset()
    study.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    chinese = io.BytesIO()
    study.PatientName = PersonName("Wang^XiaoDong=王^小东", ["gb18030"])
    dcmwrite(chinese, study, enforce_file_format=True)
    assert "王^小东".encode("gb18030") in chinese.getvalue()
    read = dcmread(io.BytesIO(chinese.getvalue()))
    content = report_file(report_sr(REPORT, CASE, read, identity("report"), EQUIPMENT))
    ds = dcmread(io.BytesIO(content))
    assert (str(ds.PatientName), ds.StudyDescription) == ("Wang^XiaoDong=王^小东", "肾病理")
    assert "王^小东".encode() in content and "王^小东".encode("gb18030") not in content


def test_all_of_the_text_is_there_section_by_section() -> None:
    ds = written()
    said = [
        text.TextValue
        for container in ds.ContentSequence
        if container.ValueType == "CONTAINER"
        for text in children(container, "Text of Report")
    ]
    assert "".join(said) == TEXT
    assert len(said) == 3


def test_fields_are_coded_numeric_or_text() -> None:
    ds = written()
    absent = field(ds, name_of("lymphovascular_invasion", "en").meaning)
    size = field(ds, "made up size")
    assert code_of(absent.ConceptCodeSequence) == Code("272519000", "SCT", "Absent")
    (measured,) = size.MeasuredValueSequence
    assert (measured.NumericValue, measured.MeasurementUnitsCodeSequence[0].CodeValue) == (4.5, "cm")
    assert str(field(ds, "made up nodes").MeasuredValueSequence[0].NumericValue) == "5"
    # A code of a scheme that DICOM has no designator for goes out in words.
    assert (field(ds, "made up type").ValueType, field(ds, "made up type").TextValue) == ("TEXT", "clear cell")


def test_each_value_is_inferred_from_the_words_of_the_report() -> None:
    ds = written()
    for value in REPORT.values:
        (item,) = [
            item
            for findings in children(ds, "Findings")
            for item in findings.ContentSequence
            if any(
                child.get("RelationshipType") == "INFERRED FROM"
                and children(child, "Place in Text of Report, Characters")[0].TextValue
                == f"{value.evidence[0].start}-{value.evidence[0].end}"
                and children(item, "How Value Came to Be")[0].ConceptCodeSequence[0].CodeMeaning.lower() == value.status
                for child in item.get("ContentSequence") or ()
            )
        ]
        (words,) = [child for child in item.ContentSequence if child.RelationshipType == "INFERRED FROM"]
        assert words.TextValue == TEXT[value.evidence[0].start : value.evidence[0].end]


def test_parts_stand_apart_under_their_specimen_identifier() -> None:
    specimens = [
        [each.TextValue for each in children(container, "Specimen Identifier")]
        for container in children(written(), "Findings")
    ]
    assert specimens == [[], ["A"], ["B"]]


@pytest.mark.parametrize(
    ("status", "signed", "flags"),
    [
        (ReportStatus.FINAL, False, ("COMPLETE", "UNVERIFIED", "PRELIMINARY")),
        (ReportStatus.FINAL, True, ("COMPLETE", "VERIFIED", "FINAL")),
        (ReportStatus.PRELIMINARY, True, ("PARTIAL", "UNVERIFIED", "PRELIMINARY")),
    ],
)
def test_flags_follow_the_review(status: ReportStatus, signed: bool, flags: tuple[str, ...]) -> None:
    ds = written(replace(CASE, status=status, sign_off=SIGNED if signed else None))
    assert (ds.CompletionFlag, ds.VerificationFlag, ds.PreliminaryFlag) == flags
    observers = ds.get("VerifyingObserverSequence") or []
    assert [str(each.VerifyingObserverName) for each in observers] == (
        ["Li^Si=李^四"] if flags[1] == "VERIFIED" else []
    )


def test_cancelled_report_is_not_written() -> None:
    with pytest.raises(Conflict):
        written(replace(CASE, status=ReportStatus.CANCELLED))


def test_report_that_could_not_be_structured_goes_out_as_text() -> None:
    ds = written(report=StructuredReport("\x01\x02癌?", Quality(0.0, "und", False, "hardly any letters")))
    (text,) = children(ds, "Text of Report")
    assert text.TextValue == "  癌?"


def test_what_was_written_here_is_not_read_as_a_new_report() -> None:
    with pytest.raises(Conflict, match="from a report"):
        read_report_object(written())


def foreign() -> Dataset:
    """Return a document as a laboratory system writes it."""
    root = sr.ContainerContentItem(Code("11526-1", "LN", "Pathology study"), is_content_continuous=False)
    contains = sr.RelationshipTypeValues.CONTAINS
    diagnosis = sr.ContainerContentItem(Code("22637-3", "LN", "Final Diagnosis"), False, relationship_type=contains)
    diagnosis.ContentSequence = [
        sr.TextContentItem(codes.DCM.Finding, "左肾\r\n透明细胞癌", relationship_type=contains),
        sr.NumContentItem(Code("1", "99X", "Size"), 4.5, codes.UCUM.Centimeter, relationship_type=contains),
        sr.CodeContentItem(Code("2", "99X", "Side"), codes.SCT.Left, relationship_type=contains),
    ]
    root.ContentSequence = [
        sr.CodeContentItem(
            codes.DCM.LanguageOfContentItemAndDescendants,
            Code("zh", "RFC5646", "Chinese"),
            relationship_type=sr.RelationshipTypeValues.HAS_CONCEPT_MOD,
        ),
        diagnosis,
    ]
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.StudyInstanceUID = EnhancedSRStorage, generate_uid(), "1.2.3"
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.AccessionNumber, ds.PatientID, ds.IssuerOfPatientID = "A-9", "P-9", "HOSP"
    ds.ContentDate, ds.ContentTime, ds.TimezoneOffsetFromUTC = "20260102", "030405", "+0800"
    ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "VERIFIED"
    ds.update(root)
    return ds


def test_text_of_a_document_is_read_with_its_headings() -> None:
    report = read_report_object(foreign())
    assert report.text == "Final Diagnosis:\nFinding:\n左肾\n透明细胞癌\nSize: 4.5 cm\nSide: Left"
    assert (report.source, report.status) == (Source.DICOM, ReportStatus.FINAL)
    assert (report.accession_number, report.patient_id, report.study_instance_uid) == ("A-9", "P-9", "1.2.3")
    assert report.observed is not None and report.observed.isoformat() == "2026-01-02T03:04:05+08:00"


def encapsulated(content: bytes) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.StudyInstanceUID = EncapsulatedPDFStorage, generate_uid(), "1.2.3"
    ds.EncapsulatedDocument = content + b"\0" * (len(content) % 2)
    ds.EncapsulatedDocumentLength = len(content)
    return ds


def test_text_layer_of_an_encapsulated_pdf_is_read() -> None:
    assert read_report_object(encapsulated(pdf("Left kidney"))).text.strip() == "Left kidney"


def test_scanned_encapsulated_pdf_is_refused_with_the_reason() -> None:
    with pytest.raises(BadRequest, match="no text layer"):
        read_report_object(encapsulated(pdf(None)))


def test_objects_without_report_text_are_refused() -> None:
    with pytest.raises(UnsupportedInstance, match="TID 1500"):
        read_report_object(measurement_report())
    with pytest.raises(UnsupportedInstance):
        read_report_object(slide().dataset)
    empty = foreign()
    del empty.ContentSequence
    with pytest.raises(BadRequest, match="no text"):
        read_report_object(empty)


def test_broken_document_is_refused() -> None:
    broken = foreign()
    broken.ContentSequence[1].ContentSequence[1].MeasuredValueSequence = [Dataset()]
    broken.ContentSequence[1].ConceptNameCodeSequence[0].CodeMeaning = "x"
    broken.EncapsulatedDocumentLength = None
    broken.add_new("ContentDate", "DA", "20260102")
    broken.ContentSequence[1].add_new("ContentSequence", "LO", "no sequence")
    with pytest.raises((InvalidInstance, BadRequest)):
        read_report_object(broken)


def test_content_that_nests_without_end_is_read_so_far() -> None:
    ds = foreign()
    item = ds
    for _ in range(200):
        child = sr.ContainerContentItem(codes.DCM.Finding, False, relationship_type="CONTAINS")
        item.ContentSequence = [child]
        item = child
    assert read_report_object(ds).text.count("Finding") == 25
