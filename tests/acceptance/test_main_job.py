"""The main job as its users do it: a running service, the command line, real clients."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tifffile
from dicomweb_client import DICOMwebClient
from wsidicom import WsiDicom, WsiDicomWebClient

from tests.conftest import RunningService, require_program


def dicomsvc(*arguments: str, status: int = 0) -> Any:
    """Run a command with ``--json`` and return its document."""
    ended = subprocess.run(
        [sys.executable, "-m", "dicomsvc", *arguments, "--json"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == status, ended.stderr
    return json.loads(ended.stdout) if ended.stdout else None


@pytest.fixture(scope="module")
def imported(
    service: RunningService, cmu_small_region: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """The bundled slide, brought in with ``dicomsvc import``; its row as QIDO-RS answers it."""
    metadata = tmp_path_factory.mktemp("metadata") / "slide.json"
    metadata.write_text(json.dumps({"patient_id": "P-17", "patient_name": "Doe^Jane", "accession_number": "A-17"}))
    dicomsvc("import", str(cmu_small_region), "--metadata", str(metadata), "--data", str(service.data))
    [study] = httpx.get(f"{service.dicomweb}/studies", params={"PatientID": "P-17"}).json()
    row: dict[str, Any] = study
    return row


def uids(service: RunningService, study: dict[str, Any]) -> tuple[str, str]:
    study_uid = study["0020000D"]["Value"][0]
    [series] = httpx.get(f"{service.dicomweb}/studies/{study_uid}/series").json()
    return study_uid, series["0020000E"]["Value"][0]


def test_an_imported_slide_shows_in_a_worklist(imported: dict[str, Any]) -> None:
    assert imported["00100010"]["Value"] == [{"Alphabetic": "Doe^Jane"}]
    assert imported["00080050"]["Value"] == ["A-17"]
    assert imported["00080061"]["Value"] == ["SM"]
    assert imported["00201208"]["Value"][0] >= 5


def test_the_scanners_tiles_come_back_bit_for_bit(
    service: RunningService, imported: dict[str, Any], cmu_small_region: Path
) -> None:
    study_uid, series_uid = uids(service, imported)
    client = DICOMwebClient(service.dicomweb)
    [base] = [
        instance
        for instance in client.retrieve_series_metadata(study_uid, series_uid)
        if instance["00080008"]["Value"] == ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ]
    with tifffile.TiffFile(cmu_small_region) as slide:
        page = slide.pages[0]
        tiles = [
            slide.filehandle.read_segments((offset,), (count,)).__next__()[0]
            for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
        ]
    frames = client.retrieve_instance_frames(
        study_uid, series_uid, base["00080018"]["Value"][0], frame_numbers=list(range(1, len(tiles) + 1))
    )
    assert len(frames) == len(tiles) == base["00280008"]["Value"][0]
    for frame, tile in zip(frames, tiles, strict=True):
        scan = tile[tile.index(b"\xff\xda") :]
        assert frame.rstrip(b"\0").endswith(scan.rstrip(b"\0")), "the entropy-coded data was changed"


def test_wsidicom_reads_the_same_pixels_over_the_web_as_from_files(
    service: RunningService, imported: dict[str, Any], cmu_small_region: Path, tmp_path: Path
) -> None:
    study_uid, series_uid = uids(service, imported)
    client = DICOMwebClient(service.dicomweb)
    for record in client.retrieve_series(study_uid, series_uid):
        record.save_as(tmp_path / f"{record.SOPInstanceUID}.dcm", enforce_file_format=True)
    with (
        WsiDicom.open(tmp_path) as files,
        WsiDicom.open_web(WsiDicomWebClient(client), study_uid, series_uid) as web,
    ):
        assert [level.size for level in files.levels] == [level.size for level in web.levels]
        for level in files.levels:
            size = (min(300, level.size.width), min(300, level.size.height))
            left = np.asarray(files.read_region((0, 0), level.level, size))
            assert left.std() > 1
            assert np.array_equal(left, np.asarray(web.read_region((0, 0), level.level, size)))


def test_a_converted_slide_sent_by_c_store_is_found(
    service: RunningService, cmu_small_region: Path, tmp_path: Path
) -> None:
    metadata = tmp_path / "slide.json"
    metadata.write_text(json.dumps({"patient_id": "P-18", "patient_name": "王^小明"}))
    converted = dicomsvc("convert", str(cmu_small_region), "--out", str(tmp_path / "o"), "--metadata", str(metadata))
    port = f"127.0.0.1:{service.dimse_port}"
    assert dicomsvc("echo", port, "--called", "DICOMSVC")["seconds"] < 5
    sent = dicomsvc("send", port, str(tmp_path / "o"), "--called", "DICOMSVC")
    assert all(result["ok"] for result in sent)
    assert len(sent) == len(converted)
    [study] = httpx.get(f"{service.dicomweb}/studies", params={"PatientName": "小明", "fuzzymatching": "true"}).json()
    assert study["00201208"]["Value"] == [len(converted)]


def test_what_was_deleted_is_gone(service: RunningService, cmu_small_region: Path, tmp_path: Path) -> None:
    dicomsvc("convert", str(cmu_small_region), "--out", str(tmp_path))
    sent = dicomsvc("send", f"127.0.0.1:{service.dimse_port}", str(tmp_path), "--called", "DICOMSVC")
    [row] = httpx.get(f"{service.dicomweb}/instances", params={"SOPInstanceUID": sent[0]["sop_instance_uid"]}).json()
    study_uid = row["0020000D"]["Value"][0]
    assert httpx.delete(f"{service.dicomweb}/studies/{study_uid}").status_code == 204
    assert httpx.get(f"{service.dicomweb}/studies", params={"StudyInstanceUID": study_uid}).json() == []
    assert httpx.get(f"{service.dicomweb}/studies/{study_uid}/metadata").status_code == 404


def test_a_file_that_is_no_slide_fails_with_what_to_do(service: RunningService, tmp_path: Path) -> None:
    stranger = tmp_path / "slide.svs"
    stranger.write_bytes(b"this is no slide")
    [item] = dicomsvc("import", str(stranger), "--data", str(service.data), status=1)
    assert item["state"] == "CANCELED"
    assert "known format" in item["error"]


def test_health_metrics_and_status_tell_of_every_role(service: RunningService, imported: dict[str, Any]) -> None:
    assert httpx.get(f"{service.url}/healthz").status_code == 200
    ready = httpx.get(f"{service.url}/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    status = httpx.get(f"{service.url}/api/status").json()
    assert {process["role"] for process in status["processes"]} == {"web", "dimse", "worker"}
    metrics = httpx.get(f"{service.url}/metrics").text
    assert "dicomsvc_process_up{" in metrics
    assert "Doe" not in metrics
    assert "P-17" not in metrics


def test_nothing_of_a_patient_stands_in_the_log(service: RunningService, imported: dict[str, Any]) -> None:
    log = service.log.read_text()
    assert "Doe" not in log
    assert "P-17" not in log


def test_every_stored_file_has_the_bytes_it_came_with(service: RunningService, imported: dict[str, Any]) -> None:
    result = dicomsvc("verify", "--data", str(service.data))
    assert result["sound"]
    assert result["checked"] > 5


@pytest.mark.peer
def test_what_leaves_the_service_is_valid(service: RunningService, imported: dict[str, Any], tmp_path: Path) -> None:
    dciodvfy, dcentvfy = require_program("dciodvfy"), require_program("dcentvfy")
    study_uid, series_uid = uids(service, imported)
    paths = []
    for record in DICOMwebClient(service.dicomweb).retrieve_series(study_uid, series_uid):
        path = tmp_path / f"{record.SOPInstanceUID}.dcm"
        record.save_as(path, enforce_file_format=True)
        paths.append(str(path))
        report = subprocess.run([dciodvfy, str(path)], capture_output=True, text=True, check=False)
        assert not [line for line in report.stderr.splitlines() if line.startswith("Error")]
    report = subprocess.run([dcentvfy, *paths], capture_output=True, text=True, check=False)
    assert not [line for line in (report.stdout + report.stderr).splitlines() if line.startswith("Error")]
