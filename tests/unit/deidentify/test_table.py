"""The table of PS3.15 E.1-1 as data, and what is done with single attributes."""

import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword

from dicomsvc.deidentify.profile import Profile
from dicomsvc.deidentify.rules import Action, Rules
from dicomsvc.deidentify.table import row_of, rows


def test_the_table_is_whole() -> None:
    assert len(rows()) == 656
    assert len({row.tag for row in rows()}) == 656
    assert {code for row in rows() for code in row.basic.replace("*", "").split("/")} == {"X", "Z", "D", "U"}
    for row in rows():
        assert {row.uids, row.device, row.institution, row.patient, row.descriptors} <= {"", "K", "C", "X"}
        assert (row.full_dates, row.modified_dates) in (("", ""), ("K", "C"))


@pytest.mark.parametrize(
    ("tag", "keyword", "basic"),
    [
        (0x00100010, "PatientName", "Z"),
        (0x00100020, "PatientID", "Z/D"),
        (0x00080050, "AccessionNumber", "Z"),
        (0x00080018, "SOPInstanceUID", "U"),
        (0x0008002A, "AcquisitionDateTime", "X/Z/D"),
        (0x00081140, "ReferencedImageSequence", "X/Z/U*"),
        (0x0040A730, "ContentSequence", "D"),
        (0x00400512, "ContainerIdentifier", "D"),
        (0x00400610, "SpecimenPreparationSequence", "Z"),
        (0x006A0005, "AnnotationGroupLabel", "D"),
        (0x22000005, "BarcodeValue", "X/Z"),
        (0x60023000, "OverlayData", "X"),
        (0x50FE0010, "CurveData", "X"),
    ],
)
def test_facts_of_the_table(tag: int, keyword: str, basic: str) -> None:
    row = row_of(tag)
    assert row is not None and (row.keyword, row.basic) == (keyword, basic)


def test_options_of_the_table() -> None:
    def of(keyword: str, option: str) -> str:
        row = row_of(tag_for_keyword(keyword) or 0)
        assert row is not None
        return str(getattr(row, option))

    assert of("StudyDate", "full_dates") == "K" and of("StudyDate", "modified_dates") == "C"
    assert of("PatientBirthDate", "full_dates") == ""
    assert of("DeviceSerialNumber", "device") == "K" and of("InstitutionName", "institution") == "K"
    assert of("PatientAge", "patient") == "K" and of("Allergies", "patient") == "C"
    assert of("StudyDescription", "descriptors") == "C" and of("ContentSequence", "structured_content") == "C"
    assert of("DigitalSignatureUID", "uids") == "" and of("ReferencedPatientSequence", "uids") == "X"


BASIC = Rules(Profile())


@pytest.mark.parametrize(
    ("keyword", "action"),
    [
        ("Rows", Action.KEEP),
        ("PointCoordinatesData", Action.KEEP),
        ("ImageType", Action.CODE_STRING),
        ("PixelSpacing", Action.NUMBER_TEXT),
        ("OpticalPathDescription", Action.REMOVE),
        ("DimensionDescriptionLabel", Action.REMOVE),
        ("SegmentDescription", Action.REMOVE),
        ("MakerNote", Action.REMOVE),
        ("DateOfGainCalibration", Action.REMOVE),
        ("ReferencedSeriesSequence", Action.ITEMS),
        ("EncryptedAttributesSequence", Action.REMOVE),
    ],
)
def test_attributes_that_the_table_does_not_name(keyword: str, action: Action) -> None:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    assert BASIC.action(tag, dictionary_VR(tag)) is action


def test_unknown_attributes_are_removed() -> None:
    for vr in ("LO", "US", "FD", "UI", "SQ", "OB", "UN"):
        assert BASIC.action(0x00089999, vr) is Action.REMOVE
