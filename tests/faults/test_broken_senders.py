"""Senders that abort, close, reset or die at each point of a transfer: within two seconds nothing is left of it."""

import socket
import struct
import subprocess
import sys
import time

import pytest

from dicomsvc.dimse import pdu
from tests.conftest import RunningService
from tests.faults.node import BOUNDARY, FIGURES, c_store, eventually, spooled, stow_body, withstand
from tests.instances import part10, wsi_dataset
from tests.unit.dimse.wire import Wire, associate_request, data_set, data_set_of, echo_request, store_request

FORGET_SECONDS = 2
SPOOLED_SHARE = 0.1
"""A piece of a STOW-RS body that is shorter may still wait in memory."""
# Of its own: the process of a sender that is killed has read nothing and imported nothing of ours.
SENDER = """
import socket, sys, time
link = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
link.sendall(sys.stdin.buffer.read())
print("sent", flush=True)
time.sleep(600)
"""
DATA_SET = data_set(data_set_of(part10(wsi_dataset(frames=300))))


def sent_until(point: str) -> bytes:
    """Return what a sender has sent when it breaks off; it does not wait for answers."""
    request, store = associate_request(), store_request(wsi_dataset().SOPInstanceUID)
    return {
        "in the association request": request[: len(request) // 2],
        "after the association request": request,
        "in the command": request + store[:20],
        "after the command": request + store,
        "in the data set": request + store + DATA_SET[: len(DATA_SET) // 2],
        "before the last fragment": request + store + DATA_SET[:-400],
    }[point]


def whole_pdus(stream: bytes) -> bytes:
    """Leave out a PDU that is not complete: an A-ABORT within it would be a part of it."""
    end = 0
    while end + 6 <= len(stream):
        after = end + 6 + int.from_bytes(stream[end + 2 : end + 6], "big")
        if after > len(stream):
            break
        end = after
    return stream[:end]


POINTS = (
    "in the association request",
    "after the association request",
    "in the command",
    "after the command",
    "in the data set",
    "before the last fragment",
)
WITH_A_SPOOL_FILE = POINTS[3:]


def start_sender(port: int, content: bytes) -> "subprocess.Popen[bytes]":
    """Have a process of its own send something and then wait."""
    command = [sys.executable, "-c", SENDER, str(port)]
    sender = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert sender.stdin is not None and sender.stdout is not None
    sender.stdin.write(content)
    sender.stdin.close()
    assert sender.stdout.readline() == b"sent\n"
    return sender


def break_off(service: RunningService, point: str, ending: str) -> float:
    """Send until ``point``, break off, and return after how many seconds the spool was empty."""
    if ending == "killed":
        sender = start_sender(service.dimse_port, sent_until(point))
    else:
        peer = Wire(service.dimse_port)
        peer.send(whole_pdus(sent_until(point)) if ending == "aborted" else sent_until(point))
    if point in WITH_A_SPOOL_FILE:
        assert eventually(lambda: bool(spooled(service))), point
    started = time.monotonic()
    if ending == "killed":
        sender.kill()
        sender.wait()
    elif ending == "aborted":
        peer.send(pdu.encode_abort())
    elif ending == "reset":
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
    else:
        peer.close()
    assert eventually(lambda: not spooled(service), FORGET_SECONDS), point
    seconds = time.monotonic() - started
    if ending == "aborted":
        peer.close()
    return seconds


@pytest.mark.parametrize("ending", ["killed", "aborted", "reset", "closed"])
def test_a_transfer_broken_off_at_any_point_leaves_nothing_within_two_seconds(
    node: RunningService, ending: str
) -> None:
    longest = 0.0

    def abuse() -> None:
        nonlocal longest
        longest = max(longest, *(break_off(node, point, ending) for point in POINTS))

    withstand(node, f"senders {ending}", abuse)
    FIGURES.append(f"spool empty after a sender was {ending}: {longest * 1000:.0f} ms at most")


@pytest.mark.parametrize("ending", ["killed", "reset", "closed"])
def test_a_stow_request_broken_off_leaves_nothing_within_two_seconds(node: RunningService, ending: str) -> None:
    body = stow_body(*(part10(wsi_dataset(frames=1500, seed=seed)) for seed in range(2)))
    head = (
        "POST /dicomweb/studies HTTP/1.1\r\nHost: localhost\r\n"
        f'Content-Type: multipart/related; type="application/dicom"; boundary={BOUNDARY}\r\n'
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    port = int(node.url.rpartition(":")[2])

    def abuse() -> None:
        for share in (0.02, 0.3, 0.48, 0.7, 0.98):
            sent = head + body[: int(len(body) * share)]
            if ending == "killed":
                sender = start_sender(port, sent)
                assert share < SPOOLED_SHARE or eventually(lambda: bool(spooled(node))), share
                sender.kill()
                sender.wait()
            else:
                link = socket.create_connection(("127.0.0.1", port), 30)
                link.sendall(sent)
                assert share < SPOOLED_SHARE or eventually(lambda: bool(spooled(node))), share
                if ending == "reset":
                    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                link.close()
            assert eventually(lambda: not spooled(node), FORGET_SECONDS), share

    withstand(node, f"STOW-RS senders {ending}", abuse)


def test_a_sender_that_was_broken_off_sends_the_same_instance_again(node: RunningService) -> None:
    ds = wsi_dataset(frames=300)
    content = part10(ds)
    pdus = data_set(data_set_of(content))
    peer = Wire(node.dimse_port)
    peer.send(associate_request() + store_request(ds.SOPInstanceUID) + pdus[: len(pdus) // 2])
    assert eventually(lambda: bool(spooled(node)))
    peer.close()
    assert c_store(node, content) == 0


def test_a_request_that_is_released_in_its_middle_is_aborted(node: RunningService) -> None:
    peer = Wire(node.dimse_port)
    peer.associate()
    peer.send(
        store_request("1.2.3")
        + whole_pdus(DATA_SET[: len(DATA_SET) // 2])
        + pdu.encode_release_request()
        + echo_request()
    )
    while (kind := peer.read_pdu()[0]) == pdu.P_DATA_TF:
        pass
    peer.close()
    assert kind == pdu.A_ABORT
    assert eventually(lambda: not spooled(node), FORGET_SECONDS)
