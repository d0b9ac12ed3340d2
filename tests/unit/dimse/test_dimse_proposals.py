import pytest

from dicomsvc.dicom.uids import is_storage_class
from dicomsvc.dimse import pdu
from dicomsvc.dimse.contexts import STORED_SYNTAXES
from dicomsvc.dimse.proposals import SYNTAXES, USUAL_SOP_CLASSES, storage_contexts
from tests.instances import VL_WHOLE_SLIDE
from tests.unit.dimse.wire import EXPLICIT_LITTLE, JPEG_BASELINE

JPEG_2000 = "1.2.840.10008.1.2.4.91"


def classes(count: int) -> list[str]:
    return [f"1.2.3.{number}" for number in range(count)]


@pytest.mark.parametrize("count", [1, 2, 6, 7, 21, 42])
def test_every_class_is_proposed_in_every_syntax_within_what_an_association_holds(count: int) -> None:
    contexts = storage_contexts(classes(count))
    assert len(contexts) <= 127
    numbers = [context.context_id for context in contexts]
    assert len(set(numbers)) == len(numbers)
    assert all(number % 2 == 1 and 3 <= number <= 255 for number in numbers)
    proposed = {(context.abstract_syntax, syntax) for context in contexts for syntax in context.transfer_syntaxes}
    assert proposed == {(sop_class, syntax) for sop_class in classes(count) for syntax in STORED_SYNTAXES}


def test_as_far_as_there_is_room_each_syntax_has_a_context_of_its_own() -> None:
    assert len(SYNTAXES) == len(STORED_SYNTAXES) == 20
    assert all(len(context.transfer_syntaxes) == 1 for context in storage_contexts(classes(6)))


def test_slides_in_jpeg_and_labels_that_are_not_compressed_can_come_on_one_association_whatever_is_proposed() -> None:
    contexts = [each for each in storage_contexts(USUAL_SOP_CLASSES) if each.abstract_syntax == VL_WHOLE_SLIDE]
    alone = [each.transfer_syntaxes[0] for each in contexts if len(each.transfer_syntaxes) == 1]
    assert {JPEG_BASELINE, EXPLICIT_LITTLE, JPEG_2000} < set(alone)
    assert len([each for each in contexts if len(each.transfer_syntaxes) > 1]) == 1


def test_the_usual_classes_are_storage_and_their_request_is_not_longer_than_data_pdus_are() -> None:
    assert len(set(USUAL_SOP_CLASSES)) == len(USUAL_SOP_CLASSES)
    assert all(is_storage_class(uid) for uid in USUAL_SOP_CLASSES)
    roles = tuple(pdu.RoleSelection(uid, scu=False, scp=True) for uid in USUAL_SOP_CLASSES)
    user = pdu.UserInformation(1 << 16, "1.2.3", roles=roles)
    request = pdu.AssociateRequest("A", "B", storage_contexts(USUAL_SOP_CLASSES), user)
    assert len(pdu.encode_associate_request(request)) < 32768
