from pathlib import Path

import pytest
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)
from pynetdicom import AllStoragePresentationContexts
from pynetdicom.dsutils import split_dataset

from dicomsvc.dimse.commands import C_ECHO_RQ, C_STORE_RQ
from dicomsvc.dimse.contexts import STORED_SYNTAXES, negotiate
from dicomsvc.dimse.pdu import (
    ABSTRACT_SYNTAX_NOT_SUPPORTED,
    ACCEPTED,
    TRANSFER_SYNTAXES_NOT_SUPPORTED,
    ProposedContext,
)
from dicomsvc.dimse.verification import VERIFICATION_SOP_CLASS as VERIFICATION
from dicomsvc.service.dimse import SERVICES
from tests.instances import VL_WHOLE_SLIDE, part10, wsi_dataset

offer = SERVICES.offer

LABEL_MAP_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.7"
MICROSCOPY_BULK_SIMPLE_ANNOTATIONS = "1.2.840.10008.5.1.4.1.1.91.1"
PATIENT_STUDY_ONLY_FIND = "1.2.840.10008.5.1.4.1.2.3.1"


def test_the_compressed_syntax_is_chosen_whatever_the_requestor_lists_first() -> None:
    proposed = [ProposedContext(1, VL_WHOLE_SLIDE, (ImplicitVRLittleEndian, ExplicitVRLittleEndian, JPEGBaseline8Bit))]
    results, accepted = negotiate(proposed, offer)
    assert (results[0].result, results[0].transfer_syntax) == (ACCEPTED, JPEGBaseline8Bit)
    assert accepted[1].transfer_syntax == JPEGBaseline8Bit


def test_what_is_not_served_is_refused_with_the_reason() -> None:
    results, accepted = negotiate(
        [
            ProposedContext(1, PATIENT_STUDY_ONLY_FIND, (ImplicitVRLittleEndian,)),
            ProposedContext(3, VL_WHOLE_SLIDE, (DeflatedExplicitVRLittleEndian,)),
            ProposedContext(5, VL_WHOLE_SLIDE, (DeflatedExplicitVRLittleEndian, JPEG2000)),
        ],
        offer,
    )
    assert [result.result for result in results] == [
        ABSTRACT_SYNTAX_NOT_SUPPORTED,
        TRANSFER_SYNTAXES_NOT_SUPPORTED,
        ACCEPTED,
    ]
    assert list(accepted) == [5]


@pytest.mark.parametrize(
    "sop_class",
    [
        *(str(context.abstract_syntax) for context in AllStoragePresentationContexts),
        LABEL_MAP_SEGMENTATION,
        MICROSCOPY_BULK_SIMPLE_ANNOTATIONS,
        "1.2.840.10008.5.1.4.1.1.99999",
        "1.2.276.0.7230010.3.1.0.1",
    ],
)
def test_every_storage_class_is_offered_also_private_and_future_ones(sop_class: str) -> None:
    assert offer(sop_class) == STORED_SYNTAXES


def test_each_row_of_the_table_has_a_handler_and_verification_is_one() -> None:
    assert {C_ECHO_RQ, C_STORE_RQ} <= {row.command_field for row in SERVICES.rows}
    assert offer(VERIFICATION)


def test_pynetdicom_still_splits_files_as_the_sender_needs(tmp_path: Path) -> None:
    content = part10(wsi_dataset(frames=1))
    path = tmp_path / "one.dcm"
    path.write_bytes(content)
    meta, offset = split_dataset(path)
    assert meta.TransferSyntaxUID == JPEGBaseline8Bit
    assert content[offset : offset + 4] == b"\x08\x00\x05\x00"
