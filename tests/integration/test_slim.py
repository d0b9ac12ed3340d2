"""The requests that the viewer Slim makes of a DICOMweb server, replayed: each with its status and media type."""

import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pydicom
import pytest
from PIL import Image

from dicomsvc.store import Store
from tests.integration.test_wado_frames import parts
from tests.integration.wado_server import converted, serving, store_files

JSON = "application/dicom+json"
OCTETS = 'multipart/related; type="application/octet-stream"'
FRAMES = f"{OCTETS}; transfer-syntax=*"
DICOM = 'multipart/related; type="application/dicom"'


@dataclass(frozen=True)
class Served:
    client: httpx.Client
    study: str
    series: str
    instances: dict[str, pydicom.Dataset]


@pytest.fixture
def served(store: Store, cmu_small_region: Path) -> Iterator[Served]:
    contents = converted(cmu_small_region)
    store_files(store, contents)
    read = [pydicom.dcmread(io.BytesIO(content)) for content in contents]
    by_uid = {str(ds.SOPInstanceUID): ds for ds in read}
    with serving(store) as root, httpx.Client(base_url=root, timeout=60) as client:
        yield Served(client, str(read[0].StudyInstanceUID), str(read[0].SeriesInstanceUID), by_uid)


def ask(served: Served, path: str, accept: str, media_type: str) -> httpx.Response:
    response = served.client.get(path, headers={"accept": accept, "origin": "http://viewer.example.org"})
    assert response.status_code == 200, (path, response.text)
    assert response.headers["content-type"].partition(";")[0] == media_type
    return response


def test_the_worklist_shows_the_slide(served: Served) -> None:
    (study,) = ask(served, "/studies?ModalitiesInStudy=SM", JSON, JSON).json()
    assert study["0020000D"]["Value"] == [served.study]
    for tag in "00080061 00100010 00100020 00100040 00100030 00080050 00200010 00080020 00080030 00080090".split():
        assert tag in study


def test_opening_a_study_finds_its_series_and_their_metadata(served: Served) -> None:
    path = f"/series?Modality=SM&StudyInstanceUID={served.study}"
    (series,) = ask(served, path, JSON, JSON).json()
    assert series["0020000E"]["Value"] == [served.series]
    path = f"/studies/{served.study}/series/{served.series}/metadata"
    found = ask(served, path, JSON, JSON).json()
    assert {each["00080018"]["Value"][0] for each in found} == set(served.instances)
    for each in found:
        assert "Value" not in each["7FE00010"]


def test_the_profile_is_reachable_by_its_absolute_uri(served: Served) -> None:
    path = f"/studies/{served.study}/series/{served.series}/metadata"
    volume = next(each for each in ask(served, path, JSON, JSON).json() if each["00080008"]["Value"][2] == "VOLUME")
    uri = volume["00480105"]["Value"][0]["00282000"]["BulkDataURI"]
    assert uri.startswith(str(served.client.base_url))
    ((_, profile),) = parts(ask(served, uri, OCTETS, "multipart/related"))
    ds = served.instances[volume["00080018"]["Value"][0]]
    assert profile == ds.OpticalPathSequence[0].ICCProfile


def test_all_tiles_of_all_levels_come_in_parallel_each_of_full_size(served: Served) -> None:
    asked = [
        (uid, number)
        for uid, ds in served.instances.items()
        if ds.ImageType[2] == "VOLUME"
        for number in range(1, int(ds.NumberOfFrames) + 1)
    ]

    def tile(place: tuple[str, int]) -> tuple[int, int]:
        uid, number = place
        path = f"/studies/{served.study}/series/{served.series}/instances/{uid}/frames/{number}"
        ((_, content),) = parts(ask(served, path, FRAMES, "multipart/related"))
        return Image.open(io.BytesIO(content)).size

    with ThreadPoolExecutor(16) as pool:
        sizes = list(pool.map(tile, asked))
    expected = [(served.instances[uid].Columns, served.instances[uid].Rows) for uid, _ in asked]
    assert sizes == expected


@pytest.mark.parametrize("flavour", ["OVERVIEW", "LABEL", "THUMBNAIL"])
@pytest.mark.parametrize("query", ["", "?viewport=200,100", "?viewport=200,100&iccprofile=yes"])
def test_associated_images_are_rendered(served: Served, flavour: str, query: str) -> None:
    ds = next(ds for ds in served.instances.values() if ds.ImageType[2] == flavour)
    path = f"/studies/{served.study}/series/{served.series}/instances/{ds.SOPInstanceUID}/rendered{query}"
    image = Image.open(io.BytesIO(ask(served, path, "image/png", "image/png").content))
    assert image.size == (ds.Columns, ds.Rows) if not query else image.size <= (200, 100)


def test_derived_objects_are_looked_for_and_instances_fetched(served: Served) -> None:
    response = served.client.get(f"/studies/{served.study}/instances?Modality=SR", headers={"accept": JSON})
    assert response.status_code in (200, 204) and json.loads(response.content or b"[]") == []
    for modality in ("ANN", "SEG", "OT"):
        response = served.client.get(f"/studies/{served.study}/series?Modality={modality}", headers={"accept": JSON})
        assert response.status_code in (200, 204) and json.loads(response.content or b"[]") == []
    uid = next(iter(served.instances))
    path = f"/studies/{served.study}/series/{served.series}/instances/{uid}"
    ((kind, content),) = parts(ask(served, path, DICOM, "multipart/related"))
    assert kind.startswith("application/dicom") and pydicom.dcmread(io.BytesIO(content)).SOPInstanceUID == uid


def test_frames_for_any_type_work_as_ohif_asks(served: Served) -> None:
    uid = next(uid for uid, ds in served.instances.items() if ds.ImageType[2] == "VOLUME")
    path = f"/studies/{served.study}/series/{served.series}/instances/{uid}/frames/1"
    ((kind, _),) = parts(ask(served, path, "*/*", "multipart/related"))
    assert kind == "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50"
