"""Bulk annotations and reports are valid for dicom3tools and readable for DCMTK; what is allowed to differ stands here.

dciodvfy of 2022 counts CommonZCoordinateValue as missing from, or wrong in, every annotation group of 2D coordinates:
the attribute is required of 3D ones only (PS3.3 C.37.1.2).
"""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicomsvc.ingest.convert import ConversionOptions, FolderSink, convert_slide
from dicomsvc.objects.annotations import AnnotationGroup, GraphicType, write_annotations
from dicomsvc.objects.report import report_file
from dicomsvc.objects.source import SourceSlide, source_slide
from dicomsvc.objects.verification import Judgement, judged
from tests.conftest import CMU_SMALL_REGION, require_program
from tests.unit.objects.report_case import report
from tests.unit.objects.result_slide import EQUIPMENT, NEOPLASM, NUCLEUS, identity, provenance, slide
from tests.unit.objects.test_verification import ACCEPT, REJECT

pytestmark = pytest.mark.peer
ALLOWED = {
    "Error - </AnnotationGroupSequence(006a,0002)[#]/CommonZCoordinateValue(006a,0010)> - "
    "Only valid for AnnotationCoordinateType of 3D",
}
JUDGEMENTS: dict[str, Judgement | None] = {"not verified": None, "accepted": ACCEPT, "rejected": REJECT}


@pytest.fixture(scope="module")
def real_slide(tmp_path_factory: pytest.TempPathFactory) -> SourceSlide:
    """The converted CMU slide, of a patient with a Chinese name."""

    folder = tmp_path_factory.mktemp("slide")
    document = {"patient_id": "P-1", "patient_name": "王^小东", "container_identifier": "S26-1-A1"}
    with FolderSink(folder) as sink:
        made = convert_slide(CMU_SMALL_REGION, sink, ConversionOptions(metadata=document))
    datasets = [dcmread(instance.path, stop_before_pixels=True) for instance in made]
    return source_slide([ds for ds in datasets if ds.ImageType[2] == "VOLUME"])


def complaints(path: Path) -> set[str]:
    """Return the errors of dciodvfy, item numbers left out."""
    done = subprocess.run([require_program("dciodvfy"), "-new", str(path)], capture_output=True, text=True, check=False)
    lines = {line for line in done.stderr.splitlines() if line.startswith(("Error", "Abort"))}
    return {_without_numbers(line) for line in lines}


def _without_numbers(line: str) -> str:
    return re.sub(r"\[\d+\]", "[#]", line)


def annotation_groups(source: SourceSlide, dimensions: int) -> list[AnnotationGroup]:
    random = np.random.default_rng(3)
    groups = []
    for graphic_type in GraphicType:
        each = {GraphicType.POINT: 1, GraphicType.POLYLINE: 3}.get(graphic_type, 4)
        points = random.uniform(0, 60, (each * 5, 2)).astype(np.float32)
        if dimensions == 3:
            points = np.column_stack([source.to_slide_mm(points), np.zeros(len(points))]).astype(np.float32)
        offsets = np.arange(0, each * 5 + 1, each)
        measured = {
            "area_um2": np.arange(5, dtype=np.float32),
            "mean_hematoxylin_od": np.array([0.1, np.nan, 0.2, np.nan, 0.3], np.float32),
        }
        finding = NUCLEUS if each == 1 else NEOPLASM
        groups.append(AnnotationGroup(finding, graphic_type, points, offsets, measured))
    return groups


@pytest.mark.parametrize("dimensions", [2, 3], ids=["pixels", "mm"])
@pytest.mark.parametrize("which", ["made", "real"])
def test_bulk_annotations_are_valid(
    which: str, dimensions: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source = slide() if which == "made" else request.getfixturevalue("real_slide")
    path = tmp_path / "ann.dcm"
    with path.open("wb") as stream:
        write_annotations(stream.write, source, annotation_groups(source, dimensions), identity(), provenance())
    assert complaints(path) == (ALLOWED if dimensions == 2 else set())


def written(source: SourceSlide, state: str, path: Path) -> Dataset:
    judgement = JUDGEMENTS[state]
    ds = report(source)
    if judgement is not None:
        ds = judged(ds, judgement, EQUIPMENT)
    path.write_bytes(report_file(ds))
    return ds


@pytest.mark.parametrize("state", list(JUDGEMENTS))
@pytest.mark.parametrize("which", ["made", "real"])
def test_reports_are_valid(which: str, state: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    source = slide() if which == "made" else request.getfixturevalue("real_slide")
    written(source, state, tmp_path / "sr.dcm")
    assert complaints(tmp_path / "sr.dcm") == set()


def dumped(path: Path) -> str:
    done = subprocess.run([require_program("dsrdump"), "+Pf", str(path)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert not [line for line in done.stderr.decode().splitlines() if line.startswith(("E:", "F:"))]
    return done.stdout.decode()


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("not verified", ["UNVERIFIED", "AI result, not verified", '"Number per Area")="9876.54321" (/mm2,UCUM']),
        ("accepted", [": VERIFIED", "Li^Ming=李^明", "协和医院", '(385645004,SCT,"Accepted")']),
        ("rejected", ["UNVERIFIED", "rejected", '(REJECTED,99DICOMSVC,"Rejected")', "Counts lymphocytes as tumour"]),
    ],
)
def test_dcmtk_reads_reports(state: str, said: list[str], tmp_path: Path) -> None:
    written(slide(), state, tmp_path / "sr.dcm")
    text = dumped(tmp_path / "sr.dcm")
    assert [words for words in said if words not in text] == []


def test_an_invalid_object_is_complained_about(tmp_path: Path) -> None:
    ds = written(slide(), "not verified", tmp_path / "sr.dcm")
    ds.VerificationFlag = "PERHAPS"
    del ds.CompletionFlag
    (tmp_path / "wrong.dcm").write_bytes(report_file(ds))
    assert complaints(tmp_path / "wrong.dcm") != set()
