"""Instance Availability Notification, its SCU side: tell a peer what can be retrieved here (PS3.4 R)."""

from collections.abc import Sequence
from typing import Final

from pydicom import Dataset

from dicomsvc.dicom.uids import new_uid
from dicomsvc.dimse.commands import (
    AFFECTED_SOP_CLASS_UID,
    AFFECTED_SOP_INSTANCE_UID,
    N_CREATE_RQ,
    encode_request,
)
from dicomsvc.dimse.contexts import MESSAGE_SYNTAXES
from dicomsvc.dimse.pdu import ProposedContext
from dicomsvc.dimse.peers import KnownPeer, KnownPeers
from dicomsvc.dimse.requestor import Association
from dicomsvc.errors import PeerFailure
from dicomsvc.routing.forwards import Forward, ForwardInstance, Forwards
from dicomsvc.store import Store

_SOP_CLASS: Final = "1.2.840.10008.5.1.4.33"
_MESSAGE_ID: Final = 1
_MOST_INSTANCES: Final = 20_000


def notify(store: Store, record: Forward, known: KnownPeer) -> int:
    """Tell a peer of the instances of a forward that are still here, and return its status.

    Raises
    ------
    PeerFailure
        When the peer does not answer, or does not take such notifications.
    """
    instances = Forwards(store.engine).instances(record.id, state="waiting", limit=_MOST_INSTANCES)
    notice = availability(record.study_instance_uid, instances, store.settings.dimse.ae_title)
    peer = KnownPeers(store.engine, store.settings).call(known)
    elements: dict[int, int | str] = {AFFECTED_SOP_CLASS_UID: _SOP_CLASS, AFFECTED_SOP_INSTANCE_UID: new_uid()}
    request = encode_request(N_CREATE_RQ, _MESSAGE_ID, elements)
    with Association(peer, [ProposedContext(1, _SOP_CLASS, MESSAGE_SYNTAXES)]) as association:
        context = next(iter(association.contexts.values()), None)
        if context is None:
            raise PeerFailure(f"{peer.host}:{peer.port} does not take Instance Availability Notifications")
        association.send(context, request, notice)
        status = association.response(_MESSAGE_ID).command.status
    if status is None:
        raise PeerFailure("the peer's response has no status")
    return status


def availability(study_instance_uid: str, instances: Sequence[ForwardInstance], retrieve_ae_title: str) -> Dataset:
    """Return the attributes of an Instance Availability Notification (PS3.3 C.4.23.1)."""
    notice = Dataset()
    notice.ReferencedPerformedProcedureStepSequence = []
    notice.StudyInstanceUID = study_instance_uid
    notice.ReferencedSeriesSequence = []
    of_series: dict[str, Dataset] = {}
    for instance in instances:
        series = of_series.get(instance.series_instance_uid)
        if series is None:
            series = of_series[instance.series_instance_uid] = Dataset()
            series.SeriesInstanceUID, series.ReferencedSOPSequence = instance.series_instance_uid, []
            notice.ReferencedSeriesSequence.append(series)
        reference = Dataset()
        reference.ReferencedSOPClassUID = instance.sop_class_uid
        reference.ReferencedSOPInstanceUID = instance.sop_instance_uid
        reference.InstanceAvailability = "ONLINE"
        reference.RetrieveAETitle = retrieve_ae_title
        series.ReferencedSOPSequence.append(reference)
    return notice
