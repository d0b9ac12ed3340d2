"""A byte that changes on the disk: ``dicomsvc verify`` finds it, and from then on nobody gets it."""

import time
from pathlib import Path

import httpx
import pytest

from dicomsvc.store.layout import Layout, file_key
from tests.conftest import RunningService
from tests.faults.node import instance_url, running, same, stow, verify
from tests.instances import part10, wsi_dataset

CACHED_SECONDS = 30
ANY = {"Accept": "*/*"}


@pytest.fixture(scope="module")
def own() -> "object":
    with running() as service:
        yield service


def stored(service: RunningService) -> tuple[str, bytes, Path, str]:
    """Store an instance and return its UID, its content, its file, and its URL."""
    ds = wsi_dataset(frames=8)
    content = part10(ds)
    assert stow(service, content).status_code == 200
    uid = str(ds.SOPInstanceUID)
    [row] = httpx.get(f"{service.dicomweb}/instances", params={"SOPInstanceUID": uid}).json()
    return uid, content, Layout(service.data).instance_path(file_key(uid)), instance_url(service, row, uid)


def flip_a_bit(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        [byte] = file.read(1)
        file.seek(size // 2)
        file.write(bytes((byte ^ 1,)))


def served(url: str, uid: str, dicomweb: str) -> dict[str, int]:
    """Return the status of each way in which the bytes of an instance go out over HTTP."""
    study, series = url.rpartition("/instances/")[0], url.rpartition("/instances/")[0].rpartition("/series/")[0]
    ways = {
        "instance": url,
        "series": study,
        "study": series,
        "frame": f"{url}/frames/1",
        "frames": f"{url}/frames/1,2,3",
        "rendered": f"{url}/rendered",
        "rendered frame": f"{url}/frames/1/rendered",
        "bulk data": f"{url}/bulkdata",
    }
    accept = {"rendered": {"Accept": "image/png"}, "rendered frame": {"Accept": "image/png"}}
    return {
        way: httpx.get(where, headers=accept.get(way, {"Accept": "*/*"}), timeout=60).status_code
        for way, where in ways.items()
    }


def test_a_flipped_bit_is_found_and_its_file_is_served_to_nobody_until_it_is_restored(own: RunningService) -> None:
    uid, content, path, url = stored(own)
    other, other_content, _, other_url = stored(own)
    flip_a_bit(path)
    found = verify(own)
    assert found["damaged"] == [uid] and not found["sound"]
    statuses = served(url, uid, own.dicomweb)
    assert {way for way, status in statuses.items() if status == 200} == set(), statuses
    assert {way: status for way, status in statuses.items() if status != 404 and way != "bulk data"} == {
        way: 500 for way in statuses if way != "bulk data"
    }, statuses
    answer = httpx.get(other_url, headers={"Accept": "application/dicom; transfer-syntax=*"})
    assert answer.content == other_content, other
    assert httpx.get(f"{url}/metadata", headers={"Accept": "application/dicom+json"}).status_code == 200

    path.unlink()
    path.write_bytes(content)
    assert verify(own)["damaged"] == []
    answer = httpx.get(url, headers={"Accept": "application/dicom; transfer-syntax=*"})
    assert answer.status_code == 200 and same(answer.content, content)
    assert httpx.get(f"{url}/frames/1", headers=ANY).status_code == 200


def test_the_same_instance_sent_again_takes_the_place_of_the_damaged_one(own: RunningService) -> None:
    uid, content, path, url = stored(own)
    flip_a_bit(path)
    assert uid in verify(own)["damaged"]  # type: ignore[operator]
    assert stow(own, content).status_code == 200
    got = httpx.get(url, headers={"Accept": "application/dicom; transfer-syntax=*"})
    assert got.status_code == 200, "acknowledged, yet not to be had"
    assert got.content == content
    assert verify(own)["sound"]


@pytest.mark.slow
def test_a_viewer_that_has_the_slide_open_is_cut_off_too(own: RunningService) -> None:
    uid, _, path, url = stored(own)
    assert httpx.get(f"{url}/frames/1", headers=ANY).status_code == 200
    flip_a_bit(path)
    assert uid in verify(own)["damaged"]  # type: ignore[operator]
    time.sleep(CACHED_SECONDS + 1)
    assert httpx.get(f"{url}/frames/1", headers=ANY).status_code == 500
