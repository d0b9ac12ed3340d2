import pytest

from dicomsvc.dimse import pdu
from dicomsvc.dimse.contexts import STORED_SYNTAXES, negotiate, negotiate_roles, offer_as_stored
from dicomsvc.dimse.failures import ProtocolViolation
from dicomsvc.service.dimse import SERVICES
from tests.instances import VL_WHOLE_SLIDE
from tests.unit.dimse.wire import EXPLICIT_LITTLE, JPEG_BASELINE, VERIFICATION

JPEG_2000 = "1.2.840.10008.1.2.4.91"


def request_with(roles: tuple[pdu.RoleSelection, ...]) -> pdu.AssociateRequest:
    user = pdu.UserInformation(16384, "1.2.3", "", roles)
    return pdu.AssociateRequest("A", "B", (pdu.ProposedContext(1, VL_WHOLE_SLIDE, (JPEG_BASELINE,)),), user)


def test_roles_are_read_as_they_were_written_and_as_pynetdicom_reads_them() -> None:
    from pynetdicom.pdu import A_ASSOCIATE_RQ

    roles = (pdu.RoleSelection(VL_WHOLE_SLIDE, scu=False, scp=True), pdu.RoleSelection("1.2.3", scu=True, scp=True))
    encoded = pdu.encode_associate_request(request_with(roles))
    assert pdu.decode_associate_request(memoryview(encoded)[6:]).user.roles == roles
    theirs = A_ASSOCIATE_RQ()
    theirs.decode(encoded)
    selected = theirs.user_information.role_selection
    assert (selected[VL_WHOLE_SLIDE].scu_role, selected[VL_WHOLE_SLIDE].scp_role) == (False, True)


def test_a_role_that_is_cut_short_is_a_violation() -> None:
    encoded = bytearray(pdu.encode_associate_request(request_with((pdu.RoleSelection("1.2.3", scu=True, scp=True),))))
    at = encoded.rindex(b"1.2.3") - 1
    for wrong in (0, 4, 200):
        encoded[at] = wrong
        with pytest.raises(ProtocolViolation):
            pdu.decode_associate_request(memoryview(bytes(encoded))[6:])


def test_a_requestor_gets_the_role_of_provider_for_storage_only_and_only_if_it_asks() -> None:
    asked = (
        pdu.RoleSelection(VL_WHOLE_SLIDE, scu=False, scp=True),
        pdu.RoleSelection(VERIFICATION, scu=True, scp=True),
        pdu.RoleSelection("1.2.840.10008.5.1.4.1.1.2", scu=True, scp=False),
        pdu.RoleSelection("1.2.840.10008.5.1.4.34.6.1", scu=True, scp=True),
    )
    assert negotiate_roles(asked, SERVICES.offer, SERVICES.peer_may_provide) == (
        pdu.RoleSelection(VL_WHOLE_SLIDE, scu=False, scp=True),
        pdu.RoleSelection(VERIFICATION, scu=True, scp=False),
        pdu.RoleSelection("1.2.840.10008.5.1.4.1.1.2", scu=True, scp=False),
    )


def test_contexts_carry_the_role_of_their_class() -> None:
    proposed = [
        pdu.ProposedContext(1, VL_WHOLE_SLIDE, (JPEG_BASELINE,)),
        pdu.ProposedContext(3, VERIFICATION, (EXPLICIT_LITTLE,)),
    ]
    _, accepted = negotiate(proposed, SERVICES.offer, {VL_WHOLE_SLIDE})
    assert [context.requestor_is_scp for context in accepted.values()] == [True, False]


def test_what_is_to_be_got_is_offered_first_in_the_syntaxes_that_it_is_stored_in() -> None:
    offer = offer_as_stored(SERVICES.offer, {VL_WHOLE_SLIDE: [EXPLICIT_LITTLE, JPEG_2000]})
    assert offer(VL_WHOLE_SLIDE)[:2] == (JPEG_2000, EXPLICIT_LITTLE)
    assert sorted(offer(VL_WHOLE_SLIDE)) == sorted(STORED_SYNTAXES)
    assert offer("1.2.840.10008.5.1.4.1.1.2") == STORED_SYNTAXES
