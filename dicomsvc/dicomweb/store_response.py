"""The answer to a store transaction: its data set (PS3.18 I.2) and its status (PS3.18 10.5.3)."""

from collections.abc import Sequence
from typing import Any, Final

from dicomsvc.dicomweb.receiver import Failure, Outcome
from dicomsvc.dicomweb.urls import instance_url, study_url
from dicomsvc.errors import NotParseable, OutOfResources, TooLarge
from dicomsvc.store import Stored

_RETRIEVE_URL: Final = "00081190"
_WARNING_REASON: Final = "00081196"
_FAILURE_REASON: Final = "00081197"
_FAILED_SOP_SEQUENCE: Final = "00081198"
_REFERENCED_SOP_SEQUENCE: Final = "00081199"
_REFERENCED_SOP_CLASS_UID: Final = "00081150"
_REFERENCED_SOP_INSTANCE_UID: Final = "00081155"
# Data Set does not match SOP Class: stored, with faults (PS3.4 B.2.3).
_STORED_WITH_FAULTS: Final = 0xB007

JsonItem = dict[str, dict[str, Any]]


def _element(vr: str, *values: object) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


def store_document(outcomes: Sequence[Outcome], root: str, study_instance_uid: str | None) -> JsonItem:
    """Return the data set that tells what became of each part, as DICOM JSON.

    Parameters
    ----------
    root
        URL that each RetrieveURL begins with.
    study_instance_uid
        The study of the request's URL, if it had one.
    """
    stored = [outcome for outcome in outcomes if isinstance(outcome, Stored)]
    failed = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    document: JsonItem = {}
    studies = {study_instance_uid} if study_instance_uid else {item.study_instance_uid for item in stored}
    if stored and len(studies) == 1:
        document[_RETRIEVE_URL] = _element("UR", study_url(root, *studies))
    if failed:
        document[_FAILED_SOP_SEQUENCE] = _element("SQ", *map(_failed_item, failed))
    if stored:
        document[_REFERENCED_SOP_SEQUENCE] = _element("SQ", *(_stored_item(item, root) for item in stored))
    return document


def _stored_item(stored: Stored, root: str) -> JsonItem:
    url = instance_url(root, stored.study_instance_uid, stored.series_instance_uid, stored.sop_instance_uid)
    item = {
        _REFERENCED_SOP_CLASS_UID: _element("UI", stored.sop_class_uid),
        _REFERENCED_SOP_INSTANCE_UID: _element("UI", stored.sop_instance_uid),
        _RETRIEVE_URL: _element("UR", url),
    }
    if stored.warnings:
        item[_WARNING_REASON] = _element("US", _STORED_WITH_FAULTS)
    return item


def _failed_item(failure: Failure) -> JsonItem:
    item: JsonItem = {}
    if failure.sop_instance_uid:
        item[_REFERENCED_SOP_CLASS_UID] = _element("UI", failure.sop_class_uid)
        item[_REFERENCED_SOP_INSTANCE_UID] = _element("UI", failure.sop_instance_uid)
    item[_FAILURE_REASON] = _element("US", failure.error.dimse_status)
    return item


def store_status(outcomes: Sequence[Outcome]) -> int:
    """Return the status for the whole: 200 all, 202 some or with faults, else what all failures have in common."""
    failed = [outcome.error for outcome in outcomes if isinstance(outcome, Failure)]
    if len(failed) < len(outcomes):
        faults = any(isinstance(outcome, Stored) and outcome.warnings for outcome in outcomes)
        return 202 if failed or faults else 200
    for kind, status in ((OutOfResources, 503), (TooLarge, 413), (NotParseable, 400)):
        if all(isinstance(error, kind) for error in failed):
            return status
    return 409
