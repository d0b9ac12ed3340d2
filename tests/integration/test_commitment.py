"""Storage commitment asked of this node by pynetdicom (PS3.4 J)."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from dicomsvc.config import CommitmentSettings, PeerSettings, Permission, Settings
from dicomsvc.dimse.commitment.model import ActionInformation, Reference
from dicomsvc.errors import Conflict
from dicomsvc.pacs.commitment import Commitments, CommitmentUpkeep, State
from dicomsvc.pacs.commitment.overview import again
from dicomsvc.store import Store
from tests.instances import VL_WHOLE_SLIDE, wsi_dataset
from tests.integration.archive import keep
from tests.integration.commitment_peer import AE_TITLE, Node, Requestor, until

CT = "1.2.840.10008.5.1.4.1.1.2"
FAST = CommitmentSettings(quiet_seconds=0.3, retry_seconds=0.2, retry_longest_seconds=0.5)


@pytest.fixture
def requestor() -> Iterator[Requestor]:
    made = Requestor()
    yield made
    made.stop()


def with_peer(settings: Settings, requestor: Requestor, *, may: Permission = Permission.COMMITMENT) -> Settings:
    peer = PeerSettings(ae_title=AE_TITLE, host="127.0.0.1", port=requestor.port, may=frozenset({may}))
    return settings.model_copy(update={"peers": {"modality": peer}, "commitment": FAST})


@pytest.fixture
def store(settings: Settings, requestor: Requestor) -> Iterator[Store]:
    """A store whose peers hold the requestor."""
    with Store(with_peer(settings, requestor)) as opened:
        yield opened


@pytest.fixture
def stored(store: Store) -> list[tuple[str, str]]:
    """Three stored instances."""
    kept = keep(store, *(wsi_dataset(seed=number, frames=1) for number in range(3)))
    return [(one.sop_class_uid, one.sop_instance_uid) for one in kept]


def path_of(store: Store, sop_instance_uid: str) -> Path:
    return store.instances.find_sop_instance(sop_instance_uid).path


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)


def state_of(store: Store, transaction_uid: str) -> State:
    [commitment] = Commitments(store.engine).of_transaction(transaction_uid)
    return commitment.state


def test_a_requestor_that_waits_is_told_on_its_own_association(
    store: Store, requestor: Requestor, stored: list[tuple[str, str]]
) -> None:
    uid = generate_uid()
    with Node(store, upkeep=False) as port:
        assoc = requestor.associate(port)
        assert requestor.ask(assoc, uid, stored) == 0x0000
        until(lambda: requestor.reports)
        assoc.release()
        assert assoc.is_released
    [report] = requestor.reports
    assert (report.event_type, report.transaction_uid, report.acceptor) == (1, uid, False)
    assert report.committed == [instance for _, instance in stored]
    assert not report.failed
    assert report.retrieve_ae_title == "DICOMSVC"
    assert state_of(store, uid) is State.REPORTED


def test_several_requests_on_one_association_are_all_reported_on_it(
    store: Store, requestor: Requestor, stored: list[tuple[str, str]]
) -> None:
    uids = [generate_uid() for _ in range(3)]
    with Node(store, upkeep=False) as port:
        assoc = requestor.associate(port)
        for uid in uids:
            assert requestor.ask(assoc, uid, stored) == 0x0000
        until(lambda: len(requestor.reports) == 3)
        assoc.release()
    assert [report.transaction_uid for report in requestor.reports] == uids


def test_a_requestor_that_releases_at_once_is_called(
    store: Store, requestor: Requestor, stored: list[tuple[str, str]]
) -> None:
    requestor.listen()
    uid = generate_uid()
    with Node(store) as port:
        assert requestor.ask_and_leave(port, uid, stored) == 0x0000
        until(lambda: requestor.reports)
        until(lambda: state_of(store, uid) is State.REPORTED)
        time.sleep(1)
    [report] = requestor.reports
    assert (report.event_type, report.transaction_uid, report.acceptor) == (1, uid, True)
    assert report.committed == [instance for _, instance in stored]


def test_a_requestor_that_does_not_know_of_role_selection_is_called_all_the_same(
    store: Store, requestor: Requestor, stored: list[tuple[str, str]]
) -> None:
    requestor.listen(roles=False)
    uid = generate_uid()
    with Node(store) as port:
        assert requestor.ask_and_leave(port, uid, stored) == 0x0000
        until(lambda: state_of(store, uid) is State.REPORTED)
    assert requestor.reports[0].acceptor


def test_what_is_missing_damaged_or_of_another_class_is_reported_as_failed(
    store: Store, requestor: Requestor, stored: list[tuple[str, str]]
) -> None:
    requestor.listen()
    (_, damaged), (_, lost), (_, other_class) = stored
    sound = keep(store, wsi_dataset(seed=9))[0].sop_instance_uid
    damage(path_of(store, damaged))
    path_of(store, lost).unlink()
    unknown = generate_uid()
    asked = [(VL_WHOLE_SLIDE, uid) for uid in (damaged, lost, sound, unknown)]
    with Node(store) as port:
        assert requestor.ask_and_leave(port, generate_uid(), [*asked, (CT, other_class)]) == 0x0000
        until(lambda: requestor.reports)
    [report] = requestor.reports
    assert report.event_type == 2
    assert report.committed == [sound]
    assert report.failed == {damaged: 0x0110, lost: 0x0112, unknown: 0x0112, other_class: 0x0119}
    assert store.instances.find_sop_instance(damaged).damaged, "a damaged file must not be served any more"


def test_a_repeated_request_is_checked_and_reported_anew(
    store: Store, requestor: Requestor, stored: list[tuple[str, str]]
) -> None:
    requestor.listen()
    uid = generate_uid()
    with Node(store) as port:
        assert requestor.ask_and_leave(port, uid, stored) == 0x0000
        until(lambda: state_of(store, uid) is State.REPORTED)
        damage(path_of(store, stored[0][1]))
        assert requestor.ask_and_leave(port, uid, list(reversed(stored))) == 0x0000
        until(lambda: len(requestor.reports) == 2)
    assert [report.event_type for report in requestor.reports] == [1, 2]
    assert len(Commitments(store.engine).latest()) == 1


def test_other_instances_under_a_used_transaction_uid_fail(
    store: Store, requestor: Requestor, stored: list[tuple[str, str]]
) -> None:
    requestor.listen()
    uid = generate_uid()
    with Node(store) as port:
        assert requestor.ask_and_leave(port, uid, stored[:1]) == 0x0000
        until(lambda: len(requestor.reports) == 1)
        assert requestor.ask_and_leave(port, uid, stored[1:]) == 0x0000
        until(lambda: len(requestor.reports) == 2)
    assert requestor.reports[1].failed == {instance: 0x0131 for _, instance in stored[1:]}


def test_a_report_is_tried_until_the_requestor_is_there(
    store: Store, requestor: Requestor, stored: list[tuple[str, str]]
) -> None:
    uid = generate_uid()

    def tried() -> bool:
        [commitment] = Commitments(store.engine).of_transaction(uid)
        return commitment.attempts >= 2 and "cannot be reached" in (commitment.last_error or "")

    with Node(store) as port:
        assert requestor.ask_and_leave(port, uid, stored) == 0x0000
        until(tried)
        requestor.status = 0x0110
        requestor.listen()
        until(lambda: requestor.reports)
        requestor.status = 0x0000
        until(lambda: state_of(store, uid) is State.REPORTED)
    assert len(requestor.reports) >= 2
    assert {report.transaction_uid for report in requestor.reports} == {uid}


def test_a_report_is_given_up_after_its_time_and_sent_when_it_is_asked_for(
    store: Store, requestor: Requestor, stored: list[tuple[str, str]]
) -> None:
    hasty = FAST.model_copy(update={"retry_hours": 1e-9})
    with Store(store.settings.model_copy(update={"commitment": hasty})) as impatient:
        action = ActionInformation(generate_uid(), tuple(Reference(*pair) for pair in stored))
        key = Commitments(store.engine).accept(AE_TITLE, action, "gone", lease_seconds=0)
        assert key is not None
        upkeep = CommitmentUpkeep(impatient)
        upkeep.check()
        upkeep.report()
    assert state_of(store, action.transaction_uid) is State.GIVEN_UP
    requestor.listen()
    again(store.engine, action.transaction_uid)
    with Node(store):
        until(lambda: state_of(store, action.transaction_uid) is State.REPORTED)
    with pytest.raises(Conflict):
        again(store.engine, action.transaction_uid)


def test_two_processes_report_each_request_once(
    store: Store, requestor: Requestor, stored: list[tuple[str, str]]
) -> None:
    requestor.listen()
    commitments = Commitments(store.engine)
    uids = [generate_uid() for _ in range(20)]
    for uid in uids:
        action = ActionInformation(uid, tuple(Reference(*pair) for pair in stored))
        assert commitments.accept(AE_TITLE, action, "gone", lease_seconds=0) is not None
    with Store(store.settings) as second:
        upkeeps = [CommitmentUpkeep(store, every_seconds=0.05), CommitmentUpkeep(second, every_seconds=0.05)]
        for upkeep in upkeeps:
            upkeep.start()
        until(lambda: all(commitment.state is State.REPORTED for commitment in commitments.latest()))
        for upkeep in upkeeps:
            upkeep.stop()
    assert sorted(report.transaction_uid for report in requestor.reports) == sorted(uids)


def test_a_request_whose_holder_died_is_taken_over(
    store: Store, requestor: Requestor, stored: list[tuple[str, str]]
) -> None:
    requestor.listen()
    action = ActionInformation(generate_uid(), tuple(Reference(*pair) for pair in stored))
    assert Commitments(store.engine).accept(AE_TITLE, action, "dead", lease_seconds=1.5) is not None
    upkeep = CommitmentUpkeep(store)
    upkeep.check()
    assert state_of(store, action.transaction_uid) is State.REQUESTED, "it was taken from a holder that may live"
    time.sleep(1.6)
    upkeep.check()
    upkeep.report()
    assert len(requestor.reports) == 1


@pytest.mark.parametrize(
    ("action_type", "change", "status"),
    [(2, {}, 0x0123), (1, {"references": []}, 0x0115), (1, {"transaction_uid": "1.2.x"}, 0x0115)],
)
def test_a_request_that_says_nothing_valid_is_refused(
    store: Store,
    requestor: Requestor,
    stored: list[tuple[str, str]],
    action_type: int,
    change: dict[str, object],
    status: int,
) -> None:
    asked = {"transaction_uid": generate_uid(), "references": stored, "action_type": action_type, **change}
    with Node(store, upkeep=False) as port:
        assoc = requestor.associate(port)
        assert requestor.ask(assoc, **asked) == status  # type: ignore[arg-type]
        assoc.release()
    assert not Commitments(store.engine).latest()


def test_a_peer_without_the_permission_is_refused(settings: Settings, requestor: Requestor) -> None:
    with Store(with_peer(settings, requestor, may=Permission.STORE)) as store, Node(store, upkeep=False) as port:
        assert requestor.ask_and_leave(port, generate_uid(), [(VL_WHOLE_SLIDE, generate_uid())]) == 0x0124


def test_somebody_unknown_is_told_on_its_own_association(settings: Settings, requestor: Requestor) -> None:
    uid = generate_uid()
    with Store(settings.model_copy(update={"commitment": FAST})) as store, Node(store) as port:
        [kept] = keep(store, wsi_dataset())
        assoc = requestor.associate(port)
        assert requestor.ask(assoc, uid, [(kept.sop_class_uid, kept.sop_instance_uid)]) == 0x0000
        until(lambda: requestor.reports)
        assoc.release()
    assert requestor.reports[0].committed == [kept.sop_instance_uid]


def test_somebody_unknown_that_asks_for_more_than_can_be_waited_for_is_refused(
    settings: Settings, requestor: Requestor
) -> None:
    with Store(settings) as store, Node(store, upkeep=False) as port:
        many = [(VL_WHOLE_SLIDE, generate_uid()) for _ in range(501)]
        assert requestor.ask_and_leave(port, generate_uid(), many) == 0x0124


def test_thousands_of_instances_are_checked_in_the_background(
    store: Store, requestor: Requestor, stored: list[tuple[str, str]]
) -> None:
    requestor.listen()
    many = [(VL_WHOLE_SLIDE, generate_uid()) for _ in range(5000)]
    with Node(store) as port:
        assert requestor.ask_and_leave(port, generate_uid(), [*stored, *many]) == 0x0000
        until(lambda: requestor.reports, 60)
    [report] = requestor.reports
    assert len(report.committed) == 3
    assert len(report.failed) == 5000
