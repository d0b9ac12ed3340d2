"""Peers that send what no peer should, or nothing at all: the node refuses them and goes on serving the others."""

import os
import random
import socket
import struct
import threading
import time

import httpx
import pytest

from dicomsvc.dimse import pdu
from tests.conftest import RunningService
from tests.faults.conftest import IDLE_TIMEOUT_SECONDS, PDU_TIMEOUT_SECONDS
from tests.faults.node import FIGURES, resident_bytes, withstand
from tests.instances import part10, wsi_dataset
from tests.unit.dimse.wire import Wire, associate_request, data_set, data_set_of, echo_request, store_request, wire

STREAMS = int(os.environ.get("DICOMSVC_MUTATED_STREAMS", "1000"))
ATTACKERS = 16
ASSOCIATIONS = 100
SPARE_BYTES = 100 << 20


def test_length_bombs_are_refused_before_they_are_buffered(node: RunningService) -> None:
    before = resident_bytes(node, "dimse")

    def abuse() -> None:
        for length in (0xFFFFFFFF, 0x7FFFFFFF, (1 << 20) + 1):
            for kind in range(9):
                with wire(node.dimse_port) as peer:
                    peer.send(struct.pack(">BxI", kind, length) + bytes(1 << 16))
                    assert peer.read_pdu()[0] in (pdu.A_ABORT, 0), (kind, length)
        with wire(node.dimse_port) as peer:
            peer.associate()
            peer.send(struct.pack(">BxI", pdu.P_DATA_TF, 0xFFFFFFFF))
            assert peer.read_pdu()[0] == pdu.A_ABORT

    withstand(node, "length bombs", abuse)
    assert resident_bytes(node, "dimse") - before < SPARE_BYTES


def mutated_streams(count: int, seed: int) -> "list[bytes]":
    """Return whole associations, from the request to the release, each damaged at some places."""
    ds = wsi_dataset(frames=2, tile=32)
    good = associate_request() + store_request(ds.SOPInstanceUID) + data_set(data_set_of(part10(ds)))
    good += echo_request() + pdu.encode_release_request()
    head = len(associate_request()) + len(store_request(ds.SOPInstanceUID)) + 300
    chance = random.Random(seed)
    streams = []
    for _ in range(count):
        stream = bytearray(good)
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(head if chance.random() < 0.8 else len(stream))
            stream[at : at + chance.randrange(1, 4)] = chance.randbytes(chance.randrange(0, 6))
        streams.append(bytes(stream))
    return streams


def test_mutated_pdu_streams_harm_nobody(node: RunningService) -> None:
    before = resident_bytes(node, "dimse")
    unanswered = threading.Semaphore(0)

    def attack(streams: list[bytes]) -> None:
        for number, stream in enumerate(streams):
            peer = Wire(node.dimse_port, PDU_TIMEOUT_SECONDS + IDLE_TIMEOUT_SECONDS + 10)
            try:
                peer.send(stream)
                if number % 8:
                    # Nothing more will come, and the node may know; every eighth leaves it to its patience.
                    peer.socket.shutdown(socket.SHUT_WR)
                while peer.read_pdu()[0]:
                    pass
            except TimeoutError:
                unanswered.release()
            except OSError:
                continue
            finally:
                peer.close()

    def abuse() -> None:
        streams = mutated_streams(STREAMS, seed=6)
        threads = [threading.Thread(target=attack, args=(streams[n::ATTACKERS],)) for n in range(ATTACKERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    withstand(node, f"{STREAMS} mutated PDU streams", abuse)
    assert not unanswered.acquire(blocking=False), "a connection was neither answered nor closed"
    assert resident_bytes(node, "dimse") - before < SPARE_BYTES


def test_half_headers_are_given_up(node: RunningService) -> None:
    def abuse() -> None:
        request = associate_request()
        peers = [Wire(node.dimse_port) for _ in range(40)]
        for number, peer in enumerate(peers):
            peer.send(request[: 1 + number % 10])
        for peer in peers:
            assert peer.read_pdu()[0] in (0, pdu.A_ABORT)
            peer.close()

    withstand(node, "half PDU headers", abuse)


def test_bytes_that_drip_are_cut_off_at_the_deadline_of_their_pdu(node: RunningService) -> None:
    def drip(prepared: bytes, dripped: bytes, seconds: list[float]) -> None:
        with wire(node.dimse_port) as peer:
            peer.send(prepared)
            started = time.monotonic()
            try:
                for byte in dripped:
                    peer.send(bytes((byte,)))
                    time.sleep(0.05)
            except OSError:
                seconds.append(time.monotonic() - started)

    def abuse() -> None:
        store = store_request("1.2.3") + data_set(bytes(5000))
        seconds: list[float] = []
        streams = [(b"", associate_request()), (associate_request(), store), (b"\x01", associate_request()[1:])] * 5
        threads = [threading.Thread(target=drip, args=(*each, seconds)) for each in streams]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(seconds) == len(streams), "a peer that drips was borne with"
        assert max(seconds) < PDU_TIMEOUT_SECONDS + 3

    withstand(node, "dripping bytes", abuse)


def test_silent_connections_lock_nobody_out(node: RunningService) -> None:
    def abuse() -> None:
        silent = [Wire(node.dimse_port) for _ in range(300)]
        time.sleep(1)
        for peer in silent:
            peer.close()

    withstand(node, "300 silent connections", abuse)


def test_what_is_no_dicom_is_turned_away(node: RunningService) -> None:
    hello = b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(200)

    def abuse() -> None:
        for greeting in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", hello, b"\x0bMSH|^~\\&|", b"SSH-2.0-x\r\n", bytes(64)):
            with wire(node.dimse_port) as peer:
                peer.send(greeting)
                assert peer.read_pdu()[0] in (0, pdu.A_ABORT)

    withstand(node, "greetings of other protocols", abuse)


def test_a_hundred_associations_are_served_and_the_next_is_rejected_at_once(node: RunningService) -> None:
    before = resident_bytes(node, "dimse")
    peers = [Wire(node.dimse_port, 30) for _ in range(ASSOCIATIONS)]
    try:
        for peer in peers:
            peer.associate()
        cost = resident_bytes(node, "dimse") - before
        seconds = []
        for peer in peers:
            started = time.monotonic()
            peer.send(echo_request())
            assert peer.response().status == 0
            seconds.append(time.monotonic() - started)
        rejections = []
        for _ in range(10):
            with wire(node.dimse_port) as late:
                started = time.monotonic()
                late.send(associate_request())
                kind, body = late.read_pdu()
                rejections.append(time.monotonic() - started)
                assert kind == pdu.A_ASSOCIATE_RJ
                assert pdu.decode_rejection(memoryview(body)) == pdu.LOCAL_LIMIT_EXCEEDED
        for peer in peers:
            peer.send(pdu.encode_release_request())
        for peer in peers:
            assert peer.read_pdu()[0] == pdu.A_RELEASE_RP
    finally:
        for peer in peers:
            peer.close()
    FIGURES.append(
        f"100 associations: {cost / 1e6:.1f} MB in all, an echo on each {max(seconds) * 1000:.0f} ms at most; "
        f"the 101st rejected after {max(rejections) * 1000:.0f} ms at most"
    )
    assert max(seconds) < 1
    assert max(rejections) < 1
    assert cost < SPARE_BYTES
    with wire(node.dimse_port) as peer:
        peer.associate()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_web_clients_that_never_end_their_request_lock_nobody_out(node: RunningService, method: str) -> None:
    port = int(node.url.rpartition(":")[2])
    slow = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(200)]
    for link in slow:
        link.sendall(f"{method} /dicomweb/studies HTTP/1.1\r\nHost: x\r\n".encode())

    def abuse() -> None:
        for _ in range(10):
            started = time.monotonic()
            assert httpx.get(f"{node.url}/readyz", timeout=10).status_code == 200
            assert time.monotonic() - started < 2

    withstand(node, "200 half HTTP requests", abuse)
    for link in slow:
        link.close()
