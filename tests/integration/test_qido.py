"""Searches over a real index: every kind of matching (PS3.4 C.2.2.2), every level, what is returned."""

from collections.abc import Iterator
from email.parser import BytesParser
from xml.etree import ElementTree

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from dicomsvc.config import HttpSettings
from dicomsvc.store import Store
from tests.instances import wsi_dataset
from tests.integration.dicomweb_client import Client, client_of, keep, new_store, values

STUDY_UID, SERIES_UID, SOP_UID, PATIENT_ID = "0020000D", "0020000E", "00080018", "00100020"
ROOT = "http://pacs.example/dicomweb"


def slide(patient_id: str, name: str, date: str = "20260102", time: str = "101112", **attributes: object) -> Dataset:
    ds = wsi_dataset(patient_name=name, patient_id=patient_id, frames=1, tile=16)
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber = date, time, f"ACC-{patient_id}"
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def specimen(identifier: str, container: str) -> Dataset:
    item = Dataset()
    item.SpecimenIdentifier, item.SpecimenUID = identifier, generate_uid()
    item.SpecimenShortDescription = container
    return item


@pytest.fixture(scope="module")
def slides(database_server: str) -> Iterator[Store]:
    """A store with four slides, which no test changes."""
    with new_store(database_server) as store:
        keep(
            store,
            slide("P1", "Müller^Anna=张三^伟=", "20260101", "080000", StudyDescription="Prostate biopsy"),
            slide("P2", "Smith^John^^^", "20260102", "1011", StudyDescription="50% of_it", ContainerIdentifier="S26-1"),
            slide(
                "P3",
                "王芳",
                "20260215",
                "235959.5",
                SpecimenDescriptionSequence=[specimen("A", "x"), specimen("B", "y")],
            ),
            slide("P4", "Smithson^Johanna", "20250704", "", Modality="SEG", ContainerIdentifier="S26-2"),
        )
        yield store


@pytest.fixture
def client(slides: Store) -> Iterator[Client]:
    with client_of(slides) as opened:
        yield opened


def found(client: Client, query: str) -> set[str]:
    return set(values(client.search(f"/studies?{query}"), PATIENT_ID))


@pytest.mark.parametrize(
    ("query", "patients"),
    [
        ("", "P1 P2 P3 P4"),
        ("PatientID=P2", "P2"),
        ("00100020=P2", "P2"),
        ("PatientID=p2", ""),
        ("PatientID=P1%5CP3", "P1 P3"),
        ("PatientID=", "P1 P2 P3 P4"),
        ("PatientID=*", "P1 P2 P3 P4"),
        ("PatientID=P?&PatientSex=O", "P1 P2 P3 P4"),
        ("PatientSex=M", ""),
        ("StudyDescription=*bio*", "P1"),
        ("StudyDescription=50%25*", "P2"),
        ("StudyDescription=*f_i*", "P2"),
        ("StudyDescription=5_%25*", ""),
        ("AccessionNumber=ACC-P?", "P1 P2 P3 P4"),
        ("PatientName=smith^john", "P2"),
        ("PatientName=SMITH^JOHN^", "P2"),
        ("PatientName=smith", ""),
        ("PatientName=smith*", "P2 P4"),
        ("PatientName=smith^*", "P2"),
        ("PatientName=sm?th*joh*n*", "P2 P4"),
        ("PatientName=张三^伟", "P1"),
        ("PatientName=müller^anna", "P1"),
        ("PatientName=müller^anna=张三^伟", "P1"),
        ("PatientName=müller^anna=王*", ""),
        ("PatientName==张三*", "P1"),
        ("PatientName=张*", "P1"),
        ("PatientName=muller*", ""),
        ("PatientName=.*", ""),
        ("PatientName=(", ""),
        ("PatientName=john&fuzzymatching=true", "P2"),
        ("PatientName=joh&fuzzymatching=true", "P2 P4"),
        ("PatientName=anna+muller&fuzzymatching=true", "P1"),
        ("PatientName=nna&fuzzymatching=true", "P1 P4"),
        ("PatientName=芳&fuzzymatching=true", "P3"),
        ("PatientName=%25&fuzzymatching=true", ""),
        ("StudyDate=20260102", "P2"),
        ("StudyDate=20260101-20260131", "P1 P2"),
        ("StudyDate=-20260101", "P1 P4"),
        ("StudyDate=20260102-", "P2 P3"),
        ("StudyDate=2026.01.02", "P2"),
        ("StudyTime=0800", "P1"),
        ("StudyTime=1000-1030", "P2"),
        ("StudyTime=10-235959", "P2 P3"),
        # Combined: after 9 on January 1st, before 9 on February 16th; not: between 9 and 9 on any day.
        ("StudyDate=20260101-20260216&StudyTime=0900-0900", "P2 P3"),
        ("StudyDate=20260101-20260102&StudyTime=0700-1000", "P1"),
        ("ModalitiesInStudy=SM", "P1 P2 P3"),
        ("ModalitiesInStudy=SM,SEG", "P1 P2 P3 P4"),
        ("ModalitiesInStudy=S?", "P1 P2 P3"),
        ("SOPClassesInStudy=1.2.840.10008.5.1.4.1.1.77.1.6", "P1 P2 P3 P4"),
        ("NumberOfStudyRelatedInstances=1", "P1 P2 P3 P4"),
        ("NumberOfStudyRelatedSeries=2", ""),
        ("Modality=SEG", "P4"),
        ("ContainerIdentifier=S26-*", "P2 P4"),
        ("Modality=SEG&ContainerIdentifier=S26-1", ""),
        ("SpecimenDescriptionSequence.SpecimenIdentifier=B", "P3"),
        ("00400560.00400551=?", "P3"),
        (
            "SpecimenDescriptionSequence.SpecimenIdentifier=B&SpecimenDescriptionSequence.SpecimenShortDescription=y",
            "P3",
        ),
        ("SpecimenDescriptionSequence.SpecimenIdentifier=B&SpecimenDescriptionSequence.SpecimenShortDescription=x", ""),
        ("Rows=16", "P1 P2 P3 P4"),
        ("Rows=17", ""),
        ('ReferringPhysicianName=""&emptyvaluematching=true', "P1 P2 P3 P4"),
        ('PatientID=""&emptyvaluematching=true', ""),
    ],
)
def test_matches_as_the_standard_says(client: Client, query: str, patients: str) -> None:
    assert found(client, query) == set(patients.split())


def test_lists_of_uids_match_any_of_them(client: Client) -> None:
    uids = values(client.search("/studies"), STUDY_UID)
    assert values(client.search(f"/studies?StudyInstanceUID={uids[0]},{uids[2]}"), STUDY_UID) == [uids[0], uids[2]]
    repeated = client.search(f"/studies?StudyInstanceUID={uids[1]}&StudyInstanceUID={uids[3]}")
    assert values(repeated, STUDY_UID) == [uids[1], uids[3]]


def test_studies_come_newest_first_and_pages_join_without_gap_or_overlap(client: Client) -> None:
    everyone = values(client.search("/studies"), PATIENT_ID)
    assert everyone == ["P3", "P2", "P1", "P4"]
    pages = [client.request("GET", f"/studies?limit=2&offset={offset}") for offset in (0, 2, 4)]
    assert [entry for page in pages for entry in values(page.json(), PATIENT_ID)] == everyone
    assert pages[0].headers["Warning"].startswith("299 ")
    assert "Warning" not in pages[1].headers and "Warning" not in pages[2].headers


def test_more_results_than_the_largest_page_are_announced(slides: Store) -> None:
    capped = slides.settings.model_copy(update={"http": HttpSettings(search_limit=3)})
    with client_of(slides, capped) as small:
        for query in ("/studies", "/studies?limit=100"):
            answer = small.request("GET", query)
            assert len(answer.json()) == 3
            assert "additional results" in answer.headers["Warning"]


def test_a_worklist_gets_every_required_attribute_empty_or_not(client: Client) -> None:
    result = client.search("/studies?PatientID=P2")[0]
    uid = result[STUDY_UID]["Value"][0]
    assert result["00081190"] == {"vr": "UR", "Value": [f"{ROOT}/studies/{uid}"]}
    assert result["00080061"] == {"vr": "CS", "Value": ["SM"]}
    assert result["00080056"]["Value"] == ["ONLINE"]
    assert result["00080090"] == {"vr": "PN"}
    assert result["00100010"]["Value"] == [{"Alphabetic": "Smith^John^^^"}]
    assert result["00201206"] == {"vr": "IS", "Value": [1]}
    for tag in ("00080020", "00080030", "00080050", "00100030", "00100040", "00200010", "00201208"):
        assert result[tag]["Value"], tag
    assert "00081030" not in result


def test_keys_and_included_fields_are_returned(client: Client) -> None:
    result = client.search("/studies?StudyDescription=&PatientID=P1&includefield=PatientComments,00201200")[0]
    assert result["00081030"] == {"vr": "LO", "Value": ["Prostate biopsy"]}
    assert result["00104000"] == {"vr": "LT"}
    everything = client.search("/instances?PatientID=P3&includefield=all")[0]
    assert len(everything["00400560"]["Value"]) == 2
    assert everything["00280010"]["Value"] == [16] and everything["00080060"]["Value"] == ["SM"]
    assert "7FE00010" not in everything


def test_relational_searches_return_the_levels_above(client: Client) -> None:
    study = values(client.search("/studies?PatientID=P2"), STUDY_UID)[0]
    (series,) = client.search(f"/series?Modality=SM&StudyInstanceUID={study}")
    assert series["00100020"]["Value"] == ["P2"] and series["00201209"]["Value"] == [1]
    series_uid = series[SERIES_UID]["Value"][0]
    (instance,) = client.search(f"/instances?SeriesInstanceUID={series_uid}")
    assert instance["00100020"]["Value"] == ["P2"] and instance["00080060"]["Value"] == ["SM"]
    below = client.search(f"/studies/{study}/series/{series_uid}/instances")[0]
    assert "00100020" not in below and "00080060" not in below
    assert below[STUDY_UID]["Value"] == [study] and below[SERIES_UID]["Value"] == [series_uid]
    sop_instance_uid = below[SOP_UID]["Value"][0]
    url = f"{ROOT}/studies/{study}/series/{series_uid}/instances/{sop_instance_uid}"
    assert below["00081190"]["Value"] == [url]
    of_study = client.search(f"/studies/{study}/instances?Modality=SM")
    assert of_study[0]["00080016"]["Value"] == ["1.2.840.10008.5.1.4.1.1.77.1.6"]
    assert of_study[0][SERIES_UID]["Value"] == [series_uid]
    assert client.search(f"/studies/{study}/instances?Modality=SR") == []


def test_instances_of_a_series_come_by_their_number(store: Store) -> None:
    study, series = generate_uid(), generate_uid()
    keep(
        store,
        *(
            wsi_dataset(study_instance_uid=study, series_instance_uid=series, instance_number=n, tile=16, frames=1)
            for n in (10, 9, 2, 1)
        ),
    )
    with client_of(store) as client:
        assert values(client.search(f"/studies/{study}/instances"), "00200013") == [1, 2, 9, 10]
        assert values(client.search("/studies"), "00201208") == [4]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("Nonsense=1", "Nonsense"),
        ("PatientName.PatientID=1", "PatientName.PatientID"),
        ("StudyDate=yesterday", "StudyDate"),
        ("StudyDate=20261301", "StudyDate"),
        ("StudyTime=25", "StudyTime"),
        ("StudyInstanceUID=1.2.*", "StudyInstanceUID"),
        ("NumberOfFrames=many", "NumberOfFrames"),
        ("RequestAttributesSequence=1", "RequestAttributesSequence"),
        ("PatientID=1&PatientID=2", "PatientID"),
        ("PatientID=1%002", "PatientID"),
        ("limit=-1", "limit"),
        ("offset=x", "offset"),
        ("fuzzymatching=maybe", "fuzzymatching"),
        ("includefield=Nonsense", "Nonsense"),
        ("PatientName=%ff", "UTF-8"),
    ],
)
def test_a_wrong_parameter_is_refused_by_its_name_without_its_value(client: Client, query: str, named: str) -> None:
    answer = client.request("GET", f"/studies?{query}")
    assert answer.status_code == 400
    assert named in answer.json()["error"] and "yesterday" not in answer.text


def test_a_path_that_is_no_uid_is_refused(client: Client) -> None:
    assert client.request("GET", "/studies/not-a-uid/series").status_code == 400


def test_xml_is_multipart_with_a_native_model_a_result(client: Client) -> None:
    headers = {"Accept": 'multipart/related; type="application/dicom+xml"'}
    answer = client.request("GET", "/studies", headers=headers)
    assert answer.status_code == 200
    head = b"Content-Type: " + answer.headers["Content-Type"].encode() + b"\r\n\r\n"
    message = BytesParser().parsebytes(head + answer.content)
    parts = message.get_payload()
    assert isinstance(parts, list) and len(parts) == 4
    for part in parts:
        assert part.get_content_type() == "application/dicom+xml"
        tags = {element.get("tag") for element in ElementTree.fromstring(part.get_payload(decode=True))}
        assert STUDY_UID in tags
    assert client.request("GET", "/studies?PatientID=none", headers=headers).status_code == 204


def test_what_is_not_acceptable_is_said(client: Client) -> None:
    assert client.request("GET", "/studies", headers={"Accept": "image/png"}).status_code == 406
    assert (
        client.request("GET", "/studies", headers={"Accept": "*/*"}).headers["Content-Type"] == "application/dicom+json"
    )


@pytest.mark.parametrize("key", ["PatientID", "PatientName", "StudyDescription", "OperatorsName", "00091001"])
def test_values_cannot_become_sql(client: Client, key: str) -> None:
    for value in ("'; DROP TABLE study; --", "%(p0)s", "$1", ":p", "x%", "%s", "x_", "[", "x{9999999}"):
        assert client.search(f"/studies?{key}={_quoted(f'*{value}*')}") == []
    assert len(client.search("/studies")) == 4


def _quoted(value: str) -> str:
    return "".join(f"%{byte:02X}" for byte in value.encode())
