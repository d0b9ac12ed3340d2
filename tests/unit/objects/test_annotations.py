"""Bulk annotations: what is written is what highdicom writes and reads; what is wrong is refused."""

import contextlib
import io
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from dicomsvc.errors import InvalidInstance, NotFound, NotParseable, UnsupportedInstance
from dicomsvc.objects.annotations import (
    AnnotationGroup,
    Generation,
    GraphicType,
    in_slide_pixels,
    read_annotations,
    write_annotations,
)
from dicomsvc.objects.codes import measure
from dicomsvc.objects.common import NOT_VERIFIED
from dicomsvc.objects.source import SourceSlide
from tests.unit.objects.result_slide import NEOPLASM, NUCLEUS, WEIGHTS, identity, provenance, slide, value_of

LENGTHS = {
    GraphicType.POINT: [1, 1, 1],
    GraphicType.POLYLINE: [2, 5, 3],
    GraphicType.POLYGON: [3, 12, 7],
    GraphicType.ELLIPSE: [4, 4, 4],
    GraphicType.RECTANGLE: [4, 4, 4],
}


def group(graphic_type: GraphicType = GraphicType.POLYGON, dimensions: int = 2, kind: str = "f4") -> AnnotationGroup:
    lengths = LENGTHS[graphic_type]
    points = np.random.default_rng(5).uniform(0, 60, (sum(lengths), dimensions)).astype(kind)
    measurements = {
        "area_um2": np.array([1.5, 2.5, 3.5], np.float32),
        "mean_eosin_od": np.array([0.25, np.nan, 0.75], np.float32),
    }
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return AnnotationGroup(NUCLEUS, graphic_type, points, offsets, measurements, uid=generate_uid())


def written(*groups: AnnotationGroup, source: SourceSlide | None = None) -> Dataset:
    stream = io.BytesIO()
    write_annotations(stream.write, source or slide(), groups, identity(), provenance())
    stream.seek(0)
    return dcmread(stream)


def by_highdicom(one: AnnotationGroup, source: SourceSlide) -> Dataset:
    """Return what highdicom makes of the same group."""
    algorithm = provenance().algorithm
    item = hd.ann.AnnotationGroup(
        number=1,
        uid=one.uid,
        label=one.finding.label,
        annotated_property_category=one.finding.category,
        annotated_property_type=one.finding.type,
        graphic_type=one.graphic_type.value,
        graphic_data=[one.graphic(number) for number in range(len(one))],
        algorithm_type="AUTOMATIC",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            algorithm.name, algorithm.family, algorithm.version, algorithm.source, dict(algorithm.parameters)
        ),
        measurements=[
            hd.ann.Measurements(measure(name).concept, values, measure(name).unit)
            for name, values in one.measurements.items()
        ],
        display_color=hd.color.CIELabColor.from_rgb(*one.finding.colour),
    )
    made = hd.ann.MicroscopyBulkSimpleAnnotations(
        source_images=[source.dataset],
        annotation_coordinate_type="2D" if one.points.shape[1] == 2 else "3D",
        annotation_groups=[item],
        series_instance_uid=generate_uid(),
        series_number=7,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="dicomsvc",
        manufacturer_model_name="dicomsvc",
        software_versions="1",
        device_serial_number="1",
    )
    stream = io.BytesIO()
    made.save_as(stream)
    stream.seek(0)
    return dcmread(stream)


@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("graphic_type", list(GraphicType))
def test_payload_is_that_of_highdicom_byte_for_byte(graphic_type: GraphicType, dimensions: int, kind: str) -> None:
    source = slide()
    one = group(graphic_type, dimensions, kind)
    if dimensions == 3 and graphic_type is GraphicType.POLYGON:
        one.points[:, 2] = 0.25
    ours, theirs = (ds.AnnotationGroupSequence[0] for ds in (written(one, source=source), by_highdicom(one, source)))
    for keyword in (
        "PointCoordinatesData",
        "DoublePointCoordinatesData",
        "LongPrimitivePointIndexList",
        "CommonZCoordinateValue",
        "GraphicType",
        "NumberOfAnnotations",
        "AnnotationGroupUID",
        "AnnotationGroupLabel",
        "AnnotationGroupGenerationType",
        "AnnotationPropertyTypeCodeSequence",
        "AnnotationPropertyCategoryCodeSequence",
        "MeasurementsSequence",
    ):
        assert ours.get(keyword) == theirs.get(keyword), keyword


def test_references_and_coordinate_type_are_those_of_highdicom() -> None:
    source = slide()
    one = group()
    ours, theirs = written(one, source=source), by_highdicom(one, source)
    for keyword in (
        "SOPClassUID",
        "Modality",
        "StudyInstanceUID",
        "PatientName",
        "AnnotationCoordinateType",
        "PixelOriginInterpretation",
        "ReferencedImageSequence",
        "ReferencedSeriesSequence",
        "ContainerIdentifier",
    ):
        assert ours[keyword].value == theirs[keyword].value, keyword


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("graphic_type", list(GraphicType))
def test_highdicom_reads_what_is_written(graphic_type: GraphicType, dimensions: int, tmp_path: Path) -> None:
    one = group(graphic_type, dimensions)
    path = tmp_path / "ann.dcm"
    with path.open("wb") as stream:
        write_annotations(stream.write, slide(), [one], identity(), provenance())
    read = hd.ann.annread(path)
    found = read.get_annotation_group(number=1)
    graphics = found.get_graphic_data(read.AnnotationCoordinateType)
    assert all(np.array_equal(graphics[number], one.graphic(number)) for number in range(len(one)))
    names, values, units = found.get_measurements()
    assert [name.meaning for name in names] == ["Area", "Mean Optical Density of Eosin"]
    assert [unit.value for unit in units] == ["um2", "1"]
    assert np.array_equal(values[:, 1], one.measurements["mean_eosin_od"], equal_nan=True)
    assert found.algorithm_identification.name == "nuclei"


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("graphic_type", list(GraphicType))
def test_reading_gives_back_what_was_written(graphic_type: GraphicType, dimensions: int) -> None:
    one = group(graphic_type, dimensions)
    (read,) = read_annotations(written(one))
    assert read.finding == one.finding
    assert (read.graphic_type, read.uid, read.label) == (graphic_type, one.uid, "nucleus")
    assert np.array_equal(read.points, one.points)
    assert np.array_equal(read.offsets, one.offsets)
    assert list(read.measurements) == list(one.measurements)
    assert np.array_equal(read.measurements["mean_eosin_od"], one.measurements["mean_eosin_od"], equal_nan=True)


@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_foreign_objects_are_read(dimensions: int, kind: str) -> None:
    one = group(GraphicType.POLYGON, dimensions, kind)
    (read,) = read_annotations(by_highdicom(one, slide()))
    assert read.points.dtype == one.points.dtype
    assert np.array_equal(read.points, one.points)
    assert np.array_equal(read.offsets, one.offsets)
    assert read.units["area_um2"] == "um2"


def test_millimetres_go_back_to_pixels() -> None:
    source = slide()
    one = group(kind="f8")
    millimetres = np.column_stack([source.to_slide_mm(one.points), np.zeros(len(one.points))])
    (read,) = read_annotations(written(replace(one, points=millimetres), source=source))
    assert in_slide_pixels(read, source).points == pytest.approx(one.points, abs=1e-6)
    assert in_slide_pixels(one, source) is one


def test_coordinates_and_measurements_go_out_without_a_copy() -> None:
    one = group()
    pieces: list[bytes | memoryview] = []
    write_annotations(pieces.append, slide(), [one], identity(), provenance())
    views = [np.frombuffer(piece, np.uint8) for piece in pieces if isinstance(piece, memoryview)]
    for array in (one.points, one.measurements["area_um2"]):
        assert any(np.shares_memory(view, array) and view.nbytes == array.nbytes for view in views)


def test_the_same_result_is_the_same_bytes_again() -> None:
    who, source, made, one = identity(), slide(), provenance(), replace(group(), uid="")
    streams = [io.BytesIO(), io.BytesIO()]
    for stream in streams:
        write_annotations(stream.write, source, [one], who, made)
    assert streams[0].getvalue() == streams[1].getvalue()


@given(st.lists(st.integers(3, 9), min_size=1, max_size=20), st.integers(0, 2**32 - 1))
@hypothesis_settings(max_examples=30, deadline=None)
def test_any_polygons_come_back_the_same(lengths: list[int], seed: int) -> None:
    points = np.random.default_rng(seed).uniform(0, 100_000, (sum(lengths), 2)).astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    (read,) = read_annotations(written(AnnotationGroup(NUCLEUS, GraphicType.POLYGON, points, offsets)))
    assert np.array_equal(read.points, points)
    assert np.array_equal(read.offsets, offsets)


def test_object_says_which_model_made_it_and_that_nobody_has_verified_it() -> None:
    ds = written(group())
    item = ds.AnnotationGroupSequence[0]
    algorithm = item.AnnotationGroupAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("nuclei", "1.2.0")
    assert f"weights_sha256={WEIGHTS}" in algorithm.AlgorithmParameters
    assert "threshold=0.5" in algorithm.AlgorithmParameters
    assert item.AnnotationGroupDescription == NOT_VERIFIED
    assert ds.ContentDescription == NOT_VERIFIED


def test_people_s_drawings_name_no_algorithm() -> None:
    item = written(replace(group(), generation=Generation.MANUAL)).AnnotationGroupSequence[0]
    assert item.AnnotationGroupGenerationType == "MANUAL"
    assert "AnnotationGroupAlgorithmIdentificationSequence" not in item
    assert "AnnotationGroupDescription" not in item


def test_groups_without_annotations_are_left_out_and_the_others_numbered_on() -> None:
    empty = AnnotationGroup.of_points(NEOPLASM, np.empty((0, 2), np.float32))
    ds = written(empty, group(), empty, replace(group(), finding=NEOPLASM))
    assert [item.AnnotationGroupNumber for item in ds.AnnotationGroupSequence] == [1, 2]
    assert [item.AnnotationGroupLabel for item in ds.AnnotationGroupSequence] == ["nucleus", "neoplasm"]


@pytest.mark.parametrize("groups", [[], [AnnotationGroup.of_points(NUCLEUS, np.empty((0, 2), np.float32))]])
def test_no_annotation_at_all_is_refused_before_a_byte_is_written(groups: list[AnnotationGroup]) -> None:
    stream = io.BytesIO()
    with pytest.raises(InvalidInstance, match="at least one"):
        write_annotations(stream.write, slide(), groups, identity(), provenance())
    assert stream.getvalue() == b""


def test_group_uids_do_not_change_when_a_job_is_repeated() -> None:
    who, source, one = identity(), slide(), replace(group(), uid="")
    uids = []
    for _ in range(2):
        stream = io.BytesIO()
        write_annotations(stream.write, source, [one, one], who, provenance())
        stream.seek(0)
        uids.append([item.AnnotationGroupUID for item in dcmread(stream).AnnotationGroupSequence])
    assert uids[0] == uids[1]
    assert len(set(uids[0])) == 2


def test_measurements_that_nothing_has_are_left_out() -> None:
    nothing = np.full(3, np.nan, np.float32)
    both = replace(group(), measurements={"area_um2": nothing, "probability": np.ones(3, np.float32)})
    (item,) = written(both).AnnotationGroupSequence
    assert [value_of(entry.ConceptNameCodeSequence) for entry in item.MeasurementsSequence] == ["122157"]
    (without,) = written(replace(both, measurements={"area_um2": nothing})).AnnotationGroupSequence
    assert "MeasurementsSequence" not in without


def changed(**changes: object) -> AnnotationGroup:
    return replace(group(), **changes)  # type: ignore[arg-type]


def with_point(value: float) -> AnnotationGroup:
    one = group()
    one.points[4, 1] = value
    return one


def closed() -> AnnotationGroup:
    one = group()
    one.points[one.offsets[1] - 1] = one.points[0]
    return one


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (with_point(np.nan), "not a finite number"),
        (with_point(np.inf), "not a finite number"),
        (closed(), "repeats the first"),
        (changed(graphic_type=GraphicType.ELLIPSE), "has not 4 points"),
        (changed(offsets=np.array([0, 2, 22])), "fewer than 3"),
        (changed(offsets=np.array([0, 3, 21])), "offsets"),
        (changed(points=np.zeros((22, 4), np.float32)), "two or three"),
        (changed(points=np.zeros((22, 2), np.int32)), "floating point"),
        (changed(measurements={"area_um2": np.ones(2, np.float32)}), "values of area_um2"),
        (changed(measurements={"Area (um2)": np.ones(3, np.float32)}), "lower case letters"),
        (changed(label="one\\two"), "label"),
        (changed(label="line\nbreak"), "label"),
        (changed(finding=replace(NUCLEUS, label="")), "label"),
        (changed(measurements={"area_um2": np.array([1, 2, np.inf], np.float32)}), "infinite"),
    ],
)
def test_what_the_standard_does_not_allow_is_not_written(wrong: AnnotationGroup, message: str) -> None:
    stream = io.BytesIO()
    with pytest.raises(InvalidInstance, match=message):
        write_annotations(stream.write, slide(), [wrong], identity(), provenance())
    assert stream.getvalue() == b""


def test_pixels_and_millimetres_do_not_go_into_one_object() -> None:
    with pytest.raises(InvalidInstance, match="one kind"):
        written(group(), group(dimensions=3))


@pytest.mark.parametrize(
    "damage",
    [
        {"PointCoordinatesData": b"\0" * 12},
        {"PointCoordinatesData": b"\0" * 13},
        {"PointCoordinatesData": None},
        {"LongPrimitivePointIndexList": np.array([1, 7, 9999], "<u4").tobytes()},
        {"LongPrimitivePointIndexList": np.array([1, 7, 7], "<u4").tobytes()},
        {"LongPrimitivePointIndexList": np.array([1, 8, 31], "<u4").tobytes()},
        {"LongPrimitivePointIndexList": np.array([3, 7, 31], "<u4").tobytes()},
        {"NumberOfAnnotations": 4_000_000_000},
        {"GraphicType": "CLOUD"},
    ],
)
def test_arrays_that_contradict_each_other_are_refused(damage: dict[str, object]) -> None:
    ds = written(group())
    for keyword, value in damage.items():
        setattr(ds.AnnotationGroupSequence[0], keyword, value)
    with pytest.raises(InvalidInstance, match="annotation group 1"):
        read_annotations(ds)


@pytest.mark.parametrize("rows", [[0, 1], [1, 4], [1, 2, 3]])
def test_measurements_of_annotations_that_are_not_there_are_refused(rows: list[int]) -> None:
    ds = written(group())
    entry = ds.AnnotationGroupSequence[0].MeasurementsSequence[1].MeasurementValuesSequence[0]
    entry.AnnotationIndexList = np.array(rows, "<u4").tobytes()
    with pytest.raises(InvalidInstance, match="mean_eosin_od"):
        read_annotations(ds)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"no DICOM" * 100)
    with pytest.raises(NotParseable):
        read_annotations(tmp_path / "text")
    with pytest.raises(UnsupportedInstance):
        read_annotations(slide().dataset)
    with pytest.raises(NotFound):
        read_annotations(tmp_path / "nowhere")


def test_deflated_files_are_refused_unread(tmp_path: Path) -> None:
    ds = written(group())
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    ds.save_as(tmp_path / "deflated.dcm")
    with pytest.raises(UnsupportedInstance, match="transfer syntax"):
        read_annotations(tmp_path / "deflated.dcm")


@pytest.fixture(scope="module")
def content() -> bytes:
    """One object as a file."""
    stream = io.BytesIO()
    write_annotations(stream.write, slide(), [group()], identity(), provenance())
    return stream.getvalue()


@pytest.mark.parametrize("seed", range(80))
def test_cut_and_changed_bytes_never_raise_anything_but_our_errors(seed: int, content: bytes, tmp_path: Path) -> None:
    random = np.random.default_rng(seed)
    damaged = np.frombuffer(content, np.uint8).copy()
    places = random.integers(300, len(damaged), random.integers(1, 7))
    damaged[places] = random.integers(0, 256, len(places))
    cut = len(damaged) if seed % 2 else int(random.integers(200, len(damaged)))
    (tmp_path / "damaged.dcm").write_bytes(damaged[:cut].tobytes())
    with contextlib.suppress(InvalidInstance, NotParseable, UnsupportedInstance):
        assert len(read_annotations(tmp_path / "damaged.dcm")) <= 1
