"""A slide with its results, full of a patient, goes out without: still valid, still together, still the same pixels.

The slide is a real one, converted here; the results are as analyses and report documents make them.
"""

import subprocess
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from wsidicom import WsiDicom

from dicomsvc.deidentify import Deidentifier, Profile
from dicomsvc.dicom.part10 import parse_instance
from dicomsvc.ingest.convert import ConversionOptions, FolderSink, convert_slide
from dicomsvc.objects.annotations import write_annotations
from dicomsvc.objects.parametric import MapQuantity, write_parametric_map
from dicomsvc.objects.report import report_file
from dicomsvc.objects.segmentation import Organisation, SegmentationKind
from dicomsvc.objects.source import SourceSlide, source_slide
from dicomsvc.objects.verification import judged
from tests.conformance.test_annotations_reports import annotation_groups
from tests.conformance.test_pixel_objects import TILE, masks, segmentation, written
from tests.conformance.test_report_documents import document
from tests.conftest import CMU_SMALL_REGION, require_program
from tests.unit.deidentify.marked import MARKER, MARKER_DATE, elements, plant
from tests.unit.objects.report_case import report
from tests.unit.objects.result_slide import EQUIPMENT, identity, provenance
from tests.unit.objects.test_verification import ACCEPT

pytestmark = pytest.mark.peer
SECRET = b"a secret of this test, long enough"
FLAVOURS = ("volume", "thumbnail", "overview", "label")
REFERENCE = "ReferencedSOPInstanceUID"


@dataclass(frozen=True)
class Family:
    """A slide and what was found on it, with markers; and the same without identity."""

    sources: dict[str, Path]
    targets: dict[str, Path]
    deidentifier: Deidentifier


def marked(path: Path) -> Path:
    ds = plant(dcmread(path))
    ds.file_meta.SourceApplicationEntityTitle = MARKER
    ds.preamble = (MARKER.encode() * 16)[:128]
    ds.PatientBirthDate = MARKER_DATE
    for frame_text in ("ImageComments", "PatientComments", "InstitutionName", "OperatorsName", "DeviceSerialNumber"):
        setattr(ds, frame_text, MARKER)
    ds.save_as(path, enforce_file_format=True)
    return path


def results(folder: Path, source: SourceSlide) -> dict[str, Path]:
    """Write what was found on the slide, by name."""
    made = {}
    for name, kind, organisation, count in (
        ("seg-binary", SegmentationKind.BINARY, Organisation.SPARSE, 2),
        ("seg-full", SegmentationKind.BINARY, Organisation.FULL, 2),
        ("seg-fractional", SegmentationKind.FRACTIONAL, Organisation.AUTO, 2),
        ("seg-labelmap", SegmentationKind.LABELMAP, Organisation.FULL, 2),
    ):
        (folder / name).mkdir()
        made[name] = segmentation(folder / name, source, count, kind, organisation)[-1]
    (folder / "pm").mkdir()
    made["pm"] = parametric_map(folder / "pm", source)
    for dimensions in (2, 3):
        path = made[f"ann-{dimensions}d"] = folder / f"ann-{dimensions}d.dcm"
        with path.open("wb") as stream:
            write_annotations(stream.write, source, annotation_groups(source, dimensions), identity(), provenance())
    for name, ds in (
        ("sr", report(source)),
        ("sr-verified", judged(report(source), ACCEPT, EQUIPMENT)),
        ("sr-report", document(signed=True, referenced=True)),
        ("sr-report-zh", document(signed=False, referenced=True, language="zh")),
    ):
        made[name] = folder / f"{name}.dcm"
        made[name].write_bytes(report_file(ds))
    return made


def parametric_map(folder: Path, source: SourceSlide) -> Path:
    shares = masks(source)[:1].astype(np.float32) * np.float32(0.75)
    quantity = MapQuantity("tumour", "probability of tumour", codes.SCT.Area)
    return written(
        folder,
        source,
        lambda targets: write_parametric_map(
            targets, source, quantity, lambda row: shares[:, row * TILE : (row + 1) * TILE], provenance()
        ),
    )[-1]


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    folder, out = tmp_path_factory.mktemp("family"), tmp_path_factory.mktemp("clean")
    (folder / "slide").mkdir()
    with FolderSink(folder / "slide") as sink:
        document_of_slide = {"patient_id": "P-1", "patient_name": "王^小东", "container_identifier": "S26-1-A1"}
        instances = convert_slide(CMU_SMALL_REGION, sink, ConversionOptions(metadata=document_of_slide))
    sources = {}
    for number, instance in enumerate(instances):
        flavour = dcmread(instance.path, stop_before_pixels=True).ImageType[2].lower()
        sources[f"{flavour}-{number}"] = instance.path
    volumes = [dcmread(path, stop_before_pixels=True) for name, path in sources.items() if name.startswith("volume")]
    sources |= results(folder, source_slide(volumes))
    (out / "slide").mkdir()
    deidentifier = Deidentifier(Profile(overview_label="left", overview_label_share=0.4), SECRET)
    targets = {}
    for name, path in sources.items():
        target = out / ("slide" if "-" in name and name.split("-")[0] in FLAVOURS else "") / f"{name}.dcm"
        if deidentifier.write(marked(path), target) is not None:
            targets[name] = target
    return Family(sources, targets, deidentifier)


def complaints(path: Path) -> list[str]:
    done = subprocess.run([require_program("dciodvfy"), "-new", str(path)], capture_output=True, text=True, check=False)
    return sorted(line for line in done.stderr.splitlines() if line.startswith(("Error", "Abort")))


def test_all_but_the_label_goes_out(family: Family) -> None:
    assert {name for name in family.sources if name not in family.targets} == {
        name for name in family.sources if name.startswith("label")
    }
    assert len(family.targets) == len(family.sources) - 1


def test_nothing_is_wrong_that_was_not_wrong_before(family: Family) -> None:
    for name, target in family.targets.items():
        assert set(complaints(target)) <= set(complaints(family.sources[name])), name
        assert parse_instance(target).warnings == (), name


OPTIONS = [field.name for field in fields(Profile) if field.type in (bool, "bool")]
EVERYTHING = Profile(**{option: option != "retain_modified_dates" for option in OPTIONS})
NOTHING = Profile(**dict.fromkeys(OPTIONS, False))


@pytest.mark.parametrize("profile", [EVERYTHING, NOTHING], ids=["everything", "nothing"])
def test_every_option_gives_valid_objects(profile: Profile, family: Family, tmp_path: Path) -> None:
    sent = 0
    for name, source in family.sources.items():
        target = tmp_path / f"{name}.dcm"
        if Deidentifier(profile, SECRET).write(source, target) is not None:
            sent += 1
            assert set(complaints(target)) <= set(complaints(source)), name
    assert sent >= len(family.sources) - (2 if profile is EVERYTHING else 8)


def test_no_marker_is_left_in_any_object(family: Family) -> None:
    for name, target in family.targets.items():
        assert MARKER.encode() in family.sources[name].read_bytes()
        raw = target.read_bytes()
        for text in (MARKER, MARKER_DATE, "王^小东", "S26-1-A", "Left kidney", "Counts lymphocytes"):
            assert text.encode() not in raw, (name, text)
        values = [
            each.value for each in elements(dcmread(target)) if each.VR not in ("SQ", "OB", "OW", "OF", "OD", "OV")
        ]
        assert not [value for value in values if MARKER in str(value) or not str(value).isascii()], name


def test_references_still_hold(family: Family) -> None:
    sent = {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in family.targets.values()}
    known = {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in family.sources.values()}
    held = 0
    for name, target in family.targets.items():
        before = [str(e.value) for e in elements(dcmread(family.sources[name])) if e.keyword == REFERENCE]
        after = [str(e.value) for e in elements(dcmread(target)) if e.keyword == REFERENCE]
        assert len(before) == len(after), name
        for old, new in zip(before, after, strict=True):
            assert new == family.deidentifier.uid(old)
            if old in known:
                held += 1
                assert new in sent
    assert held > 10
    datasets = [dcmread(path, stop_before_pixels=True) for path in family.targets.values()]
    assert len({ds.PatientID for ds in datasets}) == 1
    assert not {str(ds.StudyInstanceUID) for ds in datasets} & {
        str(dcmread(path, stop_before_pixels=True).StudyInstanceUID) for path in family.sources.values()
    }


def test_pixels_are_those_that_came(family: Family) -> None:
    for name, target in family.targets.items():
        before, after = dcmread(family.sources[name]), dcmread(target)
        for keyword in ("PixelData", "FloatPixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
            if not name.startswith("overview"):
                assert before.get(keyword) == after.get(keyword), (name, keyword)


def test_the_overview_is_blank_where_the_label_was(family: Family) -> None:
    [name] = [name for name in family.targets if name.startswith("overview")]
    before = dcmread(family.sources[name]).pixel_array.astype(int)
    clean = dcmread(family.targets[name])
    after = clean.pixel_array.astype(int)
    share = int(np.ceil(after.shape[1] * 0.4))
    assert np.abs(after[:, : share - 16] - 128).max() <= 6
    assert np.abs(after[:, share + 16 :] - before[:, share + 16 :]).mean() < 4
    assert clean.BurnedInAnnotation == "NO"


def test_wsidicom_opens_the_slide(family: Family) -> None:
    folder = next(path for name, path in family.targets.items() if name.startswith("volume")).parent
    original = next(path for name, path in family.sources.items() if name.startswith("volume")).parent
    with WsiDicom.open(folder) as slide, WsiDicom.open(original) as before:
        assert slide.size == before.size and len(slide.levels) == len(before.levels)
        region = np.asarray(slide.read_region((300, 400), 0, (500, 400)))
        assert (region == np.asarray(before.read_region((300, 400), 0, (500, 400)))).all()


def test_codes_and_numbers_of_reports_stay(family: Family) -> None:
    for name in ("sr", "sr-report"):
        before, after = dcmread(family.sources[name]), dcmread(family.targets[name])
        assert structure(before) == structure(after)
        assert {str(e.value) for e in elements(after) if e.keyword == "TextValue"} >= {"[removed]"}


def structure(ds: Dataset) -> list[tuple[str, str]]:
    kept = ("CodeValue", "NumericValue", "ValueType", "RelationshipType", "GraphicData", "CodingSchemeDesignator")
    top = {e.tag for e in ds} - {0x0012_0064}
    return [(e.keyword, str(e.value)) for tag in sorted(top) for e in _below(ds[tag]) if e.keyword in kept]


def _below(element):  # type: ignore[no-untyped-def]
    yield element
    if element.VR == "SQ":
        for item in element.value:
            yield from elements(item)
