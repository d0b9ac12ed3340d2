"""What people drew on a stored slide becomes training data: reports, bulk annotations, segmentations."""

import csv
import io
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import openslide
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from dicomsvc.ai.analysis.summary import Area, Row, report_content
from dicomsvc.ai.analysis.summary import Summary as Numbers
from dicomsvc.ai.catalogue.manifest import OutputKind
from dicomsvc.ai.training.data.choice import Choice, Origin
from dicomsvc.ai.training.data.collecting import Summary, collect_from_store
from dicomsvc.ai.training.data.crops import Cutting
from dicomsvc.errors import BadRequest, NotFound
from dicomsvc.objects.provenance import FindingClass, Identity
from dicomsvc.objects.report import report_dataset, report_file
from dicomsvc.objects.report_content import ReportMeasurement, ResultReference
from dicomsvc.objects.segmentation import Organisation, SegmentationKind
from dicomsvc.objects.source import source_slide
from dicomsvc.objects.verification import Judgement, Verdict, judged
from dicomsvc.store import Store
from dicomsvc.wsi.plan import Rectangle
from tests.acceptance.viewer import known, results
from tests.integration.wado_server import converted, store_files
from tests.unit.ai.made_models import made_manifest
from tests.viewer_drawings import NEOPLASM, PERSON, REGION, Outline, bulk, part10, report, square

OTHER = "Garcia^Maria"
NUCLEI = [square(1100 + 40 * number, 900, 20) for number in range(5)]
LOOKED_AT = Rectangle(256, 256, 1792, 1792)
EVERYTHING = Choice(origins=frozenset(Origin))


@pytest.fixture
def levels(store: Store, cmu_small_region: Path) -> list[Dataset]:
    """The levels of the small slide, stored."""
    contents = converted(cmu_small_region)
    store_files(store, contents)
    slide = [pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True) for content in contents]
    return sorted((ds for ds in slide if ds.ImageType[2] == "VOLUME"), key=lambda ds: -ds.TotalPixelMatrixColumns)


def collected(
    store: Store, levels: list[Dataset], out: Path, *, choice: Choice | None = None, mpp: float = 0.5, **cutting: object
) -> Summary:
    study = str(levels[0].StudyInstanceUID)
    return collect_from_store(
        store, [study], out, mpp, choice or Choice(), Cutting(**cutting), lambda done, total, what: None
    )


def drawn(out: Path, part: str = "labels") -> list[tuple[dict[str, str], np.ndarray]]:
    rows = list(csv.DictReader((out / "index.csv").open()))
    return [(row, np.asarray(Image.open(out / part / f"{row['id']}.png"))) for row in rows]


def test_each_annotator_has_pictures_of_their_own(store: Store, levels: list[Dataset], tmp_path: Path) -> None:
    wide = square(1080, 880, 240, REGION)
    store_files(store, map(part10, [report(levels, [wide, *NUCLEI]), bulk(levels[0], NUCLEI[:2], OTHER)]))
    summary = collected(store, levels, tmp_path / "out")
    assert (summary.pictures, summary.groups, summary.slides) == (2, 1, 1)
    assert summary.annotators == {PERSON: 1, OTHER: 1}
    assert summary.classes == {"Nucleus": 7} and summary.background and not summary.left_out
    (one, first), (other, second) = drawn(tmp_path / "out")
    assert (one["group"], one["annotator"] == other["annotator"]) == (other["group"], False)
    assert (first > 0).sum() - (first == 65535).sum() == 5 * 400 and (first == 0).sum() == 240**2 - 5 * 400
    assert ((second > 0) & (second < 65535)).sum() == 2 * 400 and not (second == 0).any()
    x, y = int(one["x"]), int(one["y"])
    assert (first[900 - y : 920 - y, 1100 - x : 1120 - x] == first[900 - y, 1100 - x]).all()


def test_what_is_written_names_no_patient_and_no_annotator(store: Store, levels: list[Dataset], tmp_path: Path) -> None:
    store_files(store, [part10(report(levels, NUCLEI))])
    collected(store, levels, tmp_path / "out")
    collected(store, levels, tmp_path / "again")
    texts = [(tmp_path / "out" / name).read_text() for name in ("index.csv", "groups.csv", "classes.csv")]
    names = " ".join([*texts, *(path.name for path in (tmp_path / "out").rglob("*"))])
    secrets = [str(levels[0].StudyInstanceUID), str(levels[0].SeriesInstanceUID), "Wang", str(levels[0].PatientID)]
    assert not [each for each in secrets if each and each in names]
    assert texts[1] == (tmp_path / "again" / "groups.csv").read_text(), "one patient is one group in every folder"
    assert (store.layout.root / "training.key").stat().st_mode & 0o77 == 0


def test_the_picture_over_the_labels_is_that_of_the_slide(
    store: Store, levels: list[Dataset], cmu_small_region: Path, tmp_path: Path
) -> None:
    store_files(store, [part10(report(levels, [square(1024, 1024, 300, REGION), square(1100, 1100, 20)]))])
    collected(store, levels, tmp_path / "out", mpp=1.0)
    [(row, labels)] = drawn(tmp_path / "out")
    assert row["mpp"] == "0.998"
    assert ((labels > 0) & (labels < 65535)).sum() == 100
    [(_, picture)] = drawn(tmp_path / "out", "images")
    place, size = (2 * int(row["x"]), 2 * int(row["y"])), (2 * picture.shape[1], 2 * picture.shape[0])
    slide = np.asarray(openslide.OpenSlide(cmu_small_region).read_region(place, 0, size).convert("RGB"))
    halved = slide.reshape(picture.shape[0], 2, picture.shape[1], 2, 3).mean(axis=(1, 3))
    # Decoders differ in how they enlarge the colour planes of a JPEG; a pixel beside would differ three times as much.
    assert np.abs(picture - halved).mean() < 8 < np.abs(picture[:, 1:] - halved[:, :-1]).mean() / 2


def test_annotations_of_a_coarser_level_lie_at_the_same_place(
    store: Store, levels: list[Dataset], tmp_path: Path
) -> None:
    coarse = levels[1]
    factor = levels[0].TotalPixelMatrixColumns / coarse.TotalPixelMatrixColumns
    small = [Outline([(x / factor, y / factor) for x, y in square(1100, 900, 40).points])]
    store_files(store, [part10(bulk(coarse, small, OTHER))])
    collected(store, levels, tmp_path / "out")
    [(row, labels)] = drawn(tmp_path / "out")
    rows, columns = np.nonzero(labels != 65535)
    assert (columns.min() + int(row["x"]), rows.min() + int(row["y"])) == (1100, 900)
    assert len(rows) == pytest.approx(1600, rel=0.02)


def test_people_series_and_classes_can_be_chosen(store: Store, levels: list[Dataset], tmp_path: Path) -> None:
    tumour = square(300, 300, 200, NEOPLASM)
    one, other = report(levels, [*NUCLEI, tumour]), bulk(levels[0], NUCLEI[:2], OTHER)
    store_files(store, map(part10, [one, other]))
    summary = collected(store, levels, tmp_path / "a", choice=Choice(classes=("84640000",)))
    assert summary.classes == {"Nucleus": 7}
    assert summary.left_out == {"class that was not asked for": 1}
    summary = collected(store, levels, tmp_path / "b", choice=Choice(annotators=("garcia^maria",)))
    assert summary.annotators == {OTHER: 1}
    summary = collected(store, levels, tmp_path / "c", choice=Choice(series=frozenset([str(one.SeriesInstanceUID)])))
    assert summary.annotators == {PERSON: 2}
    assert summary.classes == {NEOPLASM.meaning: 1, "Nucleus": 5}
    with pytest.raises(BadRequest, match=r"nothing drawn is left.*not asked for"):
        collected(store, levels, tmp_path / "d", choice=Choice(annotators=("nobody",)))
    with pytest.raises(NotFound):
        collect_from_store(store, ["1.2.3"], tmp_path / "e", 0.5, Choice(), Cutting(), lambda *_: None)


@pytest.mark.parametrize("kind", list(SegmentationKind))
def test_segmentations_of_every_kind_become_labels(
    store: Store, levels: list[Dataset], tmp_path: Path, kind: SegmentationKind
) -> None:
    series = results.segmentation(source_slide(levels), kind, organisation=Organisation.AUTO)
    store_files(store, map(bytes, series.files))
    with pytest.raises(BadRequest, match="a model that nobody accepted"):
        collected(store, levels, tmp_path / "none")
    summary = collected(store, levels, tmp_path / "out", choice=EVERYTHING, mpp=2.0, side=128, is_complete=True)
    assert list(summary.classes) == ["shapes"]
    scale, seen = 2.0 / 0.499, 0
    for row, labels in drawn(tmp_path / "out"):
        x, y = np.meshgrid(np.arange(labels.shape[1]) + 0.5, np.arange(labels.shape[0]) + 0.5)
        truth = known.covered((x + int(row["x"])) * scale, (y + int(row["y"])) * scale)
        assert np.mean(truth == (labels > 0)) > 0.97
        seen += int(truth.sum())
    assert seen * scale**2 == pytest.approx(sum(width * height for _, _, width, height in known.SHAPES), rel=0.03)


def test_the_threshold_of_a_fractional_segmentation_counts(store: Store, levels: list[Dataset], tmp_path: Path) -> None:
    series = results.segmentation(source_slide(levels), SegmentationKind.FRACTIONAL)
    store_files(store, map(bytes, series.files))
    choice = Choice(origins=frozenset(Origin), threshold=0.8)
    collected(store, levels, tmp_path / "out", choice=choice, mpp=4.0, is_complete=True)
    assert len({int(row["x"]) for row, labels in drawn(tmp_path / "out") if (labels > 0).any()}) == 1
    found = sum(int((labels > 0).sum()) for _, labels in drawn(tmp_path / "out"))
    area = sum(width * height for _, _, width, height in known.L_SHAPE)
    assert found * (4.0 / 0.499) ** 2 == pytest.approx(area, rel=0.05)


def test_a_models_bulk_annotations_of_all_kinds_are_taken_when_asked_for(
    store: Store, levels: list[Dataset], tmp_path: Path
) -> None:
    store_files(store, map(bytes, results.annotations(source_slide(levels), spatial=True).files))
    choice = Choice(origins=frozenset([Origin.MODELS]), point_um=20)
    summary = collected(store, levels, tmp_path / "out", choice=choice, mpp=2.0, side=512)
    assert sum(summary.classes.values()) >= 4 + 3
    assert not summary.background


def result(levels: list[Dataset], kind: str, place: Rectangle | None, verdict: Verdict) -> list[bytes]:
    """Return what an analysis of the slide, or of a place on it, stored; and the verdict on it."""
    source = source_slide(levels)
    series = results.annotations(source) if kind == "ANN" else results.segmentation(source, SegmentationKind.BINARY)
    finest = pydicom.dcmread(io.BytesIO(series.files[0]), stop_before_pixels=True)
    reference = ResultReference(series.uid, str(finest.SOPClassUID), series.instances[0])
    area = Area("here", 1.0, place)
    manifest = made_manifest(OutputKind.INSTANCES)
    classes = [FindingClass(each.label, each.category, each.type, (0, 0, 0)) for each in manifest.classes]
    numbers = Numbers((area,), (Row(area, 0, (ReportMeasurement("count", 3),)),))
    content = report_content(manifest, classes, numbers, {kind: reference}, str(generate_uid()))
    identity = Identity(str(generate_uid()), 941, "report", str(generate_uid()), 1)
    first = report_dataset(source, content, identity, results.provenance())
    opinion = Judgement(verdict, PERSON, "Hospital", datetime.now(UTC))
    second = judged(first, opinion, results.provenance().equipment)
    return [*map(bytes, series.files), report_file(first), report_file(second)]


@pytest.mark.parametrize(("kind", "label"), [("ANN", "polygons"), ("SEG", "shapes")])
@pytest.mark.parametrize("place", [None, LOOKED_AT], ids=["slide", "region"])
def test_an_accepted_result_is_what_is_known_where_the_model_looked(
    store: Store, levels: list[Dataset], tmp_path: Path, kind: str, label: str, place: Rectangle | None
) -> None:
    store_files(store, result(levels, kind, place, Verdict.ACCEPTED))
    choice = Choice(origins=frozenset([Origin.ACCEPTED]), point_um=None)
    summary = collected(store, levels, tmp_path / "out", choice=choice, mpp=2.0, side=128)
    assert list(summary.annotators) == ["model (accepted)"]
    assert summary.classes[label] >= 2 and summary.background
    assert (summary.known < 1) is (place is not None)
    for row, labels in drawn(tmp_path / "out"):
        # A pixel is four of the slide's across.
        x = (np.arange(labels.shape[1]) + 0.5 + int(row["x"])) * 4
        y = (np.arange(labels.shape[0]) + 0.5 + int(row["y"])) * 4
        where = place or Rectangle(0, 0, 2220, 2967)
        down, across = np.minimum(y - where.y, where.bottom - y), np.minimum(x - where.x, where.right - x)
        depth = np.minimum.outer(down, across)
        assert not (labels[depth > 4] == 65535).any() and not (labels[depth < -4] == 0).any()


@pytest.mark.parametrize("kind", ["ANN", "SEG"])
def test_a_rejected_result_is_left_out_whatever_is_asked_for(
    store: Store, levels: list[Dataset], tmp_path: Path, kind: str
) -> None:
    store_files(store, [*result(levels, kind, LOOKED_AT, Verdict.REJECTED), part10(report(levels, NUCLEI[:1]))])
    summary = collected(store, levels, tmp_path / "out", choice=EVERYTHING)
    assert summary.classes == {"Nucleus": 1}
    assert summary.left_out == {"report that a person rejected": 1, "result that a person rejected": 1}


def test_objects_of_rubbish_are_left_out_with_a_reason(store: Store, levels: list[Dataset], tmp_path: Path) -> None:
    broken = report(levels, NUCLEI)
    for item in broken.ContentSequence:
        item.pop("ValueType", None)
    bad = bulk(levels[0], NUCLEI, OTHER)
    bad.AnnotationGroupSequence[0].GraphicType = "CIRCLE"
    store_files(store, map(part10, [broken, bad, report(levels, NUCLEI[:1])]))
    summary = collected(store, levels, tmp_path / "out")
    assert summary.classes == {"Nucleus": 1}
    assert sum(summary.left_out.values()) == 2
