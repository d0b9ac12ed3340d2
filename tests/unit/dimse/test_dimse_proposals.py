import pytest

from dicomsvc.dicom.uids import is_storage_class, may_have_pixel_data
from dicomsvc.dimse import pdu
from dicomsvc.dimse.contexts import STORED_SYNTAXES
from dicomsvc.dimse.proposals import MOST_CLASSES, SYNTAXES, USUAL_SOP_CLASSES, contexts_in, storage_contexts
from tests.instances import VL_WHOLE_SLIDE
from tests.unit.dimse.wire import EXPLICIT_LITTLE, JPEG_BASELINE

IMPLICIT_LITTLE, JPEG_2000 = "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.91"
SR, SEGMENTATION, CT = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.2"
NO_IMAGES = [uid for uid in USUAL_SOP_CLASSES if not may_have_pixel_data(uid)]


def images(count: int) -> list[str]:
    return [f"1.2.3.{number}" for number in range(count)]


def alone(contexts: tuple[pdu.ProposedContext, ...], sop_class_uid: str) -> list[str]:
    """Return the transfer syntaxes that have contexts of their own."""
    of_class = [each.transfer_syntaxes for each in contexts if each.abstract_syntax == sop_class_uid]
    return [syntaxes[0] for syntaxes in of_class if len(syntaxes) == 1]


@pytest.mark.parametrize(
    "classes",
    [
        *(images(count) for count in (1, 2, 6, 7, 21, MOST_CLASSES)),
        [SR],
        NO_IMAGES,
        [*images(5), *NO_IMAGES],
        [*images(MOST_CLASSES - len(NO_IMAGES)), *NO_IMAGES],
        list(USUAL_SOP_CLASSES),
    ],
    ids=lambda classes: f"{len(classes)} classes",
)
def test_every_class_is_proposed_in_every_syntax_within_what_an_association_holds(classes: list[str]) -> None:
    contexts = storage_contexts(classes)
    assert len(contexts) <= 127
    numbers = [context.context_id for context in contexts]
    assert len(set(numbers)) == len(numbers)
    assert all(number % 2 == 1 and 3 <= number <= 255 for number in numbers)
    proposed = [(context.abstract_syntax, syntax) for context in contexts for syntax in context.transfer_syntaxes]
    assert len(proposed) == len(set(proposed))
    assert set(proposed) == {(sop_class, syntax) for sop_class in classes for syntax in STORED_SYNTAXES}


def test_as_far_as_there_is_room_each_syntax_has_a_context_of_its_own() -> None:
    assert len(SYNTAXES) == len(STORED_SYNTAXES) == 20
    assert all(len(context.transfer_syntaxes) == 1 for context in storage_contexts(images(6)))


def test_slides_with_what_models_and_people_say_of_them_have_contexts_for_each_syntax() -> None:
    contexts = storage_contexts([VL_WHOLE_SLIDE, SEGMENTATION, CT, *NO_IMAGES])
    for sop_class in (VL_WHOLE_SLIDE, SEGMENTATION, CT):
        assert set(alone(contexts, sop_class)) == set(STORED_SYNTAXES)


def test_what_has_no_pixel_data_is_wanted_without_compression_first() -> None:
    assert len(NO_IMAGES) == 8
    contexts = storage_contexts([VL_WHOLE_SLIDE, SR])
    assert alone(contexts, SR) == [EXPLICIT_LITTLE, IMPLICIT_LITTLE]
    assert not may_have_pixel_data(SR)
    assert all(map(may_have_pixel_data, (VL_WHOLE_SLIDE, SEGMENTATION, CT, "1.2.3")))


def test_slides_in_jpeg_and_labels_that_are_not_compressed_can_come_on_one_association_whatever_is_proposed() -> None:
    assert {JPEG_BASELINE, EXPLICIT_LITTLE, JPEG_2000} < set(alone(storage_contexts(USUAL_SOP_CLASSES), VL_WHOLE_SLIDE))


def test_one_syntax_is_proposed_for_each_class() -> None:
    contexts = contexts_in([VL_WHOLE_SLIDE, SR], JPEG_2000)
    assert [(each.abstract_syntax, each.transfer_syntaxes) for each in contexts] == [
        (VL_WHOLE_SLIDE, (JPEG_2000,)),
        (SR, (JPEG_2000,)),
    ]


def test_the_usual_classes_are_storage_and_their_request_is_not_longer_than_data_pdus_are() -> None:
    assert len(set(USUAL_SOP_CLASSES)) == len(USUAL_SOP_CLASSES)
    assert all(is_storage_class(uid) for uid in USUAL_SOP_CLASSES)
    roles = tuple(pdu.RoleSelection(uid, scu=False, scp=True) for uid in USUAL_SOP_CLASSES)
    user = pdu.UserInformation(1 << 16, "1.2.3", roles=roles)
    request = pdu.AssociateRequest("A", "B", storage_contexts(USUAL_SOP_CLASSES), user)
    assert len(pdu.encode_associate_request(request)) < 32768
