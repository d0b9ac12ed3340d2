"""Peers that are slow, silent, hostile or broken: they get what the standard says, and nobody else notices."""

import random
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from dicomsvc.config import DimseSettings, Settings
from dicomsvc.dimse import DimseServer, Peer, echo, pdu
from dicomsvc.dimse.channel import pdu_and_pdv_header
from dicomsvc.service.dimse import SERVICES
from dicomsvc.store import Store
from tests.certificates import Authority
from tests.instances import part10, wsi_dataset
from tests.unit.dimse.wire import (
    DEFAULT_CONTEXTS,
    Wire,
    associate_request,
    data_set,
    data_set_of,
    echo_request,
    store_request,
    wire,
)

PDU_TIMEOUT = 0.8
Serve = Callable[..., DimseServer]


@pytest.fixture
def serve(settings: Settings, store: Store) -> Iterator[Serve]:
    started: list[DimseServer] = []

    def start(**changes: object) -> DimseServer:
        defaults = {"bind": "127.0.0.1:0", "pdu_timeout_seconds": PDU_TIMEOUT, "idle_timeout_seconds": 1.5}
        server = DimseServer(DimseSettings(**{**defaults, **changes}), SERVICES, store)
        server.start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop(2)


def spooled(store: Store) -> list[Path]:
    return list(store.layout.spool.rglob("*.part"))


def eventually(condition: Callable[[], bool], seconds: float = 2) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def assert_echo_within_a_second(server: DimseServer) -> None:
    assert echo(Peer("127.0.0.1", server.port)) < 1


def reset(peer: Wire) -> None:
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def rejection_of(server: DimseServer, request: bytes) -> pdu.Rejection:
    with wire(server.port) as peer:
        peer.send(request)
        kind, body = peer.read_pdu()
        assert kind == pdu.A_ASSOCIATE_RJ
        return pdu.decode_rejection(memoryview(body))


def test_another_called_title_is_rejected(serve: Serve) -> None:
    server = serve(require_called_ae_title=True, ae_title="ARCHIVE")
    assert rejection_of(server, associate_request(called="OTHER")) == pdu.CALLED_AE_TITLE_NOT_RECOGNIZED
    echo(Peer("127.0.0.1", server.port, called_ae_title="ARCHIVE"))


def test_an_unknown_calling_title_is_rejected(serve: Serve) -> None:
    server = serve(calling_ae_titles=("SCANNER",))
    assert rejection_of(server, associate_request(calling="OTHER")) == pdu.CALLING_AE_TITLE_NOT_RECOGNIZED
    echo(Peer("127.0.0.1", server.port, calling_ae_title="SCANNER"))
    assert server.counts().rejected == {3: 1}


def test_one_association_too_many_is_rejected_at_once_and_others_go_on(serve: Serve) -> None:
    server = serve(max_associations=2)
    with wire(server.port) as first, wire(server.port) as second:
        first.associate()
        second.associate()
        started = time.monotonic()
        assert rejection_of(server, associate_request()) == pdu.LOCAL_LIMIT_EXCEEDED
        assert time.monotonic() - started < 0.5
        first.send(echo_request())
        assert first.response().status == 0
        second.send(pdu.encode_release_request())
        assert second.read_pdu()[0] == pdu.A_RELEASE_RP
        assert eventually(lambda: server.counts().associations_open == 1)
        assert_echo_within_a_second(server)


def test_silent_clients_lock_nobody_out(serve: Serve) -> None:
    server = serve(max_associations=3, pdu_timeout_seconds=20)
    silent = [Wire(server.port) for _ in range(200)]
    for _ in range(3):
        assert_echo_within_a_second(server)
    for peer in silent:
        peer.close()


def test_a_client_that_says_nothing_is_dropped(serve: Serve) -> None:
    with wire(serve().port) as peer:
        assert peer.read_pdu()[0] in (0, pdu.A_ABORT)


def test_an_association_that_falls_silent_is_aborted_and_counted_out(serve: Serve) -> None:
    server = serve()
    with wire(server.port) as peer:
        peer.associate()
        assert peer.read_pdu()[0] == pdu.A_ABORT
        assert eventually(lambda: server.counts().associations_open == 0)


def test_a_pdu_that_drips_is_cut_off_at_its_deadline(serve: Serve) -> None:
    server = serve()
    with wire(server.port) as peer:
        started = time.monotonic()
        with pytest.raises(OSError):
            for byte in associate_request():
                peer.send(bytes((byte,)))
                time.sleep(0.05)
        assert time.monotonic() - started < PDU_TIMEOUT + 2
    assert_echo_within_a_second(server)


def test_a_length_bomb_of_any_type_is_refused_before_it_is_buffered(serve: Serve) -> None:
    server = serve()
    before = psutil.Process().memory_info().rss
    for kind in range(10):
        with wire(server.port) as peer:
            peer.send(struct.pack(">BxI", kind, 0xFFFFFFFF))
            assert peer.read_pdu()[0] == pdu.A_ABORT, kind
    assert psutil.Process().memory_info().rss - before < 20 << 20


def test_a_length_bomb_within_an_association_is_refused(serve: Serve) -> None:
    with wire(serve().port) as peer:
        peer.associate()
        peer.send(struct.pack(">BxI", pdu.P_DATA_TF, (1 << 20) + 1))
        assert peer.read_pdu() == (pdu.A_ABORT, bytes((0, 0, 2, pdu.INVALID_PARAMETER)))


def broken_off(point: str, peer: Wire, content: bytes) -> None:
    request = associate_request()
    if point == "in the association request":
        peer.send(request[: len(request) // 2])
        return
    peer.associate()
    store = store_request(wsi_dataset().SOPInstanceUID)
    pdus = data_set(content)
    if point == "after the association":
        return
    if point == "in the command":
        peer.send(store[:20])
    elif point == "after the command":
        peer.send(store)
    elif point == "in the data set":
        peer.send(store + pdus[: len(pdus) // 2])
    elif point == "before the last fragment":
        peer.send(store + pdus[:-400])
    else:
        raise AssertionError(point)


POINTS = (
    "in the association request",
    "after the association",
    "in the command",
    "after the command",
    "in the data set",
    "before the last fragment",
)


@pytest.mark.parametrize("ending", ["close", "reset", "abort", "silence"])
def test_a_transfer_broken_off_leaves_nothing_behind(serve: Serve, store: Store, ending: str) -> None:
    server = serve()
    content = data_set_of(part10(wsi_dataset(frames=200)))
    peers = []
    for point in POINTS:
        peer = Wire(server.port)
        peers.append(peer)
        broken_off(point, peer, content)
        if point in POINTS[3:]:
            assert eventually(lambda: len(spooled(store)) > 0), point
        if ending == "close":
            peer.close()
        elif ending == "reset":
            reset(peer)
        elif ending == "abort":
            peer.send(pdu.encode_abort())
        if ending != "silence":
            assert eventually(lambda: not spooled(store)), point
    assert eventually(lambda: not spooled(store), 2 + PDU_TIMEOUT)
    assert eventually(lambda: server.counts().associations_open == 0, 4)
    assert server.counts().stored == 0
    for peer in peers:
        peer.close()


def test_an_address_in_use_is_the_caller_s_to_handle(serve: Serve) -> None:
    with pytest.raises(OSError, match="in use"):
        serve(bind=f"127.0.0.1:{serve().port}")


def test_what_is_no_dicom_is_answered_with_an_abort(serve: Serve) -> None:
    with wire(serve().port) as peer:
        peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert peer.read_pdu()[0] == pdu.A_ABORT


AGAINST_THE_RULES = (
    data_set(b"\0" * 10),
    pdu_and_pdv_header(1, 0xFFFF, 3),
    pdu_and_pdv_header(1, 4, 3) + b"junk",
    struct.pack(">BxI", pdu.P_DATA_TF, 0),
    struct.pack(">BxIIBB", pdu.P_DATA_TF, 6, 0, 1, 3),
    echo_request(context_id=99),
    store_request("1.2.3") + echo_request(),
    store_request("1.2.3") + pdu.encode_release_request(),
    associate_request(),
    pdu_and_pdv_header(1, 17000, 1) + bytes(17000),
)


def test_a_message_against_the_rules_is_answered_with_an_abort(serve: Serve, store: Store) -> None:
    server = serve()
    for number, message in enumerate(AGAINST_THE_RULES):
        with wire(server.port) as peer:
            peer.associate()
            peer.send(message)
            assert peer.read_pdu()[0] == pdu.A_ABORT, number
        assert eventually(lambda: not spooled(store)), number
    assert_echo_within_a_second(server)


def test_an_operation_that_is_not_served_is_answered_as_unrecognized(serve: Serve) -> None:
    from dicomsvc.dimse import commands

    request = commands.encode_request(
        commands.C_FIND_RQ,
        5,
        {commands.AFFECTED_SOP_CLASS_UID: "1.2.840.10008.1.1", commands.AFFECTED_SOP_INSTANCE_UID: "1.2.3"},
    )
    with wire(serve().port) as peer:
        peer.associate()
        peer.send(pdu_and_pdv_header(1, len(request), 3) + request + data_set(b"\0" * 100, context_id=1))
        assert peer.response().status == commands.UNRECOGNIZED_OPERATION
        peer.send(echo_request())
        assert peer.response().status == 0


def test_hundreds_of_damaged_streams_harm_nobody(serve: Serve, store: Store) -> None:
    server = serve(pdu_timeout_seconds=0.3, idle_timeout_seconds=0.3)
    ds = wsi_dataset(frames=2, tile=32)
    good = associate_request() + store_request(ds.SOPInstanceUID) + data_set(data_set_of(part10(ds)))
    good += echo_request() + pdu.encode_release_request()
    chance = random.Random(4)
    head = len(associate_request()) + len(store_request(ds.SOPInstanceUID)) + 300

    def attack(count: int) -> None:
        for _ in range(count):
            stream = bytearray(good)
            for _ in range(chance.randrange(1, 6)):
                at = chance.randrange(head if chance.random() < 0.8 else len(stream))
                stream[at : at + chance.randrange(1, 4)] = chance.randbytes(chance.randrange(0, 6))
            peer = Wire(server.port, 1)
            try:
                peer.send(bytes(stream))
                while peer.read_pdu()[0]:
                    pass
            except OSError:
                continue
            finally:
                peer.close()

    before = psutil.Process().memory_info().rss
    attackers = [threading.Thread(target=attack, args=(50,)) for _ in range(8)]
    for attacker in attackers:
        attacker.start()
    for _ in range(10):
        assert_echo_within_a_second(server)
        time.sleep(0.1)
    for attacker in attackers:
        attacker.join()
    assert eventually(lambda: not spooled(store) and server.counts().associations_open == 0)
    assert psutil.Process().memory_info().rss - before < 100 << 20
    assert_echo_within_a_second(server)


def test_a_stop_lets_a_running_store_finish_and_takes_no_more(serve: Serve, store: Store) -> None:
    server = serve(pdu_timeout_seconds=10, idle_timeout_seconds=10)
    ds = wsi_dataset(frames=50)
    pdus = data_set(data_set_of(part10(ds)))
    with wire(server.port) as busy, wire(server.port) as idle:
        busy.associate()
        idle.associate()
        busy.send(store_request(ds.SOPInstanceUID) + pdus[: len(pdus) // 2])
        assert eventually(lambda: len(spooled(store)) == 1)
        stopping = threading.Thread(target=server.stop, args=(10,))
        port = server.port
        stopping.start()
        assert idle.read_pdu()[0] == pdu.A_ABORT
        assert eventually(lambda: refuses(port))
        busy.send(pdus[len(pdus) // 2 :])
        assert busy.response().status == 0
        assert busy.read_pdu()[0] == pdu.A_ABORT
        stopping.join(5)
        assert not stopping.is_alive()
    assert store.instances.find_sop_instance(ds.SOPInstanceUID)


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_stop_cuts_off_what_outlasts_its_grace(serve: Serve, store: Store) -> None:
    server = serve(pdu_timeout_seconds=30)
    with wire(server.port) as peer:
        peer.associate()
        peer.send(store_request("1.2.3") + data_set(bytes(100))[:-20])
        assert eventually(lambda: len(spooled(store)) == 1)
        started = time.monotonic()
        server.stop(0.3)
        assert time.monotonic() - started < 3
    assert not spooled(store)


def test_a_hundred_proposed_contexts_cost_little(serve: Serve) -> None:
    syntaxes = tuple(f"1.2.840.10008.1.2.4.{number}" for number in range(50, 60))
    contexts = [
        pdu.ProposedContext(2 * number + 1, f"1.2.840.10008.5.1.4.1.1.{number}", syntaxes) for number in range(128)
    ]
    server = serve()
    with wire(server.port) as peer:
        peer.send(associate_request(contexts=contexts))
        kind, body = peer.read_pdu()
    assert kind == pdu.A_ASSOCIATE_AC
    assert len(pdu.decode_associate_accept(memoryview(body)).contexts) == 128
    encoded = memoryview(associate_request(contexts=contexts))[6:]
    started = time.thread_time()
    for _ in range(10):
        pdu.decode_associate_request(encoded)
    assert (time.thread_time() - started) / 10 < 0.02


def test_a_silent_client_on_the_tls_port_delays_nobody(serve: Serve, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = serve(tls=authority.issue().settings(bind="127.0.0.1:0"))
    trust = ssl.create_default_context(cafile=str(authority.certificate))
    assert server.tls_port is not None
    with wire(server.tls_port):
        started = time.monotonic()
        with trust.wrap_socket(
            socket.create_connection(("127.0.0.1", server.tls_port), 5), server_hostname="localhost"
        ) as link:
            link.sendall(associate_request(contexts=DEFAULT_CONTEXTS) + echo_request())
            received = b""
            while len(received) < 6 or received[0] != pdu.A_ASSOCIATE_AC or b"\x04\x00\x00\x00" not in received[6:]:
                received += link.recv(4096)
        assert time.monotonic() - started < 1
