"""Instance Availability Notification to pynetdicom (PS3.4 R)."""

from collections.abc import Callable, Iterator

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import InstanceAvailabilityNotification, Verification

from dicomsvc.dimse import Peer
from dicomsvc.dimse.availability import notify_availability
from dicomsvc.errors import BadRequest, PeerFailure
from dicomsvc.store import InstanceRecord, Store
from tests.instances import VL_WHOLE_SLIDE, wsi_dataset
from tests.integration.archive import keep
from tests.integration.commitment_peer import free_port


class Listener:
    """A node that takes notifications."""

    def __init__(self) -> None:
        self.port = free_port()
        self.taken: list[tuple[str, Dataset]] = []
        self.status = 0x0000

    def start(self, sop_class: object) -> object:
        ae = AE("RIS")
        ae.add_supported_context(sop_class)
        return ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_N_CREATE, self._take)])

    def _take(self, event: Event) -> tuple[int, Dataset | None]:
        self.taken.append((str(event.request.AffectedSOPInstanceUID), event.attribute_list))
        return self.status, Dataset()


@pytest.fixture
def listening() -> Iterator[Callable[..., Listener]]:
    servers = []

    def start(sop_class: object = InstanceAvailabilityNotification) -> Listener:
        listener = Listener()
        servers.append(listener.start(sop_class))
        return listener

    yield start
    for server in servers:
        server.shutdown()  # type: ignore[attr-defined]


@pytest.fixture
def records(store: Store) -> list[InstanceRecord]:
    """Two series of one study with two instances each, and another study with one."""
    study = generate_uid()
    series = [generate_uid(), generate_uid()]
    kept = keep(
        store,
        *(
            wsi_dataset(study_instance_uid=study, series_instance_uid=series[number // 2], seed=number)
            for number in range(4)
        ),
        wsi_dataset(seed=9),
    )
    found = store.instances.find_sop_instances([one.sop_instance_uid for one in kept])
    return [found[one.sop_instance_uid] for one in kept]


def test_each_study_is_notified_with_its_series_and_instances(
    listening: Callable[..., Listener], records: list[InstanceRecord]
) -> None:
    listener = listening()
    assert notify_availability(Peer("127.0.0.1", listener.port, "RIS"), records, "SLIDES") == 2
    (first_uid, first), (second_uid, second) = listener.taken
    assert first_uid != second_uid
    assert first.StudyInstanceUID == records[0].study_instance_uid
    assert second.StudyInstanceUID == records[4].study_instance_uid
    assert len(first.ReferencedPerformedProcedureStepSequence) == 0
    assert [len(series.ReferencedSOPSequence) for series in first.ReferencedSeriesSequence] == [2, 2]
    told = [
        (series.SeriesInstanceUID, item.ReferencedSOPInstanceUID)
        for ds in (first, second)
        for series in ds.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    ]
    assert told == [(record.series_instance_uid, record.sop_instance_uid) for record in records]
    item = first.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert (item.ReferencedSOPClassUID, item.InstanceAvailability, item.RetrieveAETitle) == (
        VL_WHOLE_SLIDE,
        "ONLINE",
        "SLIDES",
    )


def test_a_refused_notification_is_a_failure_and_a_warning_is_none(
    listening: Callable[..., Listener], records: list[InstanceRecord]
) -> None:
    listener = listening()
    peer = Peer("127.0.0.1", listener.port, "RIS")
    listener.status = 0x0116
    assert notify_availability(peer, records[:1], "SLIDES") == 1
    listener.status = 0x0110
    with pytest.raises(PeerFailure, match="0x0110"):
        notify_availability(peer, records[:1], "SLIDES")


def test_a_node_that_takes_no_notifications_is_told_apart(
    listening: Callable[..., Listener], records: list[InstanceRecord]
) -> None:
    with pytest.raises(PeerFailure, match="does not take"):
        notify_availability(Peer("127.0.0.1", listening(Verification).port, "RIS"), records, "SLIDES")


def test_nothing_is_not_notified() -> None:
    with pytest.raises(BadRequest):
        notify_availability(Peer("127.0.0.1", 1), [], "SLIDES")
