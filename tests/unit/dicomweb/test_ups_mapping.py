from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicomsvc.dicomweb.workitems.elements import elements
from dicomsvc.dicomweb.workitems.events import event_report
from dicomsvc.dicomweb.workitems.mapping import Surroundings, procedure_step
from dicomsvc.jobs.items import OUTSIDE, Progress, State, WorkItem
from dicomsvc.jobs.subscriptions import Event
from tests.unit.jobs.test_transitions import NOON, RUNNING

INPUTS = {"study_instance_uid": "1.2", "series_instance_uid": "1.2.1", "model": "nuclei"}
ANALYSIS = replace(RUNNING, inputs=INPUTS, study_instance_uid="1.2")
AROUND = Surroundings(
    "http://pacs.example/dicomweb",
    {"1.2": elements(PatientID="P-1", PatientName={"Alphabetic": "Doe^Jane"}, AccessionNumber="A-1")},
    {"1.2.1": [("1.2.840.10008.5.1.4.1.1.77.1.6", "1.2.1.1")]},
)


def read(item: WorkItem, around: Surroundings = AROUND) -> Dataset:
    """Return a work item as pydicom reads it: what pydicom cannot read is no DICOM JSON."""
    return Dataset.from_json(procedure_step(item, around))


def test_a_running_analysis_says_how_far_it_is() -> None:
    ds = read(ANALYSIS)
    [progress] = ds.ProcedureStepProgressInformationSequence
    assert progress.ProcedureStepProgress == 30 and progress.ProcedureStepProgressDescription == "(30 of 100)"
    counts = {
        item.ConceptNameCodeSequence[0].CodeValue: item.NumericValue
        for item in progress.ProcedureStepProgressParametersSequence
    }
    assert (counts["done"], counts["total"]) == (30, 100) and "time left" in counts
    assert ds.ExpectedCompletionDateTime


def test_our_own_work_has_the_attributes_that_the_standard_asks_for() -> None:
    ds = read(ANALYSIS)
    assert (ds.PatientID, ds.ReferencedRequestSequence[0].AccessionNumber) == ("P-1", "A-1")
    assert ds.ScheduledWorkitemCodeSequence[0].CodeValue == "nuclei"
    assert ds.InputInformationSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.1.1"
    for keyword in (
        "ProcedureStepLabel",
        "WorklistLabel",
        "ScheduledProcedureStepStartDateTime",
        "InputReadinessState",
    ):
        assert getattr(ds, keyword)
    assert ds.ProcedureStepState == "IN PROGRESS" and ds.ScheduledProcedureStepPriority == "MEDIUM"


def test_a_path_of_this_machine_is_in_no_attribute() -> None:
    conversion = replace(ANALYSIS, kind="convert", inputs={"path": "/srv/secret/Doe_Jane.svs", "options": {}})
    assert "secret" not in str(procedure_step(conversion, AROUND))


def test_outputs_are_listed_by_series() -> None:
    made = [
        {"study_instance_uid": "1.2", "series_instance_uid": series, "sop_class_uid": "1.9", "sop_instance_uid": uid}
        for series, uid in (("1.2.8", "1.2.8.1"), ("1.2.8", "1.2.8.2"), ("1.2.9", "1.2.9.1"))
    ]
    done = replace(ANALYSIS, state=State.COMPLETED, ended=NOON, outputs={"instances": made, "model": "nuclei"})
    [performed] = read(done).UnifiedProcedureStepPerformedProcedureSequence
    counts = {item.SeriesInstanceUID: len(item.ReferencedSOPSequence) for item in performed.OutputInformationSequence}
    assert counts == {"1.2.8": 2, "1.2.9": 1}
    assert performed.PerformedProcessingParametersSequence[0].TextValue == "nuclei"


def test_a_converted_slide_is_the_output_of_its_conversion() -> None:
    outputs = {"study_instance_uid": "1.2", "series_instance_uid": "1.2.1"}
    done = replace(ANALYSIS, kind="convert", inputs={}, state=State.COMPLETED, ended=NOON, outputs=outputs)
    [performed] = read(done).UnifiedProcedureStepPerformedProcedureSequence
    [output] = performed.OutputInformationSequence
    assert output.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.1.1"


def test_a_failure_says_why() -> None:
    failed = replace(ANALYSIS, state=State.CANCELED, ended=NOON, error="the slide has no mpp", error_kind="UnfitSlide")
    [progress] = read(failed).ProcedureStepProgressInformationSequence
    assert progress.ReasonForCancellation == "the slide has no mpp"
    assert progress.ProcedureStepCancellationDateTime == "20260102120000.000000+0000"
    lacking = replace(failed, error_kind="OutOfResources")
    [progress] = read(lacking).ProcedureStepProgressInformationSequence
    assert progress.ProcedureStepDiscontinuationReasonCodeSequence[0].CodeValue == "110527"


def test_a_second_try_names_the_first() -> None:
    again = read(replace(ANALYSIS, retry_of="1.2.99"))
    assert again.ReplacedProcedureStepSequence[0].ReferencedSOPInstanceUID == "1.2.99"


def test_a_creator_s_patient_goes_before_the_store_s_for_others_work_only() -> None:
    said = elements(PatientID="P-2")
    assert read(replace(ANALYSIS, kind=OUTSIDE, attributes=said)).PatientID == "P-2"
    assert read(replace(ANALYSIS, attributes=said)).PatientID == "P-1"
    assert read(replace(ANALYSIS, kind=OUTSIDE)).PatientID == "P-1"


def test_a_long_name_of_a_model_is_a_long_code_value() -> None:
    named = read(replace(ANALYSIS, inputs={**INPUTS, "model": "a-model-with-a-long-name"}))
    code = named.ScheduledWorkitemCodeSequence[0]
    assert code.LongCodeValue == "a-model-with-a-long-name" and "CodeValue" not in code


DETAIL: dict[str, Any] = {
    "state": "IN PROGRESS",
    "readiness": "READY",
    "error": None,
    "error_kind": None,
    "cancellation": None,
    "done": 1,
    "total": 4,
    "text": "tiles",
    "worker": "host:1",
    "progress_information": None,
    "stations": None,
    "performers": None,
}


@pytest.mark.parametrize(
    ("event_type", "change", "keyword"),
    [
        (1, {}, "InputReadinessState"),
        (1, {"state": "CANCELED"}, "ProcedureStepDiscontinuationReasonCodeSequence"),
        (2, {"cancellation": elements(RequestingAE="ANNA", ContactDisplayName="Dr. A")}, "RequestingAE"),
        (2, {}, "RequestingAE"),
        (3, {}, "ProcedureStepProgressInformationSequence"),
        (5, {}, "ScheduledStationNameCodeSequence"),
    ],
)
def test_every_event_report_has_what_its_type_requires(event_type: int, change: dict[str, Any], keyword: str) -> None:
    event = Event(70_000, NOON + timedelta(seconds=1), "1.2.3", event_type, DETAIL | change, True)
    report = event_report(event, event.sequence)
    ds = Dataset.from_json({tag: element for tag, element in report.items() if not tag.startswith("0000")})
    assert keyword in ds
    assert report["00001002"]["Value"] == [event_type]
    assert report["00000110"]["Value"] == [70_000 % 65536]
    assert report["00001000"]["Value"] == ["1.2.3"]


def test_human_performers_are_told_when_they_are_assigned() -> None:
    person = elements(
        HumanPerformerCodeSequence=elements(CodeValue="D1", CodingSchemeDesignator="L", CodeMeaning="Dr. One"),
        HumanPerformerOrganization="Pathology",
    )
    detail = DETAIL | {"worker": None, "performers": {"vr": "SQ", "Value": [person]}}
    report = event_report(Event(1, NOON, "1.2.3", 5, detail, True), 1)
    assert report["00404036"]["Value"] == ["Pathology"] and report["00404009"]["Value"]


def test_progress_without_a_total_is_a_description_alone() -> None:
    ds = read(replace(ANALYSIS, progress=Progress(0, 0, "loading")))
    [progress] = ds.ProcedureStepProgressInformationSequence
    assert progress.ProcedureStepProgressDescription == "loading" and "ProcedureStepProgress" not in progress
