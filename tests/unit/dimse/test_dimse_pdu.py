import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomsvc.dimse import pdu
from dicomsvc.dimse.failures import ProtocolViolation
from tests.unit.dimse.wire import associate_request


def body(encoded: bytes) -> memoryview:
    assert int.from_bytes(encoded[2:6], "big") == len(encoded) - 6
    return memoryview(encoded)[6:]


def test_an_associate_request_is_read_as_it_was_written() -> None:
    request = pdu.AssociateRequest(
        "CALLED",
        "CALLING",
        (pdu.ProposedContext(1, "1.2", ("1.2.3", "1.2.4")), pdu.ProposedContext(255, "1.3", ("1.2.3",))),
        pdu.UserInformation(16384, "1.2.3.4", "VERSION"),
    )
    assert pdu.decode_associate_request(body(pdu.encode_associate_request(request))) == request


def test_an_associate_accept_is_read_as_it_was_written() -> None:
    accept = pdu.AssociateAccept(
        "CALLED",
        "CALLING",
        (pdu.ContextResult(1, pdu.ACCEPTED, "1.2.3"), pdu.ContextResult(3, 3, "1.2.840.10008.1.2")),
        pdu.UserInformation(131072, "1.2.3.4", "VERSION"),
    )
    assert pdu.decode_associate_accept(body(pdu.encode_associate_accept(accept))) == accept


def test_our_pdus_are_what_pynetdicom_understands() -> None:
    from pynetdicom.pdu import A_ASSOCIATE_RQ

    theirs = A_ASSOCIATE_RQ()
    theirs.decode(associate_request(called="A", calling="B"))
    assert (theirs.called_ae_title.strip(), theirs.calling_ae_title.strip()) == ("A", "B")
    assert [context.context_id for context in theirs.presentation_context] == [1, 3]
    assert theirs.encode() == associate_request(called="A", calling="B")


@pytest.mark.parametrize("identifiers", [(), (1, 1), tuple(range(1, 260, 2))])
def test_a_request_with_impossible_contexts_is_a_violation(identifiers: tuple[int, ...]) -> None:
    contexts = [pdu.ProposedContext(number % 256 | 1, "1.2", ("1.2.3",)) for number in identifiers]
    with pytest.raises(ProtocolViolation):
        pdu.decode_associate_request(body(associate_request(contexts=contexts)))


@given(st.integers(0, 300), st.binary(min_size=1, max_size=8))
def test_damaged_requests_are_read_or_are_violations(position: int, damage: bytes) -> None:
    encoded = bytearray(body(associate_request()))
    encoded[position : position + len(damage)] = damage
    try:
        pdu.decode_associate_request(memoryview(bytes(encoded)))
    except ProtocolViolation as violation:
        assert violation.reason == pdu.INVALID_PARAMETER


@given(st.binary(max_size=200))
def test_noise_is_a_violation(noise: bytes) -> None:
    for decode in (pdu.decode_associate_request, pdu.decode_rejection, pdu.decode_associate_accept):
        try:
            decode(memoryview(noise))
        except ProtocolViolation:
            continue


def test_a_title_that_would_forge_a_log_line_is_made_harmless() -> None:
    assert pdu.printable(b"EVIL\r\n\x1b[31m \x00") == "EVIL???[31m"


def test_a_rejection_and_an_abort_have_the_bytes_of_the_standard() -> None:
    assert pdu.encode_rejection(pdu.LOCAL_LIMIT_EXCEEDED) == bytes.fromhex("03000000000400020302")
    assert pdu.encode_abort(pdu.UNEXPECTED_PDU) == bytes.fromhex("07000000000400000202")
    assert pdu.encode_release_reply() == bytes.fromhex("06000000000400000000")
