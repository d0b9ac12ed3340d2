"""A work item as a Unified Procedure Step (PS3.3 B.26.2, C.30), in DICOM JSON.

Three layers, the later over the earlier: what a work item of our own can say from its kind and inputs; what its creator
or a performer outside said, verbatim; what only the service knows (state, progress, what was performed, the patient of
the stored study).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicomsvc.dicomweb.urls import series_url
from dicomsvc.dicomweb.workitems.elements import (
    UPS_PUSH,
    Attributes,
    elements,
    items,
    number_item,
    own_code,
    read_code,
    text_item,
)
from dicomsvc.jobs import State, WorkItem
from dicomsvc.jobs.cancellation import (
    DISCONTINUED,
    LACKING_RESOURCES,
    CodedConcept,
    cancellation_elements,
    code_item,
    date_time,
)
from dicomsvc.jobs.transitions import tag_of

WORKLIST: Final = "dicomsvc"
ANALYSIS: Final = "analyze"
ALGORITHM: Final = codes.DCM.AlgorithmName
VERSION: Final = codes.DCM.AlgorithmVersion
PARAMETERS: Final = codes.DCM.AlgorithmParameters
REGION: Final = own_code("region", "Region: column, row, width, height")
REQUESTER: Final = own_code("requester", "Requested by")
WEIGHTS: Final = own_code("weights", "SHA-256 of the model's weights")
DONE: Final = own_code("done", "Pieces of work done")
TOTAL: Final = own_code("total", "Pieces of work in all")
TIME_LEFT: Final = own_code("time left", "Estimated time left")
_KINDS: Final = {
    "convert": "Conversion of a slide file",
    "import": "Import of DICOM files",
    "forward": "Forwarding to another system",
}
# PS3.4 Table CC.2.5-3: there in every answer, empty where nothing is known.
_TYPE_2: Final = (
    "ScheduledStationNameCodeSequence ScheduledStationClassCodeSequence ScheduledStationGeographicLocationCodeSequence "
    "ScheduledProcessingParametersSequence ScheduledWorkitemCodeSequence InputInformationSequence StudyInstanceUID "
    "CommentsOnTheScheduledProcedureStep PatientName PatientID IssuerOfPatientID PatientBirthDate PatientSex "
    "IssuerOfPatientIDQualifiersSequence OtherPatientIDsSequence AdmissionID IssuerOfAdmissionIDSequence "
    "AdmittingDiagnosesDescription AdmittingDiagnosesCodeSequence ReferencedRequestSequence "
    "ProcedureStepProgressInformationSequence UnifiedProcedureStepPerformedProcedureSequence"
).split()
_PATIENT: Final = tuple(
    map(
        tag_of,
        ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
    )
)
_TRANSACTION: Final = tag_of("TransactionUID")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a work item refers to and the store knows.

    Attributes
    ----------
    root
        URL of the DICOMweb service.
    studies
        Study attributes by Study Instance UID, as DICOM JSON.
    instances
        (SOP Class UID, SOP Instance UID) of the instances, by Series Instance UID.
    """

    root: str = ""
    studies: Mapping[str, Attributes] = field(default_factory=dict)
    instances: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)


def procedure_step(item: WorkItem, around: Surroundings) -> dict[str, Any]:
    """Return all attributes of a work item, in the order of their tags."""
    document = elements(**dict.fromkeys(_TYPE_2))
    document |= _scheduled(item, around)
    document |= {tag: element for tag, element in item.attributes.items() if len(element) > 1 or tag not in document}
    document |= _patient(item, around, document)
    document |= _state(item)
    if not item.outside:
        document |= _progress(item) | _performed(item, around, document)
    document.pop(_TRANSACTION, None)
    return dict(sorted(document.items()))


def _scheduled(item: WorkItem, around: Surroundings) -> dict[str, Any]:
    scheduled = elements(
        SpecificCharacterSet="ISO_IR 192",
        WorklistLabel=WORKLIST,
        ProcedureStepLabel=label_of(item)[:64],
        ScheduledProcedureStepStartDateTime=date_time(item.created),
        InputReadinessState="READY",
        StudyInstanceUID=item.study_instance_uid,
    )
    if item.retry_of:
        replaced = elements(ReferencedSOPClassUID=UPS_PUSH, ReferencedSOPInstanceUID=item.retry_of)
        scheduled |= elements(ReplacedProcedureStepSequence=replaced)
    if item.outside:
        return scheduled
    study, series = item.inputs.get("study_instance_uid"), item.inputs.get("series_instance_uid")
    if study and series:
        references = around.instances.get(series, ())
        scheduled |= elements(InputInformationSequence=_reference(around.root, study, series, references))
    return scheduled | elements(
        ScheduledWorkitemCodeSequence=code_item(_work_code(item)),
        ScheduledProcessingParametersSequence=list(_parameters(item)),
    )


def label_of(item: WorkItem) -> str:
    """Return what people call the work."""
    if item.kind == ANALYSIS:
        return f"AI analysis: {item.inputs.get('model', '')}"
    return _KINDS.get(item.kind, item.kind)


def _work_code(item: WorkItem) -> Code:
    if item.kind == ANALYSIS:
        model = str(item.inputs.get("model", ""))
        return own_code(model, model)
    return own_code(item.kind, _KINDS.get(item.kind, item.kind))


def _parameters(item: WorkItem) -> list[dict[str, Any]]:
    parameters = [text_item(REQUESTER, item.requested_by)]
    if item.inputs.get("version"):
        parameters.append(text_item(VERSION, item.inputs["version"]))
    if item.kind == ANALYSIS:
        parameters += [text_item(REGION, json.dumps(region)) for region in item.inputs.get("regions") or ()]
        if item.inputs.get("options"):
            parameters.append(text_item(PARAMETERS, json.dumps(item.inputs["options"], sort_keys=True)))
    return parameters


def _reference(root: str, study: str, series: str, instances: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return an item of the Referenced Instances and Access Macro (PS3.3 10.2.1)."""
    return elements(
        StudyInstanceUID=study,
        SeriesInstanceUID=series,
        TypeOfInstances="DICOM",
        ReferencedSOPSequence=[
            elements(ReferencedSOPClassUID=sop_class_uid, ReferencedSOPInstanceUID=sop_instance_uid)
            for sop_class_uid, sop_instance_uid in instances
        ],
        WADORSRetrievalSequence=elements(RetrieveURL=series_url(root, study, series)),
    )


def _patient(item: WorkItem, around: Surroundings, document: Attributes) -> dict[str, Any]:
    study = around.studies.get(item.study_instance_uid or "")
    if study is None:
        return {}
    found = {tag: study[tag] for tag in _PATIENT if study.get(tag, {}).get("Value")}
    if item.outside:
        # Its creator's word; the store only fills in.
        found = {tag: element for tag, element in found.items() if not document.get(tag, {}).get("Value")}
    if not items(document, "ReferencedRequestSequence"):
        accession = tag_of("AccessionNumber")
        request = elements(StudyInstanceUID=item.study_instance_uid, AccessionNumber=None, RequestedProcedureID=None)
        request |= {accession: study[accession]} if accession in study else {}
        found |= elements(ReferencedRequestSequence=request)
    return found


def _state(item: WorkItem) -> dict[str, Any]:
    return elements(
        SOPClassUID=UPS_PUSH,
        SOPInstanceUID=item.uid,
        ProcedureStepState=str(item.state),
        ScheduledProcedureStepPriority=str(item.priority),
        ScheduledProcedureStepModificationDateTime=date_time(item.updated),
    )


def progress_item(done: int, total: int, text: str) -> dict[str, Any]:
    """Return the item of Procedure Step Progress Information Sequence for a progress."""
    counts = f"{done} of {total}" if total else ""
    said = elements(ProcedureStepProgressDescription=" ".join(filter(None, (text, counts and f"({counts})"))) or None)
    if total:
        said |= elements(
            ProcedureStepProgress=round(min(100.0 * done / total, 100.0), 1),
            ProcedureStepProgressParametersSequence=[
                number_item(DONE, done, codes.UCUM.NoUnits),
                number_item(TOTAL, total, codes.UCUM.NoUnits),
            ],
        )
    return said


def _progress(item: WorkItem) -> dict[str, Any]:
    if item.state is State.SCHEDULED:
        return {}
    progress = progress_item(item.progress.done, item.progress.total, item.progress.text)
    extra: dict[str, Any] = {}
    left = item.time_left_seconds()
    if left is not None:
        parameters = tag_of("ProcedureStepProgressParametersSequence")
        progress[parameters]["Value"].append(number_item(TIME_LEFT, left, codes.UCUM.Second))
        ends = (item.progress_at or item.updated) + timedelta(seconds=left)
        extra = elements(ExpectedCompletionDateTime=date_time(ends))
    if item.state is State.CANCELED:
        progress |= cancellation_elements(
            item.ended or item.updated, item.cancellation, item.error, why_ended(item.error_kind)
        )
    return extra | elements(ProcedureStepProgressInformationSequence=progress)


def why_ended(error_kind: str | None) -> CodedConcept:
    """Return the code for the end of a work item that failed with such an error, or was cancelled."""
    return LACKING_RESOURCES if error_kind == "OutOfResources" else DISCONTINUED


def _performed(item: WorkItem, around: Surroundings, document: Attributes) -> dict[str, Any]:
    if item.started is None:
        return {}
    worker = item.worker or WORKLIST
    done_by = code_item(own_code(worker, worker))
    scheduled = list(items(document, "ScheduledWorkitemCodeSequence"))
    performed = elements(
        PerformedStationNameCodeSequence=done_by,
        PerformedProcedureStepStartDateTime=date_time(item.started),
        PerformedProcedureStepDescription=label_of(item)[:64],
        PerformedWorkitemCodeSequence=scheduled or code_item(_work_code(item)),
        PerformedProcessingParametersSequence=_used(item.outputs),
        OutputInformationSequence=list(_outputs(item.outputs, around)),
    )
    if item.ended is not None:
        performed |= elements(PerformedProcedureStepEndDateTime=date_time(item.ended))
    return elements(UnifiedProcedureStepPerformedProcedureSequence=performed, ScheduledStationNameCodeSequence=done_by)


def _used(outputs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the model as it was used, from outputs ``model``, ``version``, ``weights_sha256``."""
    names = (("model", ALGORITHM), ("version", VERSION), ("weights_sha256", WEIGHTS))
    return [text_item(code, outputs[name]) for name, code in names if outputs.get(name)]


def _outputs(outputs: Mapping[str, Any], around: Surroundings) -> list[dict[str, Any]]:
    return [
        _reference(around.root, study, series, references)
        for (study, series), references in output_series(outputs, around.instances).items()
    ]


def output_series(
    outputs: Mapping[str, Any], known: Mapping[str, Sequence[tuple[str, str]]]
) -> dict[tuple[str, str], Sequence[tuple[str, str]]]:
    """Return what came out, by study and series: ``instances`` of the outputs, or the series that they name."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for made in outputs.get("instances") or ():
        key = (str(made["study_instance_uid"]), str(made["series_instance_uid"]))
        found.setdefault(key, []).append((str(made["sop_class_uid"]), str(made["sop_instance_uid"])))
    study, series = outputs.get("study_instance_uid"), outputs.get("series_instance_uid")
    if not found and study and series:
        return {(str(study), str(series)): known.get(str(series), ())}
    return dict(found)


def scheduled_code(attributes: Attributes) -> tuple[str, str]:
    """Return value and scheme of the first Scheduled Workitem Code; empty when there is none."""
    for item in items(attributes, "ScheduledWorkitemCodeSequence"):
        value, scheme, _ = read_code(item)
        return value, scheme
    return "", ""
