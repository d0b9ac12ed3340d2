"""What conversion writes is valid for dicom3tools: dciodvfy on every instance, dcentvfy over a series."""

import shutil
import subprocess
from pathlib import Path

import pytest

from dicomsvc.ingest.convert import ConversionOptions, FolderSink, convert_slide
from tests.conformance.vendor_slides import LOSSLESS, MONOCHROME, PASSING, REAL_SLIDE, write_fluorescence

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed"),
]
MAKERS = {
    **LOSSLESS,
    **PASSING,
    **MONOCHROME,
    "fluorescence.ome.tif": write_fluorescence,
    "aperio.svs": lambda path: Path(shutil.copy(REAL_SLIDE, path)),
}
DOCUMENT = {
    "patient_id": "P-1",
    "patient_name": "王^小东",
    "patient_birth_date": "1950-02-03",
    "patient_sex": "F",
    "accession_number": "S26-1",
    "container_identifier": "S26-1-A1",
    "specimen_identifier": "S26-1-A",
    "specimen_description": "Colon, biopsy",
    "stain": "H&E",
}


def complaints(program: str, *paths: Path) -> list[str]:
    done = subprocess.run([program, *map(str, paths)], capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("Error", "Abort"))]


@pytest.mark.parametrize("deidentify", [False, True], ids=["as-is", "de-identified"])
@pytest.mark.parametrize("name", sorted(MAKERS))
def test_every_instance_of_a_converted_slide_is_valid(name: str, deidentify: bool, tmp_path: Path) -> None:
    slide = MAKERS[name](tmp_path / name)
    options = ConversionOptions(metadata={} if deidentify else DOCUMENT, mpp=0.5, deidentify=deidentify)
    with FolderSink(tmp_path / "out") as sink:
        instances = convert_slide(slide, sink, options)
    paths = [instance.path for instance in instances]
    assert paths
    assert [line for path in paths for line in complaints("dciodvfy", path)] == []
    assert complaints("dcentvfy", *paths) == []


@pytest.mark.parametrize("codec", ["jpeg", "jpeg2000", "jpeg2000-lossless", "uncompressed"])
def test_every_codec_makes_valid_instances(codec: str, tmp_path: Path) -> None:
    slide = LOSSLESS["striped-lzw.tif"](tmp_path / "slide.tif")
    with FolderSink(tmp_path / "out") as sink:
        instances = convert_slide(slide, sink, ConversionOptions(codec=codec))  # type: ignore[arg-type]
    assert [line for instance in instances for line in complaints("dciodvfy", instance.path)] == []
