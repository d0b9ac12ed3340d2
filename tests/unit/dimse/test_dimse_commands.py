import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.filereader import read_dataset

from dicomsvc.dimse import commands
from dicomsvc.dimse.failures import ProtocolViolation
from dicomsvc.ingest.dimse.file_meta import IMPLEMENTATION_CLASS_UID, part10_head


def test_a_request_is_read_as_it_was_written() -> None:
    command = commands.decode_command(
        commands.encode_request(
            commands.C_STORE_RQ,
            77,
            {commands.AFFECTED_SOP_CLASS_UID: "1.2.3", commands.AFFECTED_SOP_INSTANCE_UID: "1.2.3.4.5"},
        )
    )
    assert command.command_field == commands.C_STORE_RQ
    assert command.message_id == 77
    assert (command.affected_sop_class_uid, command.affected_sop_instance_uid) == ("1.2.3", "1.2.3.4.5")
    assert command.has_data_set and command.expects_response


def test_a_response_is_what_pydicom_understands_in_ascending_order() -> None:
    request = commands.decode_command(
        commands.encode_request(
            commands.C_STORE_RQ,
            77,
            {commands.AFFECTED_SOP_CLASS_UID: "1.2.3", commands.AFFECTED_SOP_INSTANCE_UID: "1.2.3.4.5"},
        )
    )
    encoded = commands.encode_response(request, 0xA700, "x" * 100)
    ds = read_dataset(io.BytesIO(encoded), is_implicit_VR=True, is_little_endian=True)
    assert ds.CommandGroupLength == len(encoded) - 12
    assert (ds.CommandField, ds.MessageIDBeingRespondedTo, ds.Status) == (0x8001, 77, 0xA700)
    assert ds.CommandDataSetType == 0x0101
    assert ds.ErrorComment == "x" * 64
    assert list(ds.keys()) == sorted(ds.keys())


@pytest.mark.parametrize("cut", [1, 7, 20, -1])
def test_a_command_that_is_cut_short_is_a_violation(cut: int) -> None:
    with pytest.raises(ProtocolViolation):
        commands.decode_command(
            commands.encode_request(
                commands.C_STORE_RQ,
                1,
                {commands.AFFECTED_SOP_CLASS_UID: "1.2.3", commands.AFFECTED_SOP_INSTANCE_UID: "1.2.3.4"},
            )[:cut]
        )


@given(st.binary(max_size=100))
def test_noise_is_read_or_is_a_violation(noise: bytes) -> None:
    try:
        commands.decode_command(noise)
    except ProtocolViolation:
        return


def test_the_head_of_a_received_file_is_what_pydicom_understands() -> None:
    head = part10_head(
        sop_class_uid="1.2.3",
        sop_instance_uid="1.2.3.4",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        source_ae_title="SENDER",
    )
    meta = dcmread(io.BytesIO(head)).file_meta
    assert meta.FileMetaInformationGroupLength == len(head) - 144
    assert meta.MediaStorageSOPInstanceUID == "1.2.3.4"
    assert meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert meta.ImplementationClassUID.is_valid
    assert meta.SourceApplicationEntityTitle == "SENDER"
