import json
from io import BytesIO

import pytest
from pydicom import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicomsvc.pacs.identifiers import IdentifierEncoder, Shape

SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian]


def encode(document: dict[str, object], shape: Shape, syntax: str) -> bytes:
    texts = [json.dumps(document[tag]) if tag in document else None for tag in shape]
    [encoded] = IdentifierEncoder(list(shape), {}, shape, syntax).encode([texts])
    return encoded


def round_trip(document: dict[str, object], shape: Shape, syntax: str) -> Dataset:
    encoded = encode(document, shape, syntax)
    assert len(encoded) % 2 == 0
    return read_dataset(BytesIO(encoded), syntax == ImplicitVRLittleEndian, is_little_endian=True)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_what_pydicom_writes_as_json_is_read_back_from_the_bytes(syntax: str) -> None:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME"]
    ds.PatientName = "Wang^XiaoDong=王^小东"
    ds.PatientID, ds.StudyDate, ds.StudyTime, ds.SeriesNumber = "ÄÖ-1", "20260102", "101112.5", 7
    ds.PixelSpacing = [0.00025, 0.00025]
    ds.Rows, ds.TotalPixelMatrixRows = 512, 70000
    ds.RecommendedDisplayFrameRateInFloat = 2.5
    ds.DimensionIndexPointer = 0x00080018
    ds.LossyImageCompressionRatio = None
    inner = Dataset()
    inner.SpecimenIdentifier, inner.SpecimenUID = "SP-1", "1.2.3"
    ds.SpecimenDescriptionSequence = [inner, Dataset()]
    document = ds.to_json_dict()
    found = round_trip(document, dict.fromkeys(document), syntax)
    assert found.to_json_dict() == document


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_only_what_is_asked_for_is_written_and_what_is_missing_has_no_value(syntax: str) -> None:
    inner = {"00400551": {"vr": "LO", "Value": ["SP-1"]}, "00400554": {"vr": "UI", "Value": ["1.2"]}}
    document = {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B"}]},
        "00400560": {"vr": "SQ", "Value": [inner]},
    }
    shape: Shape = {"00100020": None, "00400560": {"00400551": None, "00400600": None}}
    found = round_trip(document, shape, syntax)
    assert "PatientName" not in found
    assert not found.PatientID
    [item] = found.SpecimenDescriptionSequence
    assert (item.SpecimenIdentifier, item.SpecimenShortDescription) == ("SP-1", "")
    assert "SpecimenUID" not in item


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_value_longer_than_its_length_field_is_still_sent(syntax: str) -> None:
    uids = [f"1.2.3.{number}" for number in range(20_000)]
    encoded = encode({"00081155": {"vr": "UI", "Value": uids}}, {"00081155": None}, syntax)
    found = read_dataset(BytesIO(encoded), syntax == ImplicitVRLittleEndian, is_little_endian=True)
    element = found["ReferencedSOPInstanceUID"]
    sent = bytes(element.value).decode().rstrip("\0").split("\\") if element.VR == "UN" else list(element.value)
    assert sent == uids


@pytest.mark.parametrize("vr", ["US", "FD", "SL"])
def test_a_number_that_is_none_is_left_out(vr: str) -> None:
    encoded = encode({"00280010": {"vr": vr, "Value": ["NaN"]}}, {"00280010": None}, ImplicitVRLittleEndian)
    assert encoded == b"\x28\x00\x10\x00\0\0\0\0"


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_values_that_change_from_result_to_result_are_each_their_own(syntax: str) -> None:
    fixed = {"00080052": {"vr": "CS", "Value": ["STUDY"]}}
    shape: Shape = {"00080052": None, "00100010": None, "00100020": None}
    encoder = IdentifierEncoder(["00100020", "00100010"], fixed, shape, syntax)
    names = '{"vr": "PN", "Value": [{"Alphabetic": "A^B"}]}'
    patient_ids = ("1", "1", "2", None, "1")
    texts = [None if each is None else json.dumps({"vr": "LO", "Value": [each]}) for each in patient_ids]
    found = []
    for encoded in encoder.encode([(text, names) for text in texts]):
        ds = read_dataset(BytesIO(encoded), syntax == ImplicitVRLittleEndian, is_little_endian=True)
        assert (ds.QueryRetrieveLevel, ds.PatientName) == ("STUDY", "A^B")
        found.append(ds.PatientID or "")
    assert found == ["1", "1", "2", "", "1"]


@pytest.mark.parametrize("value", ["plain", 'a "quoted" one', "back\\\\slash", "王^小东", "a]}b", "", "line\nbreak"])
def test_texts_are_the_same_whether_json_escapes_them_or_not(value: str) -> None:
    shape: Shape = {"00081030": None}
    encoder = IdentifierEncoder(["00081030"], {}, shape, ImplicitVRLittleEndian)
    for text in (
        json.dumps({"vr": "LO", "Value": [value]}, ensure_ascii=False),
        json.dumps({"vr": "LO", "Value": [value]}, ensure_ascii=False, separators=(",", ":")),
    ):
        assert encoder.encode([[text]])[0][8:].decode().rstrip() == value


@pytest.mark.parametrize(
    ("tag", "element", "value"),
    [
        ("00200013", {"vr": "IS", "Value": [12]}, "12"),
        ("00200013", {"vr": "IS", "Value": [-1]}, "-1"),
        ("00200013", {"vr": "IS", "Value": [1, 2]}, "1\\2"),
        ("00100010", {"vr": "PN", "Value": [{"Alphabetic": "A^B"}]}, "A^B"),
        ("00100010", {"vr": "PN", "Value": [{"Ideographic": "王^小东"}]}, "=王^小东"),
        ("00100010", {"vr": "PN", "Value": [{"Alphabetic": "A"}, {"Alphabetic": "B"}]}, "A\\B"),
        ("00080008", {"vr": "CS", "Value": ["ORIGINAL", "PRIMARY"]}, "ORIGINAL\\PRIMARY"),
        ("00100020", {"vr": "SH", "Value": ["another VR"]}, "another VR"),
    ],
)
def test_a_value_is_the_same_whatever_shape_its_json_has(tag: str, element: dict[str, object], value: str) -> None:
    for separators in ((", ", ": "), (",", ":")):
        text = json.dumps(element, ensure_ascii=False, separators=separators)
        encoder = IdentifierEncoder([tag], {}, {tag: None}, ImplicitVRLittleEndian)
        assert encoder.encode([[text]])[0][8:].decode().rstrip() == value


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_plain_texts_are_values_and_many_of_them_are_not_mixed_up(syntax: str) -> None:
    tag = "00080018"
    encoder = IdentifierEncoder([tag], {}, {tag: None}, syntax, plain={tag})
    uids = [f"1.2.{number % 150}" for number in range(400)]
    found = [
        read_dataset(BytesIO(encoded), syntax == ImplicitVRLittleEndian, is_little_endian=True).SOPInstanceUID
        for start in range(0, 400, 100)
        for encoded in encoder.encode([[uid] for uid in uids[start : start + 100]])
    ]
    assert found == uids


def test_no_results_have_no_identifiers() -> None:
    fixed = {"00080052": {"vr": "CS", "Value": ["STUDY"]}}
    shape: Shape = {"00080052": None, "00100020": None}
    assert IdentifierEncoder(["00100020"], fixed, shape, ImplicitVRLittleEndian).encode([]) == []
