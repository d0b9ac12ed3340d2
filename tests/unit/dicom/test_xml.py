from pathlib import Path
from xml.etree import ElementTree

from pydicom.data import get_testdata_file

from dicomsvc.dicom import metadata_dataset, parse_instance
from dicomsvc.dicom.xml import NAMESPACE, dataset_xml


def root_of(dataset: dict[str, dict[str, object]]) -> ElementTree.Element:
    root = ElementTree.fromstring(dataset_xml(dataset))
    assert root.tag == f"{{{NAMESPACE}}}NativeDicomModel"
    return root


def texts(root: ElementTree.Element, path: str) -> list[str | None]:
    return [found.text for found in root.findall("/".join(f"{{{NAMESPACE}}}{step}" for step in path.split("/")))]


def test_values_carry_their_number_keyword_and_vr() -> None:
    root = root_of({"00080008": {"vr": "CS", "Value": ["ORIGINAL", None, "VOLUME"]}})
    (attribute,) = root
    assert attribute.attrib == {"tag": "00080008", "vr": "CS", "keyword": "ImageType"}
    assert [(value.attrib["number"], value.text) for value in attribute] == [("1", "ORIGINAL"), ("3", "VOLUME")]


def test_person_names_are_taken_apart() -> None:
    name = {"Alphabetic": "Wang^XiaoDong^^Dr", "Ideographic": "王^小东"}
    root = root_of({"00100010": {"vr": "PN", "Value": [name]}})
    base = "DicomAttribute/PersonName"
    assert texts(root, f"{base}/Alphabetic/FamilyName") == ["Wang"]
    assert texts(root, f"{base}/Alphabetic/GivenName") == ["XiaoDong"]
    assert texts(root, f"{base}/Alphabetic/MiddleName") == []
    assert texts(root, f"{base}/Alphabetic/NamePrefix") == ["Dr"]
    assert texts(root, f"{base}/Ideographic/GivenName") == ["小东"]


def test_items_bulk_data_and_private_creators_are_written() -> None:
    root = root_of(
        {
            "00090010": {"vr": "LO", "Value": ['ACME "1"']},
            "00091001": {"vr": "OB", "InlineBinary": "YWI="},
            "00480105": {"vr": "SQ", "Value": [{"00282000": {"vr": "OB", "BulkDataURI": "http://h/a?b&c"}}, {}]},
        }
    )
    creator, private, sequence = root
    assert "privateCreator" not in creator.attrib
    assert private.attrib == {"tag": "00090001", "vr": "OB", "privateCreator": 'ACME "1"'}
    assert private[0].text == "YWI="
    assert [each.attrib["number"] for each in sequence] == ["1", "2"]
    assert sequence[0][0][0].attrib == {"uri": "http://h/a?b&c"}


def test_characters_that_xml_has_no_word_for_are_left_out() -> None:
    root = root_of({"00104000": {"vr": "LT", "Value": ["a\x01b<&>\x1bc\ufffe"]}})
    assert texts(root, "DicomAttribute/Value") == ["ab<&>c"]


def test_a_whole_instance_is_well_formed() -> None:
    instance = parse_instance(Path(get_testdata_file("CT_small.dcm")))
    root = root_of(metadata_dataset(instance.metadata, "http://h"))
    assert len(root) > 100
