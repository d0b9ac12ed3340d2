"""Instance Availability Notification SCU: tell another node which instances can be retrieved, and where (PS3.4 R)."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from pydicom import Dataset

from dicomsvc.dicom.uids import new_uid
from dicomsvc.dimse.commands import (
    AFFECTED_SOP_CLASS_UID,
    AFFECTED_SOP_INSTANCE_UID,
    N_CREATE_RQ,
    SUCCESS,
    encode_request,
)
from dicomsvc.dimse.contexts import MESSAGE_SYNTAXES
from dicomsvc.dimse.pdu import ProposedContext
from dicomsvc.dimse.requestor import Association, Peer
from dicomsvc.errors import BadRequest, PeerFailure
from dicomsvc.store import InstanceRecord

SOP_CLASS: Final = "1.2.840.10008.5.1.4.33"
ONLINE: Final = "ONLINE"
_RESPONSE_SECONDS: Final = 60.0
_MESSAGE_ID: Final = 1
# Attribute list error, attribute value out of range, optional attributes not supported (PS3.7 C.4).
_WARNINGS: Final = frozenset({0x0001, 0x0107, 0x0116})


def availability(records: Sequence[InstanceRecord], retrieve_ae_title: str) -> list[Dataset]:
    """Return a notification for each study of the instances (PS3.4 table R.3.2-1).

    No performed procedure step is referenced: this node does not know of which one the instances are.

    Parameters
    ----------
    retrieve_ae_title
        From where the instances can be retrieved at once.
    """
    studies: dict[str, dict[str, list[InstanceRecord]]] = {}
    for record in records:
        studies.setdefault(record.study_instance_uid, {}).setdefault(record.series_instance_uid, []).append(record)
    return [_notification(study, all_series, retrieve_ae_title) for study, all_series in studies.items()]


def _notification(
    study_instance_uid: str, all_series: dict[str, list[InstanceRecord]], retrieve_ae_title: str
) -> Dataset:
    ds = Dataset()
    ds.ReferencedPerformedProcedureStepSequence = []
    ds.StudyInstanceUID = study_instance_uid
    ds.ReferencedSeriesSequence = []
    for series_instance_uid, records in all_series.items():
        of_series = Dataset()
        of_series.SeriesInstanceUID = series_instance_uid
        of_series.ReferencedSOPSequence = list(_instances(records, retrieve_ae_title))
        ds.ReferencedSeriesSequence.append(of_series)
    return ds


def _instances(records: Iterable[InstanceRecord], retrieve_ae_title: str) -> Iterable[Dataset]:
    for record in records:
        item = Dataset()
        item.ReferencedSOPClassUID = record.sop_class_uid
        item.ReferencedSOPInstanceUID = record.sop_instance_uid
        item.InstanceAvailability = ONLINE
        item.RetrieveAETitle = retrieve_ae_title
        yield item


def notify_availability(peer: Peer, records: Sequence[InstanceRecord], retrieve_ae_title: str) -> int:
    """Tell a peer that instances can be retrieved here, and return how many notifications it took: one a study.

    Raises
    ------
    BadRequest
        When there is no instance to tell of.
    PeerFailure
        When the peer cannot be reached, does not take notifications, or refuses one.
    """
    notifications = availability(records, retrieve_ae_title)
    if not notifications:
        raise BadRequest("there is no instance whose availability could be notified")
    peer = replace(peer, response_timeout_seconds=min(peer.response_timeout_seconds, _RESPONSE_SECONDS))
    with Association(peer, [ProposedContext(1, SOP_CLASS, MESSAGE_SYNTAXES)]) as association:
        context = next(iter(association.contexts.values()), None)
        if context is None:
            raise PeerFailure(f"{peer.called_ae_title} does not take notifications of instance availability")
        for notification in notifications:
            uids: dict[int, int | str] = {AFFECTED_SOP_CLASS_UID: SOP_CLASS, AFFECTED_SOP_INSTANCE_UID: new_uid()}
            association.send(context, encode_request(N_CREATE_RQ, _MESSAGE_ID, uids), notification)
            status = association.response(_MESSAGE_ID).command.status
            if status != SUCCESS and status not in _WARNINGS:
                raise PeerFailure(
                    f"{peer.called_ae_title} answers the notification of availability with status {status or 0:#06x}"
                )
    return len(notifications)
