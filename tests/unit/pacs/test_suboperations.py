import pytest

from dicomsvc.dimse.commands import (
    COMPLETED_SUBOPERATIONS,
    FAILED_SUBOPERATIONS,
    REMAINING_SUBOPERATIONS,
    WARNING_SUBOPERATIONS,
)
from dicomsvc.dimse.data_set import decode_data_set, encode_data_set
from dicomsvc.pacs.suboperations import SubOperations


@pytest.mark.parametrize(
    ("statuses", "final"),
    [
        ([], 0x0000),
        ([0, 0], 0x0000),
        ([0, 0xB007], 0xB000),
        ([0, 0xA700], 0xB000),
        ([0xB007, 0xA700], 0xB000),
        ([0xA700, None], 0xA702),
    ],
)
def test_the_final_status_follows_from_the_counts(statuses: list[int | None], final: int) -> None:
    operations = SubOperations(len(statuses))
    for number, status in enumerate(statuses):
        operations.done(f"1.2.{number}", status)
    assert operations.status == final


def test_counts_are_told_with_what_remains_until_the_end() -> None:
    operations = SubOperations(4)
    for status in (0, 0xB000, 0xC000):
        operations.done("1.2.3", status)
    assert operations.elements(with_remaining=True) == {
        REMAINING_SUBOPERATIONS: 1,
        COMPLETED_SUBOPERATIONS: 1,
        FAILED_SUBOPERATIONS: 1,
        WARNING_SUBOPERATIONS: 1,
    }
    assert REMAINING_SUBOPERATIONS not in operations.elements(with_remaining=False)


def test_what_was_deleted_meanwhile_has_failed() -> None:
    operations = SubOperations(3)
    operations.done("1.2.3", 0)
    operations.lost()
    assert (operations.failed, operations.remaining, operations.status) == (2, 0, 0xB000)


def test_more_sub_operations_than_a_field_holds_are_told_as_the_most_it_holds() -> None:
    operations = SubOperations(100_000)
    assert operations.elements(with_remaining=True)[REMAINING_SUBOPERATIONS] == 0xFFFF


def test_a_list_of_failures_fits_its_element_in_an_explicit_transfer_syntax() -> None:
    operations = SubOperations(5000)
    for number in range(5000):
        operations.done(f"{'1.' * 30}{number + 1000}", None)
    identifier = operations.identifier()
    assert identifier is not None
    read = decode_data_set(encode_data_set(identifier, "1.2.840.10008.1.2.1"), "1.2.840.10008.1.2.1")
    assert read["FailedSOPInstanceUIDList"].VR == "UI"
    assert len(read.FailedSOPInstanceUIDList) > 900
