"""Event reports (PS3.18 11.13): what happened to a work item, as PS3.4 CC.2.4.1 and PS3.7 10.1.1 write it."""

from typing import Any, Final

from dicomsvc.dicomweb.workitems.elements import UPS_PUSH, Attributes, elements, first, items, own_code
from dicomsvc.dicomweb.workitems.mapping import progress_item, why_ended
from dicomsvc.jobs.cancellation import cancellation_elements, code_item
from dicomsvc.jobs.items import State
from dicomsvc.jobs.subscriptions import Event, EventType
from dicomsvc.jobs.transitions import tag_of

_N_EVENT_REPORT: Final = 0x0100
_REQUESTED: Final = (
    "RequestingAE",
    "ReasonForCancellation",
    "ProcedureStepDiscontinuationReasonCodeSequence",
    "ContactURI",
    "ContactDisplayName",
)


def event_report(event: Event, message_id: int) -> dict[str, Any]:
    """Return an event report as DICOM JSON: command elements and the event's own."""
    command = elements(
        AffectedSOPClassUID=UPS_PUSH,
        CommandField=_N_EVENT_REPORT,
        MessageID=message_id % 0x10000,
        AffectedSOPInstanceUID=event.uid,
        EventTypeID=event.event_type,
    )
    return command | _information(event)


def _information(event: Event) -> dict[str, Any]:
    detail = event.detail
    match event.event_type:
        case EventType.CANCEL_REQUESTED:
            said = detail.get("cancellation") or {}
            tags = map(tag_of, _REQUESTED)
            return elements(RequestingAE="UNKNOWN") | {tag: said[tag] for tag in tags if tag in said}
        case EventType.PROGRESS_REPORT:
            return elements(ProcedureStepProgressInformationSequence=_progress(detail))
        case EventType.ASSIGNED:
            return _assigned(detail)
        case _:
            return _state(event)


def _state(event: Event) -> dict[str, Any]:
    detail = event.detail
    report = elements(ProcedureStepState=detail["state"], InputReadinessState=detail["readiness"])
    if detail["state"] != State.CANCELED:
        return report
    said = _said(detail)
    if first(said, "ProcedureStepDiscontinuationReasonCodeSequence") is None:
        said = cancellation_elements(
            event.at, detail.get("cancellation"), detail.get("error"), why_ended(detail.get("error_kind"))
        )
    tags = (tag_of("ReasonForCancellation"), tag_of("ProcedureStepDiscontinuationReasonCodeSequence"))
    return report | {tag: said[tag] for tag in tags if tag in said}


def _progress(detail: Attributes) -> Attributes:
    said = _said(detail)
    return said if said else progress_item(detail["done"], detail["total"], detail["text"])


def _said(detail: Attributes) -> Attributes:
    """Return the item of the progress information that a performer outside wrote; empty when there is none."""
    sequence = {tag_of("ProcedureStepProgressInformationSequence"): detail.get("progress_information") or {}}
    return next(iter(items(sequence, "ProcedureStepProgressInformationSequence")), {})


def _assigned(detail: Attributes) -> dict[str, Any]:
    """Return who is to perform it; the human performers' items stand in the event themselves (PS3.4 CC.2.4.1)."""
    worker = detail.get("worker")
    if worker:
        return elements(ScheduledStationNameCodeSequence=code_item(own_code(worker, worker)))
    report: dict[str, Any] = {}
    if detail.get("stations"):
        report[tag_of("ScheduledStationNameCodeSequence")] = detail["stations"]
    performers = {tag_of("ScheduledHumanPerformersSequence"): detail.get("performers") or {}}
    people = list(items(performers, "ScheduledHumanPerformersSequence"))
    coded = [code for person in people for code in items(person, "HumanPerformerCodeSequence")]
    if coded:
        report |= elements(HumanPerformerCodeSequence=coded)
    organisation = next((first(person, "HumanPerformerOrganization") for person in people), None)
    if organisation:
        report |= elements(HumanPerformerOrganization=organisation)
    return report
