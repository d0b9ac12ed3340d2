import pytest
from pydicom import uid

from dicomsvc.dicom import TRANSFER_SYNTAXES, is_storage_class, is_valid_uid, new_uid


def test_new_uids_are_valid_and_differ() -> None:
    made = {new_uid() for _ in range(100)}
    assert len(made) == 100
    assert all(is_valid_uid(each, strict=True) for each in made)


@pytest.mark.parametrize("text", ["1.2.3", "0.0", "2.25.1", "1." * 31 + "12"])
def test_well_formed_uids_are_valid(text: str) -> None:
    assert is_valid_uid(text, strict=True)


@pytest.mark.parametrize("text", ["", ".", "1.", ".1", "1..2", "1.2\n", "1.a", "../1", "1.2 ", "1." * 32 + "1", "١.٢"])
def test_malformed_uids_are_not(text: str) -> None:
    assert not is_valid_uid(text)


def test_leading_zeros_are_only_strictly_wrong() -> None:
    assert is_valid_uid("1.02")
    assert not is_valid_uid("1.02", strict=True)


@pytest.mark.parametrize(
    "sop_class",
    [
        uid.VLWholeSlideMicroscopyImageStorage,
        uid.SegmentationStorage,
        uid.Comprehensive3DSRStorage,
        uid.MicroscopyBulkSimpleAnnotationsStorage,
        uid.ParametricMapStorage,
        "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation
        "1.3.6.1.4.1.5962.99.1",  # private
    ],
)
def test_storage_classes_are_told(sop_class: str) -> None:
    assert is_storage_class(sop_class)


@pytest.mark.parametrize(
    "sop_class",
    [
        uid.MediaStorageDirectoryStorage,
        "1.2.840.10008.1.1",  # Verification
        "1.2.840.10008.1.20.1",  # Storage Commitment Push Model
        "1.2.840.10008.5.1.4.31",  # Modality Worklist
        "1.2.840.10008.5.1.4.1.2.2.1",  # Study Root Query/Retrieve
        "1.2.840.10008.5.1.4.34.6.1",  # Unified Procedure Step
        "1.2.840.10008.9999",
    ],
)
def test_other_classes_are_not(sop_class: str) -> None:
    assert not is_storage_class(sop_class)


def test_refused_transfer_syntaxes_are_not_in_the_table() -> None:
    assert uid.DeflatedExplicitVRLittleEndian not in TRANSFER_SYNTAXES
    assert uid.MPEG4HP41 not in TRANSFER_SYNTAXES
    assert TRANSFER_SYNTAXES[uid.JPEG2000].media_type == "image/jp2"
    assert TRANSFER_SYNTAXES[uid.HTJ2K].media_type == "image/jphc"
    assert TRANSFER_SYNTAXES[uid.RLELossless].media_type == "image/dicom-rle"
    assert TRANSFER_SYNTAXES[uid.ImplicitVRLittleEndian].implicit
