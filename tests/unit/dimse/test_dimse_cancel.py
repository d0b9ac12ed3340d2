"""Noticing a C-CANCEL between responses, on a pair of connected sockets."""

import socket
import time
from collections.abc import Iterator

import pytest

from dicomsvc.dimse import pdu
from dicomsvc.dimse.channel import AcceptedContext, MessageChannel, pdu_and_pdv_header
from dicomsvc.dimse.commands import C_CANCEL_RQ, C_STORE_RQ, decode_command, encode_request, encode_response
from dicomsvc.dimse.failures import ConnectionEnded, ProtocolViolation
from dicomsvc.dimse.stream import PduStream
from tests.unit.dimse.wire import COMMAND, LAST, echo_request

MESSAGE_ID_BEING_RESPONDED_TO = 0x0120


def cancel(message_id: int) -> bytes:
    command = encode_request(C_CANCEL_RQ, message_id, {MESSAGE_ID_BEING_RESPONDED_TO: message_id}, has_data_set=False)
    return pdu_and_pdv_header(1, len(command), COMMAND | LAST) + command


def stored(message_id: int) -> bytes:
    request = decode_command(encode_request(C_STORE_RQ, message_id, {}))
    command = encode_response(request, 0)
    return pdu_and_pdv_header(1, len(command), COMMAND | LAST) + command


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, MessageChannel]]:
    listener = socket.create_server(("127.0.0.1", 0))
    theirs = socket.create_connection(listener.getsockname())
    ours, _ = listener.accept()
    listener.close()
    stream = PduStream(ours, pdu_timeout_seconds=5, idle_timeout_seconds=5)
    yield theirs, MessageChannel(stream, {1: AcceptedContext(1, "1.2.3", "1.2.840.10008.1.2")}, 16384)
    theirs.close()
    ours.close()


def eventually_cancelled(channel: MessageChannel, message_id: int) -> bool:
    deadline = time.monotonic() + 5
    while not channel.cancelled(message_id):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


def test_a_silent_peer_has_not_cancelled_and_is_not_waited_for(ends: tuple[socket.socket, MessageChannel]) -> None:
    _, channel = ends
    started = time.monotonic()
    for _ in range(100):
        assert not channel.cancelled(1)
    assert time.monotonic() - started < 2


def test_a_cancel_is_noticed_even_when_it_comes_byte_by_byte(ends: tuple[socket.socket, MessageChannel]) -> None:
    theirs, channel = ends
    for byte in cancel(7)[:-1]:
        theirs.sendall(bytes((byte,)))
        assert not channel.cancelled(7)
    theirs.sendall(cancel(7)[-1:])
    assert eventually_cancelled(channel, 7)
    assert not channel.cancelled(8)


def test_a_cancel_before_the_response_to_a_sub_operation_is_remembered(
    ends: tuple[socket.socket, MessageChannel],
) -> None:
    theirs, channel = ends
    theirs.sendall(cancel(7) + stored(3))
    assert channel.response(3).command.status == 0
    assert channel.cancelled(7)


def test_another_request_within_an_operation_is_a_violation(ends: tuple[socket.socket, MessageChannel]) -> None:
    theirs, channel = ends
    theirs.sendall(echo_request())
    with pytest.raises(ProtocolViolation):
        eventually_cancelled(channel, 7)


def test_a_response_to_something_else_is_a_violation(ends: tuple[socket.socket, MessageChannel]) -> None:
    theirs, channel = ends
    theirs.sendall(stored(4))
    with pytest.raises(ProtocolViolation):
        channel.response(3)


@pytest.mark.parametrize("said", [pdu.encode_abort(), pdu.encode_release_request(), b""])
def test_a_peer_that_leaves_within_an_operation_ends_it(
    ends: tuple[socket.socket, MessageChannel], said: bytes
) -> None:
    theirs, channel = ends
    theirs.sendall(said)
    theirs.close()
    with pytest.raises((ConnectionEnded, ProtocolViolation)):
        eventually_cancelled(channel, 7)


def test_a_length_bomb_within_an_operation_is_refused_before_it_is_buffered(
    ends: tuple[socket.socket, MessageChannel],
) -> None:
    theirs, channel = ends
    theirs.sendall(b"\x04\x00\xff\xff\xff\xff")
    with pytest.raises(ProtocolViolation):
        eventually_cancelled(channel, 7)


def test_the_next_operation_of_the_same_number_is_not_cancelled(ends: tuple[socket.socket, MessageChannel]) -> None:
    theirs, channel = ends
    theirs.sendall(cancel(7))
    assert eventually_cancelled(channel, 7)
    theirs.sendall(echo_request())
    message = channel.receive()
    assert message is not None
    assert message.command.message_id == 7
    assert not channel.cancelled(7)
