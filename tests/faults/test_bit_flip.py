"""A byte that changes on the disk: it is found, by ``dicomsvc verify`` or without being asked; nobody gets it."""

import io
import re
import signal
import time
from pathlib import Path

import httpx
import pytest
from pydicom import Dataset, dcmread
from pynetdicom import AE, build_role, evt

from dicomsvc.store.layout import Layout, file_key
from tests.conftest import RunningService
from tests.faults.node import FIGURES, eventually, instance_url, role_process, running, same, stow, verify
from tests.instances import VL_WHOLE_SLIDE, part10, wsi_dataset
from tests.unit.dimse.wire import JPEG_BASELINE

CACHED_SECONDS = 30
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
ANY = {"Accept": "*/*"}


@pytest.fixture(scope="module")
def own() -> "object":
    with running() as service:
        yield service


@pytest.fixture(scope="module")
def reading() -> "object":
    """A service that reads each file again every four seconds."""
    with running(environment={"DICOMSVC_STORE__VERIFY_DAYS": str(5 / 86400)}) as service:
        yield service


def stored(service: RunningService, frames: int = 8, tile: int = 64) -> tuple[str, bytes, Path, str]:
    """Store an instance and return its UID, its content, its file, and its URL."""
    ds = wsi_dataset(frames=frames, tile=tile)
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


def got(service: RunningService, url: str) -> tuple[list[bytes], int | None]:
    """Ask for an instance by C-GET; return the pixel data that came, and the last status."""
    study, series, uid = url.split("/studies/")[1].replace("/series/", "/").replace("/instances/", "/").split("/")
    received: list[bytes] = []

    def store(event: evt.Event) -> int:
        received.append(bytes(event.dataset.PixelData))
        return 0

    entity = AE(ae_title="GETTER")
    entity.add_requested_context(STUDY_ROOT_GET)
    entity.add_requested_context(VL_WHOLE_SLIDE, JPEG_BASELINE)
    association = entity.associate(
        "127.0.0.1",
        service.dimse_port,
        ext_neg=[build_role(VL_WHOLE_SLIDE, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, store)],
    )
    assert association.is_established
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "IMAGE"
    identifier.StudyInstanceUID, identifier.SeriesInstanceUID, identifier.SOPInstanceUID = study, series, uid
    statuses = [status.get("Status") for status, _ in association.send_c_get(identifier, STUDY_ROOT_GET)]
    association.abort()
    return received, statuses[-1]


def test_a_damaged_file_is_not_sent_even_before_it_is_found(own: RunningService) -> None:
    _, content, path, url = stored(own)
    pixel_data = bytes(dcmread(io.BytesIO(content)).PixelData)
    assert got(own, url) == ([pixel_data], 0)
    flip_a_bit(path)
    received, status = got(own, url)
    assert received == [] and status != 0
    verify(own)
    received, status = got(own, url)
    assert received == [] and status != 0


def test_a_flipped_bit_is_found_and_its_file_is_served_to_nobody_until_it_is_restored(own: RunningService) -> None:
    uid, content, path, url = stored(own)
    other, other_content, _, other_url = stored(own)
    flip_a_bit(path)
    found = verify(own)
    assert uid in found["damaged"] and not found["sound"]  # type: ignore[operator]
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
    assert uid not in verify(own)["damaged"]  # type: ignore[operator]
    answer = httpx.get(url, headers={"Accept": "application/dicom; transfer-syntax=*"})
    assert answer.status_code == 200 and same(answer.content, content)
    assert httpx.get(f"{url}/frames/1", headers=ANY).status_code == 200


def test_the_same_instance_sent_again_takes_the_place_of_the_damaged_one(own: RunningService) -> None:
    uid, content, path, url = stored(own)
    flip_a_bit(path)
    assert uid in verify(own)["damaged"]  # type: ignore[operator]
    assert stow(own, content).status_code == 200
    answer = httpx.get(url, headers={"Accept": "application/dicom; transfer-syntax=*"})
    assert answer.status_code == 200, "acknowledged, yet not to be had"
    assert answer.content == content
    assert uid not in verify(own)["damaged"]  # type: ignore[operator]


def damaged_files(service: RunningService) -> int:
    [line] = re.findall(r"^dicomsvc_store_damaged_files (\S+)$", httpx.get(f"{service.url}/metrics").text, re.MULTILINE)
    return int(float(line))


def test_a_flipped_bit_is_found_without_being_asked(reading: RunningService) -> None:
    uid, content, path, url = stored(reading)
    before = damaged_files(reading)
    flip_a_bit(path)
    begun = time.monotonic()
    assert eventually(lambda: damaged_files(reading) == before + 1, 60)
    FIGURES.append(f"a flipped bit found by the scheduled verification after {time.monotonic() - begun:.1f} s")
    assert {way for way, status in served(url, uid, reading.dicomweb).items() if status == 200} == set()
    assert f"the file of instance {uid} is damaged" in reading.log.read_text()
    assert stow(reading, content).status_code == 200
    assert eventually(lambda: damaged_files(reading) == before)
    answer = httpx.get(url, headers={"Accept": "application/dicom; transfer-syntax=*"})
    assert answer.status_code == 200 and answer.content == content


def test_a_killed_worker_leaves_the_reading_to_the_next_one(reading: RunningService) -> None:
    _, content, path, _ = stored(reading)
    before = damaged_files(reading)
    role_process(reading, "worker").send_signal(signal.SIGKILL)
    flip_a_bit(path)
    assert eventually(lambda: damaged_files(reading) == before + 1, 90)
    assert stow(reading, content).status_code == 200


def test_a_damaged_file_does_not_leave_whole_by_wado_before_it_is_found(own: RunningService) -> None:
    uid, content, path, url = stored(own, frames=300, tile=256)
    assert len(content) > 2 << 20
    accept = {"Accept": "application/dicom; transfer-syntax=*"}
    assert httpx.get(url, headers=accept, timeout=60).content == content
    flip_a_bit(path)
    received = bytearray()
    with pytest.raises(httpx.RemoteProtocolError), httpx.stream("GET", url, headers=accept, timeout=60) as response:
        assert response.status_code == 200
        for piece in response.iter_raw():
            received += piece
    assert len(received) < len(content)
    assert "was broken off" in own.log.read_text() and "RuntimeError" not in own.log.read_text()
    assert {way for way, status in served(url, uid, own.dicomweb).items() if status == 200} == set()


def test_a_damaged_frame_of_a_file_that_was_read_once_does_not_leave(own: RunningService) -> None:
    uid, _, path, url = stored(own, frames=300, tile=256)
    verify(own)
    assert httpx.get(f"{url}/frames/150", headers=ANY).status_code == 200
    flip_a_bit(path)
    several = f"{url}/frames/{','.join(map(str, range(1, 301)))}"
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(several, headers=ANY, timeout=60)
    assert "an answer with frames was broken off" in own.log.read_text()
    assert "Traceback" not in own.log.read_text() and "RuntimeError" not in own.log.read_text()
    statuses = {httpx.get(f"{url}/frames/{number}", headers=ANY).status_code for number in (1, 150, 300)}
    assert statuses == {500}
    assert {way for way, status in served(url, uid, own.dicomweb).items() if status == 200} == set()


@pytest.mark.slow
def test_a_viewer_that_has_the_slide_open_is_cut_off_too(own: RunningService) -> None:
    uid, _, path, url = stored(own)
    assert httpx.get(f"{url}/frames/1", headers=ANY).status_code == 200
    flip_a_bit(path)
    assert uid in verify(own)["damaged"]  # type: ignore[operator]
    time.sleep(CACHED_SECONDS + 1)
    assert httpx.get(f"{url}/frames/1", headers=ANY).status_code == 500
