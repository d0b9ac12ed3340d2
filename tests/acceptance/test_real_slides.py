"""Large real slides through the whole service: each tile of the scanner comes back bit for bit over DICOMweb."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import tifffile
from dicomweb_client import DICOMwebClient

from tests.conftest import RunningService, require_program

AS_STORED = [("Orion-CRC01_HE_17408x14336_1.3um.tif", 1.3), ("tcga-cr-7395-01a-01-ts1.svs", 0.25)]
ENCODED = [("test3-DAPI_2_387.ndpi", None), ("openslide_boxes_pyramid_icc.tiff", 0.5), ("OS-1-detail_HE.ome.tif", None)]
PEAK_BYTES = 600 << 20


def bring_in(service: RunningService, slide: Path, mpp: float | None) -> dict[str, Any]:
    """Import a slide and return what its work item says."""
    spacing = ["--mpp", str(mpp)] if mpp else []
    ended = subprocess.run(
        [sys.executable, "-m", "dicomsvc", "import", str(slide), *spacing, "--data", str(service.data), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    [item] = json.loads(ended.stdout)
    outputs: dict[str, Any] = item["outputs"]
    return outputs


def peak_bytes(service: RunningService) -> int:
    """Return the most memory that any process of the worker ever held."""
    [worker] = [child for child in psutil.Process(service.process.pid).children() if child.cmdline()[-1:] == ["worker"]]
    peaks = []
    for process in worker.children(recursive=True):
        status = Path(f"/proc/{process.pid}/status").read_text()
        peaks += [int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")]
    return max(peaks)


def stored_tiles(slide: Path) -> list[bytes]:
    with tifffile.TiffFile(slide) as tiff:
        page = tiff.pages[0]
        places = zip(page.dataoffsets, page.databytecounts, strict=True)
        content = []
        for offset, count in places:
            tiff.filehandle.seek(offset)
            content.append(tiff.filehandle.read(count))
        return content


@pytest.mark.parametrize(("name", "mpp"), AS_STORED)
def test_every_tile_comes_back_bit_for_bit(service: RunningService, big_data: Path, name: str, mpp: float) -> None:
    slide = big_data / "slides" / name
    made = bring_in(service, slide, mpp)
    study_uid, series_uid = made["study_instance_uid"], made["series_instance_uid"]
    client = DICOMwebClient(service.dicomweb)
    [base] = [
        instance
        for instance in client.retrieve_series_metadata(study_uid, series_uid)
        if instance["00080008"]["Value"] == ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ]
    tiles = stored_tiles(slide)
    frames = client.retrieve_instance_frames(
        study_uid, series_uid, base["00080018"]["Value"][0], frame_numbers=list(range(1, len(tiles) + 1))
    )
    assert len(frames) == len(tiles)
    for frame, tile in zip(frames, tiles, strict=True):
        # A JPEG tile gets the tables that TIFF keeps apart; what follows them is the tile's own.
        own = tile[tile.index(b"\xff\xda") :] if tile.startswith(b"\xff\xd8") else tile
        assert frame.removesuffix(b"\0").endswith(own.removesuffix(b"\0"))
    assert peak_bytes(service) < PEAK_BYTES


@pytest.mark.peer
@pytest.mark.parametrize(("name", "mpp"), [*AS_STORED, *ENCODED])
def test_real_slides_become_valid_instances(
    service: RunningService, big_data: Path, tmp_path: Path, name: str, mpp: float | None
) -> None:
    dciodvfy, dcentvfy = require_program("dciodvfy"), require_program("dcentvfy")
    made = bring_in(service, big_data / "slides" / name, mpp)
    client = DICOMwebClient(service.dicomweb)
    paths = []
    for record in client.iter_series(made["study_instance_uid"], made["series_instance_uid"]):
        path = tmp_path / f"{record.SOPInstanceUID}.dcm"
        record.save_as(path, enforce_file_format=True)
        paths.append(str(path))
        report = subprocess.run([dciodvfy, str(path)], capture_output=True, text=True, check=False)
        assert not [line for line in report.stderr.splitlines() if line.startswith("Error")], name
    report = subprocess.run([dcentvfy, *paths], capture_output=True, text=True, check=False)
    assert not [line for line in (report.stdout + report.stderr).splitlines() if line.startswith("Error")], name


def test_a_slide_without_pixel_spacing_asks_for_it(service: RunningService, big_data: Path) -> None:
    slide = big_data / "slides" / AS_STORED[1][0]
    ended = subprocess.run(
        [sys.executable, "-m", "dicomsvc", "import", str(slide), "--data", str(service.data), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "--mpp" in json.loads(ended.stdout)[0]["error"]
