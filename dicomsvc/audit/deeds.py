"""What the store and the rooms note about their own deeds, as events.

The store, which knows nothing of audit messages, notes ``stored``, ``delete``, ``conflict``, ``damaged`` and ``sound
again``; rooms note what people do with reports, results and models. Each has a row in `_DEEDS`; a deed that has none
is told as a notice by its name.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import Row

from dicomsvc.audit.events import (
    EVENTS,
    Event,
    Import,
    InstancesAccessed,
    InstancesTransferred,
    PatientRecord,
    Query,
    SecurityAlert,
    StudyDeleted,
)
from dicomsvc.audit.journal import event_of
from dicomsvc.audit.message import Action, Outcome
from dicomsvc.audit.parties import Party, Share, application_entity

_MEDIA: Final = {"import": "urn:dicomsvc:import", "conversion": "urn:dicomsvc:conversion"}


def event_in(row: "Row[Any]") -> Event:
    """Return the event that a row of the journal tells of."""
    if row.action in EVENTS:
        return event_of(row.action, row.detail)
    return _DEEDS.get(row.action, _other)(row)


def _user(row: "Row[Any]") -> Party:
    return Party(row.who, row.address or "")


def _share(row: "Row[Any]", classes: Mapping[str, int]) -> tuple[Share, ...]:
    uid = row.sop_instance_uid
    instances = dict.fromkeys(classes, (uid,)) if uid else {}
    return (Share(row.study_instance_uid or "", row.patient_id, classes, instances),)


def _stored(row: "Row[Any]") -> Event:
    source = row.detail.get("source", "")
    shares = _share(row, {row.sop_class_uid: 1})
    if source in ("dimse", "stow"):
        peer = application_entity(row.who, row.address or "") if source == "dimse" else _user(row)
        action = Action.READ if row.detail.get("duplicate") else Action.CREATE
        return InstancesTransferred(peer=peer, inbound=True, action=action, shares=shares)
    if source in _MEDIA:
        return Import(user=_user(row), medium=_MEDIA[source], shares=shares)
    return InstancesAccessed(user=_user(row), action=Action.CREATE, description=source, shares=shares)


def _deleted(row: "Row[Any]") -> Event:
    shares = _share(row, row.detail.get("classes", {}))
    if row.series_instance_uid is None:
        return StudyDeleted(user=_user(row), shares=shares)
    return InstancesAccessed(user=_user(row), action=Action.DELETE, shares=shares)


def _conflict(row: "Row[Any]") -> Event:
    return SecurityAlert(
        kind="UseOfRestrictedFunction",
        subject=f"urn:oid:{row.sop_instance_uid}",
        performer=_user(row),
        description="other content came under a SOP Instance UID that is stored; it is in quarantine",
        outcome=Outcome.MINOR_FAILURE,
    )


def _file(description: str, outcome: Outcome) -> Callable[["Row[Any]"], Event]:
    def event(row: "Row[Any]") -> Event:
        return SecurityAlert(
            kind="ObjectSecurityAttributesChanged",
            subject=f"urn:oid:{row.sop_instance_uid}",
            description=description.format(row.detail.get("condition", "")),
            outcome=outcome,
        )

    return event


def _report(action: Action) -> Callable[["Row[Any]"], Event]:
    def event(row: "Row[Any]") -> Event:
        report = str(row.detail.get("report", ""))
        if not report:
            return Query(user=_user(row), subject="/api/reports", query=b"", description=row.action)
        shares = (Share(row.study_instance_uid, row.patient_id),) if row.study_instance_uid else ()
        signed = "signed" if row.detail.get("sign") else row.action
        return PatientRecord(user=_user(row), action=action, report=report, shares=shares, description=signed)

    return event


def _other(row: "Row[Any]") -> Event:
    kind = "SoftwareConfiguration" if row.action.endswith(" model") else "ObjectSecurityAttributesChanged"
    about = row.sop_instance_uid or row.study_instance_uid or row.detail.get("sop_instance_uid")
    subject = f"urn:oid:{about}" if about else f"urn:dicomsvc:{row.detail.get('model', 'service')}"
    return SecurityAlert(kind=kind, subject=subject, performer=_user(row), description=row.action)


_DEEDS: Final[Mapping[str, Callable[["Row[Any]"], Event]]] = {
    "stored": _stored,
    "delete": _deleted,
    "conflict": _conflict,
    "damaged": _file("the file of a stored object is {}; the object is no longer served", Outcome.SERIOUS_FAILURE),
    "sound again": _file("the file of a stored object has its bytes again; the object is served", Outcome.SUCCESS),
    "report-search": _report(Action.READ),
    "report-read": _report(Action.READ),
    "report-export": _report(Action.READ),
    "report-review": _report(Action.UPDATE),
    "report-match": _report(Action.UPDATE),
    "report-sr": _report(Action.UPDATE),
}
