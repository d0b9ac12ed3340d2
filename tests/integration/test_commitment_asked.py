"""Storage commitment that this node asks of other archives: of pynetdicom's, and of another dicomsvc (PS3.4 J)."""

import threading
from collections.abc import Callable, Iterator

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, build_role, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from dicomsvc.config import CommitmentSettings, DimseSettings, PeerSettings, Permission, Settings
from dicomsvc.dimse import Peer
from dicomsvc.dimse.commitment import (
    AskedState,
    ask_again,
    ask_anew,
    commitment_result,
    latest_requests,
    request_commitment,
)
from dicomsvc.dimse.peers import KnownPeer, KnownPeers
from dicomsvc.errors import BadRequest, PeerFailure
from dicomsvc.pacs.commitment import CommitmentUpkeep
from dicomsvc.store import Store
from tests.certificates import Authority
from tests.instances import VL_WHOLE_SLIDE, wsi_dataset
from tests.integration.archive import keep
from tests.integration.commitment_peer import Node, free_port, referenced, until

ARCHIVE = "ARCHIVE"
FAST = CommitmentSettings(quiet_seconds=0.3, retry_seconds=0.1, retry_longest_seconds=0.2)
INSTANCES = [(VL_WHOLE_SLIDE, generate_uid()) for _ in range(3)]


class Archive:
    """pynetdicom as the SCP: it answers requests, and reports as it is told to."""

    def __init__(self, *, status: int = 0x0000) -> None:
        self.port = free_port()
        self.requests: list[Dataset] = []
        self.status = status
        self.report_on_same: Callable[[Event, Dataset], None] | None = None
        self._server: object | None = None

    def start(self) -> None:
        ae = AE(ARCHIVE)
        ae.add_supported_context(StorageCommitmentPushModel)
        self._server = ae.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_N_ACTION, self._take)]
        )

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()  # type: ignore[attr-defined]

    def _take(self, event: Event) -> tuple[int, None]:
        self.requests.append(event.action_information)
        if self.status == 0 and self.report_on_same is not None:
            threading.Timer(0.3, self.report_on_same, (event, event.action_information)).start()
        return self.status, None

    def report(
        self, port: int, transaction_uid: str, failed: dict[str, int] | None = None, calling: str = ARCHIVE
    ) -> int:
        """Open an association as the SCP and return the status that the report is answered with."""
        ae = AE(calling)
        ae.add_requested_context(StorageCommitmentPushModel)
        role = build_role(StorageCommitmentPushModel, scu_role=False, scp_role=True)
        assoc = ae.associate("127.0.0.1", port, ext_neg=[role])
        assert assoc.is_established
        [context] = assoc.accepted_contexts
        assert (context.as_scu, context.as_scp) == (False, True)
        ds = event_information(transaction_uid, failed or {})
        status, _ = assoc.send_n_event_report(
            ds, 2 if failed else 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        assoc.release()
        value: int = status.Status
        return value


def event_information(transaction_uid: str, failed: dict[str, int]) -> Dataset:
    ds = Dataset()
    ds.TransactionUID = transaction_uid
    ds.ReferencedSOPSequence = referenced([pair for pair in INSTANCES if pair[1] not in failed])
    if failed:
        ds.FailedSOPSequence = referenced([pair for pair in INSTANCES if pair[1] in failed])
        for item in ds.FailedSOPSequence:
            item.FailureReason = failed[item.ReferencedSOPInstanceUID]
    return ds


@pytest.fixture
def archive() -> Iterator[Archive]:
    made = Archive()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def store(settings: Settings, archive: Archive) -> Iterator[Store]:
    peer = PeerSettings(
        ae_title=ARCHIVE, host="127.0.0.1", port=archive.port, may=frozenset({Permission.COMMITMENT, Permission.STORE})
    )
    with Store(settings.model_copy(update={"peers": {"archive": peer}, "commitment": FAST})) as opened:
        yield opened


def peer_of(archive: Archive) -> Peer:
    return Peer("127.0.0.1", archive.port, ARCHIVE)


def test_a_report_on_an_association_of_the_archive_is_kept(store: Store, archive: Archive) -> None:
    uid = generate_uid()
    result = request_commitment(store.engine, peer_of(archive), INSTANCES, uid, wait_seconds=0)
    assert (result.state, result.unanswered) == (AskedState.ASKED, tuple(uid for _, uid in INSTANCES))
    assert [item.ReferencedSOPInstanceUID for item in archive.requests[0].ReferencedSOPSequence] == [
        uid for _, uid in INSTANCES
    ]
    with Node(store, upkeep=False) as port:
        assert archive.report(port, uid) == 0x0000
    result = commitment_result(store.engine, uid)
    assert result.all_committed and result.ended
    assert result.committed == tuple(uid for _, uid in INSTANCES)


def test_failures_are_told_by_instance(store: Store, archive: Archive) -> None:
    uid, lost = generate_uid(), INSTANCES[1][1]
    request_commitment(store.engine, peer_of(archive), INSTANCES, uid, wait_seconds=0)
    with Node(store, upkeep=False) as port:
        assert archive.report(port, uid, {lost: 0x0112}) == 0x0000
    result = commitment_result(store.engine, uid)
    assert result.state is AskedState.ANSWERED
    assert not result.all_committed
    assert result.failed == {lost: 0x0112}
    assert lost not in result.committed


def test_a_report_on_our_own_association_is_waited_for(store: Store, archive: Archive) -> None:
    statuses = []

    def report(event: Event, ds: Dataset) -> None:
        told = event_information(str(ds.TransactionUID), {})
        status, _ = event.assoc.send_n_event_report(
            told, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        statuses.append(status.Status)

    archive.report_on_same = report
    result = request_commitment(store.engine, peer_of(archive), INSTANCES, wait_seconds=10)
    assert result.all_committed
    assert statuses == [0x0000]


def test_what_was_not_asked_for_is_not_believed(store: Store, archive: Archive) -> None:
    uid = generate_uid()
    request_commitment(store.engine, peer_of(archive), INSTANCES[:2], uid, wait_seconds=0)
    with Node(store, upkeep=False) as port:
        assert archive.report(port, generate_uid()) == 0x0115
        assert archive.report(port, uid, {uid: 0x0112 for _, uid in INSTANCES}) == 0x0000
    result = commitment_result(store.engine, uid)
    assert set(result.failed) == {uid for _, uid in INSTANCES[:2]}


def test_nobody_but_the_archive_can_report(settings: Settings, archive: Archive) -> None:
    uid = generate_uid()
    with Store(settings) as store:
        request_commitment(store.engine, peer_of(archive), INSTANCES, uid, wait_seconds=0)
        with Node(store, upkeep=False) as port:
            assert archive.report(port, uid, calling="IMPOSTOR") == 0x0115
        assert commitment_result(store.engine, uid).state is AskedState.ASKED


def test_an_archive_that_is_down_is_asked_again(store: Store) -> None:
    uid = generate_uid()
    down = Archive()
    with pytest.raises(PeerFailure, match="cannot be reached"):
        request_commitment(store.engine, peer_of(down), INSTANCES, uid)
    assert commitment_result(store.engine, uid).state is AskedState.ASKING
    peer = PeerSettings(ae_title=ARCHIVE, host="127.0.0.1", port=down.port)
    with Store(store.settings.model_copy(update={"peers": {"archive": peer}})) as other:
        upkeep = CommitmentUpkeep(other, every_seconds=0.05)
        down.start()
        upkeep.start()
        # The row is held for the time of an attempt; what failed is due after the pause of the settings.
        make_due(store, uid)
        until(lambda: commitment_result(store.engine, uid).state is AskedState.ASKED)
        upkeep.stop()
    down.stop()
    assert len(down.requests) == 1


def make_due(store: Store, transaction_uid: str) -> None:
    from sqlalchemy import text

    with store.engine.begin() as connection:
        connection.execute(
            text("UPDATE commitment_asked SET due_at = clock_timestamp() WHERE transaction_uid = :uid"),
            {"uid": transaction_uid},
        )


def test_what_stays_unanswered_is_asked_again_under_a_new_uid_and_either_answer_counts(
    store: Store, archive: Archive
) -> None:
    uid = generate_uid()
    request_commitment(store.engine, peer_of(archive), INSTANCES, uid, wait_seconds=0)
    peers = KnownPeers(store.engine, store.settings)
    assert ask_again(store.engine, peers, FAST) == 0, "its report is not due yet"
    make_due(store, uid)
    assert ask_again(store.engine, peers, FAST) == 1
    sent = [str(ds.TransactionUID) for ds in archive.requests]
    assert sent[0] == uid
    assert len(set(sent)) == 2
    with Node(store, upkeep=False) as port:
        assert archive.report(port, sent[1]) == 0x0000
    assert commitment_result(store.engine, uid).all_committed
    assert commitment_result(store.engine, uid).attempts == 2


def test_the_same_request_is_not_sent_twice(store: Store, archive: Archive) -> None:
    uid = generate_uid()
    for _ in range(2):
        assert request_commitment(store.engine, peer_of(archive), INSTANCES, uid, wait_seconds=0).attempts == 1
    assert len(archive.requests) == 1
    assert [result.transaction_uid for result in latest_requests(store.engine)] == [uid]


def test_a_refusal_is_final_until_somebody_asks_anew(store: Store, archive: Archive) -> None:
    archive.status = 0x0124
    uid = generate_uid()
    with pytest.raises(PeerFailure, match="0x0124"):
        request_commitment(store.engine, peer_of(archive), INSTANCES, uid)
    assert commitment_result(store.engine, uid).state is AskedState.REFUSED
    make_due(store, uid)
    peers = KnownPeers(store.engine, store.settings)
    assert ask_again(store.engine, peers, FAST) == 0
    archive.status = 0x0000
    assert ask_anew(store.engine, uid)
    assert ask_again(store.engine, peers, FAST) == 1
    assert commitment_result(store.engine, uid).state is AskedState.ASKED


def test_a_request_is_given_up_after_its_time(store: Store, archive: Archive) -> None:
    uid = generate_uid()
    request_commitment(store.engine, peer_of(archive), INSTANCES, uid, wait_seconds=0)
    make_due(store, uid)
    peers = KnownPeers(store.engine, store.settings)
    ask_again(store.engine, peers, FAST.model_copy(update={"retry_hours": 1e-9}))
    assert commitment_result(store.engine, uid).state is AskedState.GIVEN_UP


def test_only_uids_are_asked_for(store: Store, archive: Archive) -> None:
    for instances in ([], [("1.2", "no UID")], [(VL_WHOLE_SLIDE, "1.2")] * 3 + [("", "1.2")]):
        with pytest.raises(BadRequest):
            request_commitment(store.engine, peer_of(archive), instances)
    assert not archive.requests


def test_one_dicomsvc_proves_to_another_that_it_keeps_what_was_sent(settings: Settings) -> None:
    with Store(settings.model_copy(update={"commitment": FAST})) as store, Node(store) as port:
        kept = keep(store, *(wsi_dataset(seed=number) for number in range(4)))
        asked = [(one.sop_class_uid, one.sop_instance_uid) for one in kept]
        # Asked and answered by the same tables: both sides are in this one database.
        result = request_commitment(store.engine, Peer("127.0.0.1", port, "DICOMSVC"), asked, wait_seconds=20)
    assert result.all_committed
    assert len(result.committed) == 4


@pytest.mark.parametrize("wait_seconds", [0, 20], ids=["on an association of its own", "on the same association"])
def test_a_node_that_is_called_by_tls_reports_by_tls(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory, wait_seconds: float
) -> None:
    """The node asks itself: both sides are called by TLS and show their certificate."""
    authority = Authority(tmp_path_factory.mktemp("ca"))
    own = authority.issue("node", hosts=["127.0.0.1"])
    port = free_port()
    peer = PeerSettings(
        ae_title="DICOMSVC",
        host="127.0.0.1",
        port=port,
        tls=True,
        may=frozenset({Permission.COMMITMENT}),
        certificates=(own.fingerprint,),
    )
    secured = own.settings(
        bind=f"127.0.0.1:{port}",
        ca=authority.certificate,
        client_ca=authority.certificate,
        require_client_certificate=True,
    )
    changed = {
        "peers": {"self": peer},
        "commitment": FAST,
        "dimse": DimseSettings(bind="127.0.0.1:0", tls=secured),  # type: ignore[arg-type]
    }
    with Store(settings.model_copy(update=changed)) as store, Node(store):
        kept = keep(store, *(wsi_dataset(seed=number) for number in range(3)))
        asked = [(one.sop_class_uid, one.sop_instance_uid) for one in kept]
        called = KnownPeers(store.engine, store.settings).call(KnownPeer.of("self", peer))
        uid = request_commitment(store.engine, called, asked, wait_seconds=wait_seconds).transaction_uid
        assert wait_seconds == 0 or commitment_result(store.engine, uid).all_committed
        until(lambda: commitment_result(store.engine, uid).all_committed)
