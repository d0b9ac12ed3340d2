import pytest
from pydicom import Dataset

from dicomsvc.dimse.information_models import PATIENT_ROOT_FIND, STUDY_ROOT_FIND
from dicomsvc.errors import BadRequest, InvalidIdentifier
from dicomsvc.pacs.keys import read_identifier
from dicomsvc.pacs.models import QueryLevel, level_of_identifier
from dicomsvc.pacs.retrieval import selection_of
from dicomsvc.store import Selection
from dicomsvc.store.query.values import Names, Range, Texts


def identifier(**keys: object) -> Dataset:
    ds = Dataset()
    for keyword, value in keys.items():
        setattr(ds, keyword, value)
    return ds


def test_the_patient_root_has_four_levels_and_the_study_root_three() -> None:
    for level in QueryLevel:
        assert level_of_identifier(identifier(QueryRetrieveLevel=str(level)), PATIENT_ROOT_FIND) is level
    for level in (QueryLevel.STUDY, QueryLevel.SERIES, QueryLevel.IMAGE):
        assert level_of_identifier(identifier(QueryRetrieveLevel=str(level)), STUDY_ROOT_FIND) is level
    for wrong in ("PATIENT", "INSTANCE", "", None):
        with pytest.raises(InvalidIdentifier):
            level_of_identifier(identifier(QueryRetrieveLevel=wrong), STUDY_ROOT_FIND)


def test_keys_become_matches_and_the_shape_of_the_responses() -> None:
    asked = read_identifier(
        identifier(
            QueryRetrieveLevel="SERIES", PatientName="a*", StudyDate="2026-", Modality=r"SM\SR", SeriesNumber=None
        ),
        STUDY_ROOT_FIND,
    )
    assert asked.all_supported
    matches = {key.attribute.name: key.match for key in asked.query.keys}
    assert matches["PatientName"] == Names(("A*",))
    assert matches["StudyDate"] == Range("20260101", None)
    assert matches["Modality"] == Texts(("SM", "SR"))
    assert "SeriesNumber" not in matches
    assert list(asked.shape) == sorted(asked.shape)
    unique = {"0020000D", "0020000E"}
    always = {"00080005", "00080052", "00080054", "00080056"}
    assert set(asked.shape) == {"00100010", "00080020", "00080060", "00200011"} | unique | always
    assert not always & set(asked.listing.asked)


def test_the_patient_is_a_level_of_the_patient_root_only() -> None:
    keys = identifier(QueryRetrieveLevel="SERIES")
    assert "00100020" in read_identifier(keys, PATIENT_ROOT_FIND).shape
    assert "00100020" not in read_identifier(keys, STUDY_ROOT_FIND).shape


def test_a_key_below_the_level_is_matched_but_not_returned() -> None:
    asked = read_identifier(identifier(QueryRetrieveLevel="STUDY", Modality="SM"), STUDY_ROOT_FIND)
    assert not asked.all_supported
    assert [key.attribute.name for key in asked.query.keys] == ["Modality"]
    assert "00080060" not in asked.shape


def test_private_keys_and_those_that_cannot_match_are_unsupported_and_harmless() -> None:
    for tag, vr, value in ((0x00091001, "LO", "x"), (0x00420011, "OB", b"ab")):
        ds = identifier(QueryRetrieveLevel="IMAGE")
        ds.add_new(tag, vr, value)
        asked = read_identifier(ds, STUDY_ROOT_FIND)
        assert not asked.all_supported
        assert not asked.query.keys


def test_a_sequence_key_has_one_item_and_gives_the_shape_of_the_returned_ones() -> None:
    item = identifier(SpecimenIdentifier="SP-1", SpecimenUID=None)
    asked = read_identifier(identifier(QueryRetrieveLevel="IMAGE", SpecimenDescriptionSequence=[item]), STUDY_ROOT_FIND)
    assert [key.attribute.path for key in asked.query.keys] == [("00400560", "00400551")]
    assert asked.shape["00400560"] == {"00400551": None, "00400554": None}
    with pytest.raises(InvalidIdentifier):
        read_identifier(
            identifier(QueryRetrieveLevel="IMAGE", SpecimenDescriptionSequence=[item, item]), STUDY_ROOT_FIND
        )


def test_a_value_that_its_vr_does_not_allow_is_told_without_being_repeated() -> None:
    with pytest.raises(BadRequest) as refused:
        read_identifier(identifier(QueryRetrieveLevel="STUDY", StudyDate="Doe^John"), STUDY_ROOT_FIND)
    assert "Doe" not in refused.value.message


def test_a_retrieval_needs_the_unique_key_of_its_level() -> None:
    keys = identifier(PatientID="P", StudyInstanceUID="1.2", SeriesInstanceUID=["1.3", "1.4"], SOPInstanceUID="1.5")
    assert selection_of(keys, QueryLevel.SERIES) == Selection(("P",), ("1.2",), ("1.3", "1.4"), ())
    assert selection_of(keys, QueryLevel.PATIENT) == Selection(("P",))
    assert selection_of(identifier(SOPInstanceUID="1.5"), QueryLevel.IMAGE) == Selection(sop_instance_uids=("1.5",))
    for wrong in (identifier(PatientID="P"), identifier(StudyInstanceUID=""), identifier()):
        with pytest.raises(InvalidIdentifier):
            selection_of(wrong, QueryLevel.STUDY)


def test_a_retrieval_takes_no_wildcard_for_a_uid() -> None:
    keys = identifier()
    keys.add_new(0x0020000D, "LO", "1.2.*")
    with pytest.raises(InvalidIdentifier):
        selection_of(keys, QueryLevel.STUDY)
