"""Action and Event Information as bytes: against pydicom, and against bytes that are none."""

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from dicomsvc.dimse.commitment.codec import (
    MOST_REFERENCES,
    decode_action,
    decode_event,
    encode_action,
    encode_event,
)
from dicomsvc.dimse.commitment.model import ActionInformation, EventInformation, Reference
from dicomsvc.dimse.data_set import decode_data_set, encode_data_set
from dicomsvc.errors import BadRequest, NotParseable, TooLarge
from tests.instances import VL_WHOLE_SLIDE

SYNTAXES = [str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)]
CT = "1.2.840.10008.5.1.4.1.1.2"
both_syntaxes = pytest.mark.parametrize("syntax", SYNTAXES)


def references(count: int) -> tuple[Reference, ...]:
    return tuple(Reference(CT if number % 2 else VL_WHOLE_SLIDE, str(generate_uid())) for number in range(count))


def action_by_pydicom(action: ActionInformation) -> Dataset:
    ds = Dataset()
    ds.TransactionUID = action.transaction_uid
    ds.ReferencedSOPSequence = []
    for sop_class_uid, sop_instance_uid in action.references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
        ds.ReferencedSOPSequence.append(item)
    return ds


@both_syntaxes
def test_pydicom_reads_a_request_as_it_was_written(syntax: str) -> None:
    action = ActionInformation(str(generate_uid()), references(5))
    assert decode_data_set(encode_action(action, syntax), syntax) == action_by_pydicom(action)


@both_syntaxes
def test_pydicom_reads_a_report_as_it_was_written(syntax: str) -> None:
    good, bad = references(2), references(3)
    event = EventInformation(str(generate_uid()), good, tuple((reference, 0x0112) for reference in bad))
    ds = decode_data_set(encode_event(event, "SLIDES", syntax), syntax)
    assert (ds.RetrieveAETitle, ds.TransactionUID) == ("SLIDES", event.transaction_uid)
    assert [item.ReferencedSOPInstanceUID for item in ds.ReferencedSOPSequence] == [uid for _, uid in good]
    assert [(item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) for item in ds.FailedSOPSequence] == list(bad)
    assert {item.FailureReason for item in ds.FailedSOPSequence} == {0x0112}
    assert decode_event(encode_event(event, "SLIDES", syntax), syntax) == event


@both_syntaxes
@pytest.mark.parametrize("undefined_lengths", [False, True])
def test_what_pydicom_writes_is_read(syntax: str, undefined_lengths: bool) -> None:
    action = ActionInformation(str(generate_uid()), references(3))
    ds = action_by_pydicom(action)
    ds.StorageMediaFileSetID = "SET"
    nested = Dataset()
    nested.CodeValue, nested.PurposeOfReferenceCodeSequence = "1", [Dataset()]
    ds.ReferencedSOPSequence[0].PurposeOfReferenceCodeSequence = [nested, Dataset()]
    if undefined_lengths:
        for holder, keyword in (
            (ds, "ReferencedSOPSequence"),
            (ds.ReferencedSOPSequence[0], "PurposeOfReferenceCodeSequence"),
        ):
            holder[keyword].is_undefined_length = True
            for item in holder[keyword].value:
                item.is_undefined_length_sequence_item = True
    assert decode_action(encode_data_set(ds, syntax), syntax) == action


@both_syntaxes
def test_an_instance_that_is_named_twice_counts_once(syntax: str) -> None:
    first, second = references(2)
    action = ActionInformation("1.2.3", (first, second, first))
    assert decode_action(encode_action(action, syntax), syntax).references == (first, second)


@pytest.mark.parametrize("keyword", ["TransactionUID", "ReferencedSOPSequence"])
@both_syntaxes
def test_what_is_required_must_be_there(syntax: str, keyword: str) -> None:
    ds = action_by_pydicom(ActionInformation("1.2.3", references(1)))
    del ds[keyword]
    with pytest.raises(BadRequest):
        decode_action(encode_data_set(ds, syntax), syntax)


@both_syntaxes
def test_an_item_without_an_instance_is_refused(syntax: str) -> None:
    ds = action_by_pydicom(ActionInformation("1.2.3", references(2)))
    del ds.ReferencedSOPSequence[1].ReferencedSOPInstanceUID
    with pytest.raises(BadRequest, match="Referenced SOP Instance UID"):
        decode_action(encode_data_set(ds, syntax), syntax)


@both_syntaxes
def test_a_failure_without_a_reason_is_no_success(syntax: str) -> None:
    [lost] = references(1)
    event = EventInformation("1.2.3", (), ((lost, 0),))
    assert decode_event(encode_event(event, "A", syntax), syntax).failed == ((lost, 0x0110),)


@both_syntaxes
def test_as_many_instances_as_a_request_may_name_are_read(syntax: str) -> None:
    many = tuple(Reference("1.2", f"1.{number}") for number in range(MOST_REFERENCES))
    action = ActionInformation("1.2.3", many)
    assert decode_action(encode_action(action, syntax), syntax) == action
    with pytest.raises(TooLarge):
        decode_action(encode_action(ActionInformation("1.2.3", (*many, Reference("1.2", "1.2"))), syntax), syntax)


EMPTY_ITEM = b"\xfe\xff\x00\xe0\0\0\0\0"
OPEN_SEQUENCE = b"\x08\x00\x99\x11SQ\0\0\xff\xff\xff\xff"
OPEN_ITEM = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"


@pytest.mark.parametrize(
    "encoded",
    [
        OPEN_SEQUENCE + EMPTY_ITEM * 1_000_000,
        (OPEN_SEQUENCE + OPEN_ITEM) * 400_000,
        OPEN_SEQUENCE + OPEN_ITEM + b"".join(b"\x09\x00%cLO\0\0\0" % number for number in range(200)) * 4000,
        b"".join(number.to_bytes(4, "little") + b"LO\0\0" for number in range(1_000_000)),
        b"\x08\x00\x95\x11UI\xff\xff",
        b"\x08\x00\x99\x11SQ\0\0\xff\xff\xff\x7f",
        b"\x08\x00\x99\x11SQ",
        b"\0",
    ],
)
def test_bytes_that_would_cost_much_are_refused(encoded: bytes) -> None:
    with pytest.raises((NotParseable, TooLarge, BadRequest)):
        decode_action(encoded, SYNTAXES[0])


@both_syntaxes
def test_mutated_bytes_raise_nothing_but_refusals(syntax: str) -> None:
    chance = random.Random(20260103)
    original = encode_action(ActionInformation("1.2.3", references(4)), syntax)
    for _ in range(3000):
        mutated = bytearray(original)
        for _ in range(chance.randrange(1, 6)):
            mutated[chance.randrange(len(mutated))] = chance.randrange(256)
        mutated = mutated[: chance.randrange(1, len(mutated) + 1)]
        for decode in (decode_action, decode_event):
            with contextlib.suppress(NotParseable, TooLarge, BadRequest):
                decode(bytes(mutated), syntax)


@given(st.binary(max_size=300))
def test_any_bytes_raise_nothing_but_refusals(encoded: bytes) -> None:
    for syntax in SYNTAXES:
        with contextlib.suppress(NotParseable, TooLarge, BadRequest):
            decode_event(encoded, syntax)
