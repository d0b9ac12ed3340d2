"""Forwards with proof, without identity, over HTTP, and those that only tell, to peers that answer as they like."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import (
    InstanceAvailabilityNotification,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from dicomsvc.config import Settings
from dicomsvc.routing.forwards import Forward, Forwards, ForwardState
from dicomsvc.store import Store
from tests.instances import VL_WHOLE_SLIDE
from tests.integration.commitment_peer import Node
from tests.integration.routed import JPEG_BASELINE, Carrier, opened, put, series_of, with_routing

RULE = {"name": "archive", "send": ["PEER"], "stable_seconds": 0}
PROVEN = {**RULE, "commit": True}


class Archive:
    """A pynetdicom SCP of storage, commitment and notifications; what it received it keeps in lists."""

    def __init__(self, *, status: int = 0, lost: int = 0, reports: bool = True) -> None:
        self.stored: list[Dataset] = []
        self.asked: list[Dataset] = []
        self.notices: list[Dataset] = []
        self._status, self._lost, self._reports = status, lost, reports

    def __enter__(self) -> "Archive":
        entity = AE(ae_title="PEER")
        entity.add_supported_context(VL_WHOLE_SLIDE, JPEG_BASELINE)
        entity.add_supported_context(StorageCommitmentPushModel)
        entity.add_supported_context(InstanceAvailabilityNotification)
        handlers = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_N_ACTION, self._ask),
            (evt.EVT_N_CREATE, self._notice),
        ]
        self._server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.port = self._server.socket.getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    def _store(self, event: Event) -> int:
        self.stored.append(event.dataset)
        return 0

    def _notice(self, event: Event) -> tuple[int, Dataset]:
        self.notices.append(event.attribute_list)
        return self._status, Dataset()

    def _ask(self, event: Event) -> tuple[int, None]:
        self.asked.append(event.action_information)
        if self._status == 0 and self._reports:
            threading.Timer(0.3, self._report, (event, event.action_information)).start()
        return self._status, None

    def _report(self, event: Event, asked: Dataset) -> None:
        told = Dataset()
        told.TransactionUID = asked.TransactionUID
        told.ReferencedSOPSequence = asked.ReferencedSOPSequence[self._lost :]
        if self._lost:
            told.FailedSOPSequence = asked.ReferencedSOPSequence[: self._lost]
            for item in told.FailedSOPSequence:
                item.FailureReason = 0x0112
        kind = 2 if self._lost else 1
        event.assoc.send_n_event_report(told, kind, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)


def states(store: Store, record: Forward) -> dict[str, int]:
    found = Forwards(store.engine).get(record.id)
    words = ("waiting", "sent", "confirmed", "failed", "skipped")
    return {word: getattr(found, word) for word in words if getattr(found, word)}


def test_a_forward_with_proof_is_done_when_the_peer_keeps_all(settings: Settings) -> None:
    with Archive() as peer, opened(with_routing(settings, peers={"PEER": peer.port}, rules=[PROVEN])) as store:
        put(store, *series_of(3))
        [record] = Carrier(store).carry_all()
        assert record.state is ForwardState.DONE, record.describe()
        assert states(store, record) == {"confirmed": 3}
        assert len(peer.stored) == 3 and len(peer.asked) == 1


def test_what_the_peer_does_not_keep_is_a_dead_letter(settings: Settings) -> None:
    with Archive(lost=1) as peer, opened(with_routing(settings, peers={"PEER": peer.port}, rules=[PROVEN])) as store:
        put(store, *series_of(3))
        [record] = Carrier(store).carry_all()
        assert record.state is ForwardState.DEAD
        assert states(store, record) == {"confirmed": 2, "failed": 1}
        assert "0x0112" in record.reason


def test_a_peer_that_promises_nothing_leaves_a_dead_letter_of_what_it_was_sent(settings: Settings) -> None:
    with (
        Archive(status=0x0122) as peer,
        opened(with_routing(settings, peers={"PEER": peer.port}, rules=[PROVEN])) as store,
    ):
        put(store, *series_of(2))
        [record] = Carrier(store).carry_all()
        assert record.state is ForwardState.DEAD
        assert record.reason.startswith("sent, but storage commitment")
        assert len(peer.stored) == 2


def test_a_promise_that_is_late_is_waited_for_without_a_place_and_nothing_is_sent_again(settings: Settings) -> None:
    with (
        Archive(reports=False) as peer,
        opened(with_routing(settings, peers={"PEER": peer.port}, rules=[PROVEN], per_destination=1)) as store,
    ):
        put(store, *series_of(2))
        carrier = Carrier(store)
        [record] = carrier.carry_all()
        assert record.state is ForwardState.CONFIRMING
        assert carrier.carry(record) is not None
        assert (len(peer.stored), len(peer.asked)) == (2, 1)
        put(store, *series_of(1))
        carrier.carry_all()
        assert len(peer.stored) == 3
        told = Dataset()
        told.TransactionUID = peer.asked[0].TransactionUID
        told.ReferencedSOPSequence = peer.asked[0].ReferencedSOPSequence
        report_on_an_association_of_its_own(store, told)
        assert carrier.carry(record) is None
        assert Forwards(store.engine).get(record.id).state is ForwardState.DONE
        assert states(store, record) == {"confirmed": 2}


def report_on_an_association_of_its_own(store: Store, told: Dataset) -> None:
    from pynetdicom import build_role

    entity = AE("PEER")
    entity.add_requested_context(StorageCommitmentPushModel)
    role = build_role(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    with Node(store) as port:
        assoc = entity.associate("127.0.0.1", port, ext_neg=[role])
        assert assoc.is_established
        status, _ = assoc.send_n_event_report(told, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
        assert status.Status == 0
        assoc.release()


def test_a_peer_is_told_what_can_be_retrieved(settings: Settings) -> None:
    rule = {"name": "tell", "notify": ["PEER"], "stable_seconds": 0}
    with Archive() as peer, opened(with_routing(settings, peers={"PEER": peer.port}, rules=[rule])) as store:
        slides = series_of(2)
        put(store, *slides)
        [record] = Carrier(store).carry_all()
        assert (record.state, record.action) == (ForwardState.DONE, "notify")
    [notice] = peer.notices
    [series] = notice.ReferencedSeriesSequence
    assert {str(item.ReferencedSOPInstanceUID) for item in series.ReferencedSOPSequence} == {
        str(ds.SOPInstanceUID) for ds in slides
    }


def test_a_peer_that_is_to_get_no_identity_gets_none_and_no_label(settings: Settings) -> None:
    with Archive() as peer:
        base = with_routing(settings, peers={"PEER": peer.port}, rules=[RULE])
        tree = base.model_dump()
        tree["peers"]["PEER"]["deidentify"] = "basic"
        with opened(Settings(**tree)) as store:
            slide, label = series_of(2)
            label.ImageType = ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]
            label.SpecimenLabelInImage = "YES"
            put(store, slide, label)
            [record] = Carrier(store).carry_all()
            assert record.state is ForwardState.DONE, record.describe()
            assert states(store, record) == {"sent": 1, "skipped": 1}
            [sent] = Forwards(store.engine).instances(record.id, state="sent")
            assert not list(store.layout.spool.glob("*/*.part"))
            foreign = series_of(1)[0]
            foreign.PatientIdentityRemoved = "YES"
            put(store, foreign, who="OTHER")
            *_, round_again = Carrier(store).carry_all()
            assert states(store, round_again) == {"skipped": 1}
    [received] = peer.stored
    assert sent.sent_as == str(received.SOPInstanceUID) != str(slide.SOPInstanceUID)
    assert "Slide" not in str(received.get("PatientName"))
    assert received.PixelData == slide.PixelData


@contextmanager
def web(answer: Callable[[BaseHTTPRequestHandler, bytes], None]) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            answer(self, self.rfile.read(int(self.headers["Content-Length"])))

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    try:
        yield httpd.server_address[1]
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


def respond(request: BaseHTTPRequestHandler, status: int) -> None:
    request.send_response(status)
    request.send_header("Content-Length", "0")
    request.end_headers()


def to_web(settings: Settings, port: int, **routing: Any) -> Settings:
    destination = {"url": f"http://127.0.0.1:{port}/dicomweb", "token": "a token"}
    rule = {**RULE, "send": ["web"]}
    return with_routing(settings, rules=[rule], destinations={"web": destination}, **routing)


def test_a_web_service_in_trouble_is_tried_again_over_one_connection_and_with_the_token(settings: Settings) -> None:
    got: list[tuple[Any, str, str | None]] = []
    trouble = True

    def take(request: BaseHTTPRequestHandler, body: bytes) -> None:
        got.append((request.client_address, request.path, request.headers["Authorization"]))
        respond(request, 503 if trouble and len(got) == 2 else 200)

    with web(take) as port, opened(to_web(settings, port)) as store:
        put(store, *series_of(3))
        carrier = Carrier(store)
        [record] = carrier.carry_all()
        assert record.state is ForwardState.PAUSING
        assert states(store, record) == {"waiting": 1, "sent": 2}
        trouble = False
        carrier.carry(record)
        assert states(store, record) == {"sent": 3}
    assert {each[1:] for each in got} == {("/dicomweb/studies", "Bearer a token")}
    assert len({each[0] for each in got[:3]}) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 302])
def test_a_web_service_that_refuses_us_leaves_the_instances_waiting(settings: Settings, status: int) -> None:
    with web(lambda request, body: respond(request, status)) as port, opened(to_web(settings, port)) as store:
        put(store, *series_of(2))
        [record] = Carrier(store).carry_all()
        assert record.state is ForwardState.PAUSING
        assert states(store, record) == {"waiting": 2}
        assert str(status) in record.reason


def test_a_webhook_that_cannot_answer_is_told_again_and_one_that_may_not_be_called_is_dead(settings: Settings) -> None:
    statuses = [500, 204]
    deliveries: list[str | None] = []

    def take(request: BaseHTTPRequestHandler, body: bytes) -> None:
        deliveries.append(request.headers["X-Dicomsvc-Delivery"])
        assert b"Slide" not in body
        respond(request, statuses[len(deliveries) - 1])

    with web(take) as port:
        routing = {
            "rules": [{"name": "tell", "webhook": ["allowed", "closed"], "stable_seconds": 0}],
            "webhooks": {
                "allowed": {"url": f"http://127.0.0.1:{port}/", "secret": "x" * 16},
                "closed": {"url": f"http://localhost:{port}/", "secret": "x" * 16},
            },
            "webhook_hosts": {"127.0.0.1": ["127.0.0.1/32"], "localhost": []},
        }
        with opened(with_routing(settings, **routing)) as store:
            put(store, *series_of(1))
            carrier = Carrier(store)
            allowed, closed = carrier.carry_all()
            assert (allowed.state, closed.state) == (ForwardState.PAUSING, ForwardState.DEAD)
            assert "not public" in closed.reason
            carrier.carry(allowed)
            assert Forwards(store.engine).get(allowed.id).state is ForwardState.DONE
    assert len(deliveries) == 2 and len(set(deliveries)) == 1
