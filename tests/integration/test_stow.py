"""Storing over HTTP: instance by instance, every answer by the standard, nothing left behind (PS3.18 10.5, I.2)."""

import asyncio
import random
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import anyio
import pytest
from pydicom.uid import generate_uid

from dicomsvc.config import HttpSettings, StoreSettings
from dicomsvc.dicomweb import store as store_transaction
from dicomsvc.dicomweb import store_response
from dicomsvc.dicomweb.receiver import Failure
from dicomsvc.errors import DuplicateInstance, NotParseable, OutOfResources, TooLarge
from dicomsvc.store import Store, Stored
from tests.instances import part10, wsi_dataset
from tests.integration.dicomweb_client import BOUNDARY, MULTIPART, Client, client_of, multipart, values

SOP_UID_TAG = "00080018"
FAILED, REFERENCED, REASON, SOP_UID = "00081198", "00081199", "00081197", "00081155"


@pytest.fixture
def client(store: Store) -> Iterator[Client]:
    with client_of(store) as opened:
        yield opened


def reasons(answer: dict[str, Any]) -> list[int]:
    return values(answer[FAILED]["Value"], REASON) if FAILED in answer else []


def stored_uids(answer: dict[str, Any]) -> list[str]:
    return values(answer[REFERENCED]["Value"], SOP_UID) if REFERENCED in answer else []


def spool_files(store: Store) -> list[str]:
    return [path.name for path in store.layout.spool.rglob("*.part")]


def test_what_is_acknowledged_is_kept_byte_for_byte(store: Store, client: Client) -> None:
    datasets = [wsi_dataset(seed=seed) for seed in range(3)]
    contents = [part10(ds) for ds in datasets]
    status, answer = client.store(contents)
    assert status == 200 and FAILED not in answer
    assert stored_uids(answer) == [str(ds.SOPInstanceUID) for ds in datasets]
    for ds, content, item in zip(datasets, contents, answer[REFERENCED]["Value"], strict=True):
        record = store.instances.find_sop_instance(str(ds.SOPInstanceUID))
        assert record.readable_path().read_bytes() == content
        url = f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}"
        assert item["00081190"]["Value"] == [f"http://pacs.example/dicomweb{url}"]
        assert item["00081150"]["Value"] == [str(ds.SOPClassUID)]
    assert spool_files(store) == []


def test_a_bad_part_does_no_harm_to_the_others(store: Store, client: Client) -> None:
    good, cut = wsi_dataset(), wsi_dataset()
    no_study = wsi_dataset()
    del no_study.StudyInstanceUID
    contents = [b"garbage", part10(good), part10(cut)[:-30], part10(no_study), b""]
    status, answer = client.store(contents)
    assert status == 202
    assert stored_uids(answer) == [str(good.SOPInstanceUID)]
    assert reasons(answer) == [0xC000, 0xC000, 0xA900, 0xC000]
    named = [item.get(SOP_UID, {}).get("Value") for item in answer[FAILED]["Value"]]
    assert named == [None, [str(cut.SOPInstanceUID)], [str(no_study.SOPInstanceUID)], None]
    assert spool_files(store) == []


def test_instances_of_another_study_than_the_url_are_refused(client: Client) -> None:
    mine, other = wsi_dataset(), wsi_dataset()
    path = f"/studies/{mine.StudyInstanceUID}"
    status, answer = client.store([part10(mine), part10(other)], path)
    assert (status, reasons(answer)) == (202, [0xC409])
    assert answer["00081190"]["Value"] == [f"http://pacs.example/dicomweb{path}"]
    status, answer = client.store([part10(other)], path)
    assert (status, reasons(answer)) == (409, [0xC409])


def test_the_same_bytes_again_succeed_and_other_bytes_are_refused(client: Client) -> None:
    ds = wsi_dataset()
    for _ in range(2):
        status, answer = client.store([part10(ds)])
        assert (status, stored_uids(answer)) == (200, [str(ds.SOPInstanceUID)])
    ds.PatientID = "another"
    status, answer = client.store([part10(ds)])
    assert (status, reasons(answer)) == (409, [0x0111])


def test_many_parts_in_one_body_are_all_answered_in_order(store: Store, client: Client) -> None:
    study = generate_uid()
    datasets = [wsi_dataset(study_instance_uid=study, seed=seed, frames=1, tile=16) for seed in range(60)]
    status, answer = client.store([part10(ds) for ds in datasets])
    assert status == 200
    assert stored_uids(answer) == [str(ds.SOPInstanceUID) for ds in datasets]
    assert values(client.search(f"/studies?StudyInstanceUID={study}"), "00201208") == [60]


def test_a_faulty_instance_is_kept_with_a_warning(client: Client) -> None:
    ds = wsi_dataset()
    ds.SpecificCharacterSet = "NO SUCH SET"
    status, answer = client.store([part10(ds)])
    assert status == 202
    assert answer[REFERENCED]["Value"][0]["00081196"] == {"vr": "US", "Value": [0xB007]}


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("*/*", "application/dicom+json"),
        ("application/json", "application/json"),
        ("application/dicom+xml", "application/dicom+xml"),
        ("application/dicom+xml;q=0.1, application/dicom+json", "application/dicom+json"),
    ],
)
def test_the_answer_has_the_type_that_is_accepted(client: Client, accept: str, content_type: str) -> None:
    answer = client.request(
        "POST",
        "/studies",
        content=multipart([part10(wsi_dataset()), b"garbage"]),
        headers={"Content-Type": MULTIPART, "Accept": accept},
    )
    assert (answer.status_code, answer.headers["Content-Type"]) == (202, content_type)
    if "xml" in content_type:
        assert {element.get("tag") for element in ElementTree.fromstring(answer.content)} >= {FAILED, REFERENCED}
    else:
        assert set(answer.json()) == {"00081190", FAILED, REFERENCED}


def test_slims_way_to_save_works(client: Client) -> None:
    body = b"\r\n" + multipart([part10(wsi_dataset())]).rstrip()
    headers = {"Content-Type": f'multipart/related; type="application/dicom"; boundary="{BOUNDARY}"', "Accept": "*/*"}
    assert client.request("POST", "/studies", content=body, headers=headers).status_code == 200


def test_a_single_file_is_a_body_too(client: Client) -> None:
    ds = wsi_dataset()
    answer = client.request("POST", "/studies", content=part10(ds), headers={"Content-Type": "application/dicom"})
    assert (answer.status_code, stored_uids(answer.json())) == (200, [str(ds.SOPInstanceUID)])


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("multipart/form-data; boundary=b", b"--b--", 415),
        ('multipart/related; type="application/dicom+json"; boundary=b', b"--b--", 415),
        ("application/json", b"{}", 415),
        ("", b"x", 415),
        ('multipart/related; type="application/dicom"', b"--b--", 400),
        ('multipart/related; type="application/dicom"; boundary=b', b"--b--\r\n", 400),
        ('multipart/related; type="application/dicom"; boundary=b', b"", 400),
        ('multipart/related; type="application/dicom"; boundary=b', b"no boundary" * 10_000, 400),
        ('multipart/related; type="application/dicom"; boundary=b', b"--b\r\n\r\ngarbage\r\n--b--\r\n", 400),
        ('multipart/related; type="application/dicom"; boundary=b', b"--b\r\nX: " + b"x" * 20_000, 400),
    ],
)
def test_bodies_that_cannot_be_read_are_refused(client: Client, content_type: str, body: bytes, status: int) -> None:
    answer = client.request("POST", "/studies", content=body, headers={"Content-Type": content_type})
    assert answer.status_code == status
    assert answer.headers["Content-Type"].endswith("json")


def test_a_part_that_is_no_instance_by_its_type_is_refused(client: Client) -> None:
    body = multipart([part10(wsi_dataset())], content_type="image/jpeg")
    answer = client.request("POST", "/studies", content=body, headers={"Content-Type": MULTIPART})
    assert (answer.status_code, reasons(answer.json())) == (409, [0x0122])


def test_an_encoded_body_and_a_malformed_study_are_refused(client: Client) -> None:
    headers = {"Content-Type": MULTIPART, "Content-Encoding": "gzip"}
    assert client.request("POST", "/studies", content=b"x", headers=headers).status_code == 415
    assert client.store([part10(wsi_dataset())], "/studies/1.2.x")[0] == 400


def test_a_body_that_announces_too_much_is_refused_unread(store: Store) -> None:
    tiny = store.settings.model_copy(update={"http": HttpSettings(max_upload_gb=1e-6)})
    with client_of(store, tiny) as client:
        assert client.store([b"x" * 2000])[0] == 413


def test_a_full_disk_is_said_and_the_spool_is_freed(store: Store, client: Client) -> None:
    full = store.settings.model_copy(update={"store": StoreSettings(disk_reserve_mb=1 << 40)})
    with Store(full) as crowded, client_of(crowded) as refused:
        answer = refused.request(
            "POST",
            "/studies",
            content=multipart([part10(wsi_dataset()), part10(wsi_dataset())]),
            headers={"Content-Type": MULTIPART},
        )
        assert (answer.status_code, reasons(answer.json())) == (503, [0xA700, 0xA700])
        assert answer.headers["Retry-After"]
        assert spool_files(crowded) == []
    assert client.store([part10(wsi_dataset())])[0] == 200


def send_and_leave(client: Client, body: bytes) -> None:
    """Send the begin of a body and break the connection."""
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": body[start : start + 1000], "more_body": True}
        for start in range(0, len(body), 1000)
    ]

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        await asyncio.sleep(0)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/dicomweb/studies",
        "raw_path": b"/dicomweb/studies",
        "query_string": b"",
        "headers": [(b"host", b"pacs.example"), (b"content-type", MULTIPART.encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    anyio.run(client.app, scope, receive, send)


def test_of_a_broken_connection_complete_parts_stay_and_the_rest_leaves_no_trace(
    store: Store, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_transaction, "_PIECE_BYTES", 1000)
    datasets = [wsi_dataset(seed=seed) for seed in range(3)]
    body = multipart([part10(ds) for ds in datasets])
    send_and_leave(client, body[: body.rindex(b"DICM") + 2500])
    assert set(values(client.search("/instances"), SOP_UID_TAG)) == {str(ds.SOPInstanceUID) for ds in datasets[:2]}
    assert spool_files(store) == []
    assert store.verify().sound


def test_a_truncated_body_stores_the_parts_that_are_complete(store: Store, client: Client) -> None:
    datasets = [wsi_dataset(seed=seed) for seed in range(3)]
    body = multipart([part10(ds) for ds in datasets])
    cut = body[: body.rindex(b"DICM") + 500]
    answer = client.request("POST", "/studies", content=cut, headers={"Content-Type": MULTIPART})
    assert answer.status_code == 202
    assert stored_uids(answer.json()) == [str(ds.SOPInstanceUID) for ds in datasets[:2]]
    assert reasons(answer.json()) == [0xC000]
    assert spool_files(store) == []


def test_mutated_bodies_always_get_an_answer_of_the_vocabulary(store: Store, client: Client) -> None:
    chance = random.Random(3)
    whole = multipart([part10(wsi_dataset(frames=1, tile=16)) for _ in range(2)])
    for _ in range(150):
        body = bytearray(whole)
        for _ in range(chance.randrange(1, 12)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        if chance.random() < 0.3:
            del body[chance.randrange(len(body)) :]
        answer = client.request("POST", "/studies", content=bytes(body), headers={"Content-Type": MULTIPART})
        assert answer.status_code in {200, 202, 400, 409, 413, 415}
        if "error" not in answer.json():
            assert set(reasons(answer.json())) <= {0xA900, 0xC000, 0x0122, 0x0111}
    assert spool_files(store) == []
    assert store.verify().sound


def test_delete_removes_what_the_url_names_and_nothing_else(store: Store, client: Client) -> None:
    study, series = generate_uid(), generate_uid()
    first, second = (wsi_dataset(study_instance_uid=study, series_instance_uid=series, seed=n) for n in range(2))
    third = wsi_dataset(study_instance_uid=study)
    client.store([part10(ds) for ds in (first, second, third)])
    path = f"/studies/{study}/series/{series}"
    assert client.request("DELETE", f"{path}/instances/{first.SOPInstanceUID}").status_code == 204
    assert client.request("DELETE", f"{path}/instances/{first.SOPInstanceUID}").status_code == 404
    assert values(client.search(f"{path}/instances"), SOP_UID_TAG) == [str(second.SOPInstanceUID)]
    assert client.request("DELETE", path).status_code == 204
    assert values(client.search("/instances"), SOP_UID_TAG) == [str(third.SOPInstanceUID)]
    assert client.request("DELETE", f"/studies/{study}").status_code == 204
    assert client.search("/studies") == []
    assert client.request("DELETE", f"/studies/{study}").status_code == 404
    assert client.request("DELETE", "/studies/not-a-uid").status_code == 400


def test_capabilities_name_every_service_in_xml_and_json(client: Client) -> None:
    answer = client.request("OPTIONS", "/", headers={"Accept": "application/vnd.sun.wadl+xml"})
    names = {element.get("id") for element in ElementTree.fromstring(answer.content).iter() if element.get("id")}
    assert names >= {"SearchForStudies", "StoreInstances", "RetrieveFrames", "RetrieveMetadata", "Delete"}
    described = client.request("OPTIONS", "/", headers={"Accept": "application/json"}).json()
    resources = described["application"]["resources"]
    assert resources["@base"] == "http://pacs.example/dicomweb/"
    assert {method["@id"] for resource in resources["resource"] for method in resource["method"]} == names


@pytest.mark.parametrize(
    ("errors", "status"),
    [
        ([OutOfResources("")], 503),
        ([TooLarge("")], 413),
        ([NotParseable(""), NotParseable("")], 400),
        ([NotParseable(""), DuplicateInstance("")], 409),
        ([OutOfResources(""), None], 202),
        ([None], 200),
    ],
)
def test_one_status_stands_for_all_parts(errors: list[Any], status: int) -> None:
    stored = Stored("1.2", "1.3", "1.4", "1.5")
    outcomes = [Failure(error) if error else stored for error in errors]
    assert store_response.store_status(outcomes) == status
