"""Segmentations: the same pixels and places as highdicom's, on the slide's own levels; nothing wrong is written."""

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import JPEGLSLossless

from dicomsvc.dicom.part10 import parse_instance
from dicomsvc.errors import InvalidInstance, ModelFailure, OutOfResources, TooLarge
from dicomsvc.objects.common import NOT_VERIFIED
from dicomsvc.objects.provenance import FindingClass
from dicomsvc.objects.segmentation import (
    Organisation,
    SegmentationKind,
    SegmentationOptions,
    write_segmentation,
    write_segmentation_pyramid,
)
from dicomsvc.objects.source import SourceSlide
from tests.unit.objects.pyramid_slide import SIZES, Files, datasets, slide
from tests.unit.objects.result_slide import NEOPLASM, NUCLEUS, WEIGHTS, identity, provenance

TILE = 64
CLASSES = (NUCLEUS, NEOPLASM)
BINARY, FRACTIONAL, LABELMAP = SegmentationKind.BINARY, SegmentationKind.FRACTIONAL, SegmentationKind.LABELMAP
FULL, SPARSE, AUTO = Organisation.FULL, Organisation.SPARSE, Organisation.AUTO


def masks(count: int = 2, seed: int = 3) -> npt.NDArray[np.bool_]:
    """Return blobs in the upper left part, ``(classes, rows, columns)``; later classes leave earlier ones alone."""
    rows, columns = SIZES[0]
    y, x = np.mgrid[:rows, :columns]
    noise = np.random.default_rng(seed).random((rows, columns)) < 0.02
    disc = (x - 70) ** 2 + (y - 60) ** 2 < 50**2
    stripes = ((x // 9 + y // 7) % 3 == 0) & (x < 190) & (y < 128) & ~disc
    return np.stack([disc | (noise & disc), stripes])[:count]


def strips_of(values: npt.NDArray[np.generic], tile: int = TILE):  # type: ignore[no-untyped-def]
    return lambda row: values[:, row * tile : (row + 1) * tile]


def options(kind: SegmentationKind = BINARY, organisation: Organisation = FULL, **more: object) -> SegmentationOptions:
    return SegmentationOptions(kind, organisation, tile_size=TILE, **more)  # type: ignore[arg-type]


def write(
    folder: Path,
    values: npt.NDArray[np.generic],
    chosen: SegmentationOptions,
    source: SourceSlide | None = None,
    first: int = 0,
) -> list[Path]:
    source = source or slide()
    with Files(folder, source, first) as files:
        classes = CLASSES[: len(values)]
        write_segmentation_pyramid(files.targets, source, classes, strips_of(values), provenance(), chosen)
    return files.paths


def matrix(path: Path) -> npt.NDArray[np.generic]:
    """Return what highdicom reads, ``(classes, rows, columns)``, or ``(rows, columns)`` of a label map."""
    read = hd.seg.segread(path)
    if read.segmentation_type.value == "LABELMAP":
        return read.get_total_pixel_matrix(combine_segments=True)
    return np.moveaxis(read.get_total_pixel_matrix(combine_segments=False, rescale_fractional=False), 2, 0)


def reference(values: npt.NDArray[np.generic], kind: str, organisation: str) -> hd.seg.Segmentation:
    """Return highdicom's own segmentation of the finest level."""
    algorithm = hd.AlgorithmIdentificationSequence("nuclei", codes.DCM.ArtificialIntelligence, "1.2.0")
    descriptions = [
        hd.seg.SegmentDescription(
            number, each.label, each.category, each.type, hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC, algorithm
        )
        for number, each in enumerate(CLASSES[: len(values)], 1)
    ]
    return hd.seg.Segmentation(
        [datasets()[0]],
        np.moveaxis(values, 0, 2)[np.newaxis],
        kind,
        descriptions,
        hd.UID(),
        7,
        hd.UID(),
        1,
        "M",
        "M",
        "1",
        "1",
        tile_pixel_array=True,
        tile_size=(TILE, TILE),
        dimension_organization_type=organisation,
        omit_empty_frames=organisation == "TILED_SPARSE",
    )


def tiles_of(values: npt.NDArray[np.generic]) -> Iterator[npt.NDArray[np.generic]]:
    """Cut into padded tiles in the order of PS3.3 C.7.6.17.3."""
    for channel in values:
        for top in range(0, channel.shape[0], TILE):
            for left in range(0, channel.shape[1], TILE):
                part = channel[top : top + TILE, left : left + TILE]
                yield np.pad(part, ((0, TILE - part.shape[0]), (0, TILE - part.shape[1])))


def test_binary_frames_are_bit_for_bit_those_of_highdicom(tmp_path: Path) -> None:
    ours = pydicom.dcmread(write(tmp_path, masks(), options())[0])
    theirs = reference(masks(), "BINARY", "TILED_FULL")
    assert ours.PixelData == theirs.PixelData
    for keyword in (
        "Rows Columns NumberOfFrames BitsAllocated BitsStored HighBit PixelRepresentation SamplesPerPixel "
        "PhotometricInterpretation SegmentationType DimensionOrganizationType TotalPixelMatrixRows "
        "TotalPixelMatrixColumns TotalPixelMatrixOriginSequence ImageOrientationSlide ImageType SOPClassUID "
        "LossyImageCompression Modality PositionReferenceIndicator TotalPixelMatrixFocalPlanes ContainerIdentifier"
    ).split():
        if keyword == "TotalPixelMatrixOriginSequence":
            assert ours[keyword].value[0].XOffsetInSlideCoordinateSystem == 20
            assert theirs[keyword].value[0].XOffsetInSlideCoordinateSystem == 20
        else:
            assert ours[keyword].value == theirs[keyword].value, keyword
    measures = [ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0] for ds in (ours, theirs)]
    assert measures[0].PixelSpacing == measures[1].PixelSpacing
    assert measures[0].SliceThickness == measures[1].SliceThickness


@pytest.mark.parametrize("organisation", [FULL, SPARSE, AUTO])
@pytest.mark.parametrize("count", [1, 2])
def test_highdicom_reads_binary_masks_as_they_were(count: int, organisation: Organisation, tmp_path: Path) -> None:
    path = write(tmp_path, masks(count), options(organisation=organisation))[0]
    assert np.array_equal(matrix(path), masks(count))


def test_sparse_frames_lie_where_highdicom_puts_them(tmp_path: Path) -> None:
    ours = pydicom.dcmread(write(tmp_path, masks(), options(organisation=SPARSE))[0])
    theirs = reference(masks(), "BINARY", "TILED_SPARSE")
    assert ours.NumberOfFrames == theirs.NumberOfFrames < 40
    assert ours.PixelData == theirs.PixelData
    pointers = [[item.DimensionIndexPointer for item in ds.DimensionIndexSequence] for ds in (ours, theirs)]
    assert pointers[0] == pointers[1]
    for mine, its in zip(ours.PerFrameFunctionalGroupsSequence, theirs.PerFrameFunctionalGroupsSequence, strict=True):
        assert mine.FrameContentSequence[0].DimensionIndexValues == its.FrameContentSequence[0].DimensionIndexValues
        segments = [each.SegmentIdentificationSequence[0].ReferencedSegmentNumber for each in (mine, its)]
        assert segments[0] == segments[1]
        position, expected = mine.PlanePositionSlideSequence[0], its.PlanePositionSlideSequence[0]
        for keyword in ("ColumnPositionInTotalImagePixelMatrix", "RowPositionInTotalImagePixelMatrix"):
            assert position[keyword].value == expected[keyword].value
        for keyword in ("XOffsetInSlideCoordinateSystem", "YOffsetInSlideCoordinateSystem"):
            assert float(position[keyword].value) == pytest.approx(float(expected[keyword].value), abs=1e-9)


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("count", [1, 2])
def test_probabilities_are_kept_in_255_steps(count: int, compress: bool, tmp_path: Path) -> None:
    values = (masks(count) * np.random.default_rng(5).random((count, *SIZES[0]))).astype(np.float32)
    paths = write(tmp_path, values, options(FRACTIONAL, AUTO, compress=compress))
    assert np.array_equal(matrix(paths[0]), np.rint(values * np.float32(255)))
    ds = pydicom.dcmread(paths[0])
    assert (ds.SegmentationFractionalType, ds.MaximumFractionalValue) == ("PROBABILITY", 255)
    assert (ds.file_meta.TransferSyntaxUID == JPEGLSLossless) is compress
    # Several segments in TILED_FULL are drawn blank by viewers.
    assert ds.DimensionOrganizationType == ("TILED_FULL" if count == 1 else "TILED_SPARSE")


@pytest.mark.parametrize("organisation", [FULL, SPARSE])
def test_label_maps_number_the_classes(organisation: Organisation, tmp_path: Path) -> None:
    path = write(tmp_path, masks(), options(LABELMAP, organisation))[0]
    first, second = masks()
    assert np.array_equal(matrix(path), np.where(first, 1, np.where(second, 2, 0)))
    ds = pydicom.dcmread(path)
    assert ds.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.7"
    assert [item.SegmentNumber for item in ds.SegmentSequence] == [0, 1, 2]
    assert (ds.SegmentsOverlap, ds.PixelPaddingValue) == ("NO", 0)


def test_every_level_lies_on_the_slides_level(tmp_path: Path) -> None:
    source = slide()
    paths = write(tmp_path, masks(), options(organisation=AUTO), source)
    read = [pydicom.dcmread(path) for path in paths]
    for ds, level in zip(read, source.levels, strict=True):
        assert (ds.TotalPixelMatrixRows, ds.TotalPixelMatrixColumns) == (level.rows, level.columns)
        assert (
            tuple(ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing) == level.pixel_spacing_mm
        )
        assert ds.SourceImageSequence[0].ReferencedSOPInstanceUID == level.sop_instance_uid
        assert "ImagedVolumeWidth" not in ds
    for keyword in (
        "SeriesInstanceUID",
        "PyramidUID",
        "FrameOfReferenceUID",
        "ContainerIdentifier",
        "StudyInstanceUID",
    ):
        assert len({ds[keyword].value for ds in read}) == 1
    assert len({tuple(item.TrackingUID for item in ds.SegmentSequence) for ds in read}) == 1
    assert len({ds.SOPInstanceUID for ds in read}) == len(read)


def test_a_pyramid_may_begin_at_a_coarser_level(tmp_path: Path) -> None:
    coarse = masks()[:, ::2, ::2]
    paths = write(tmp_path, coarse, options(), first=1)
    assert np.array_equal(matrix(paths[0]), coarse)
    assert matrix(paths[1]).shape == (2, *SIZES[2])


def test_a_coarser_pixel_belongs_to_the_class_that_has_half_of_its_area(tmp_path: Path) -> None:
    values = masks()
    padded = np.pad(values, ((0, 0), (0, 2), (0, 0)), mode="edge")[:, :210]
    shares = padded.reshape(2, 105, 2, 150, 2).mean(axis=(2, 4))
    paths = write(tmp_path, values, options())
    assert np.array_equal(matrix(paths[1]), shares >= 0.5)
    assert np.array_equal(matrix(write(tmp_path, values, options(LABELMAP))[1]) == 1, shares[0] >= 0.5)
    # The third level is made of shares, not of the second level's yes and no.
    quarter = np.pad(values, ((0, 0), (0, 2), (0, 0)), mode="edge").reshape(2, 53, 4, 75, 4).mean(axis=(2, 4))
    differing = matrix(write(tmp_path, values, options())[2]) != (quarter >= 0.5)
    assert not differing[np.abs(quarter - 0.5) > 0.01].any()


def test_an_iterator_of_tiles_makes_the_same_file_as_rows(tmp_path: Path) -> None:
    source, path = slide(), tmp_path / "one.dcm"
    name, made = identity(), provenance()
    for kind, organisation, values in (
        (BINARY, FULL, masks()),
        (FRACTIONAL, SPARSE, masks()),
        (BINARY, AUTO, masks(1)),
    ):
        with path.open("wb") as file:
            frames = tiles_of(values)
            classes = CLASSES[: len(values)]
            write_segmentation(file.write, source, 0, classes, frames, name, made, options(kind, organisation))
        expected = pydicom.dcmread(write(tmp_path, values, options(kind, organisation))[0])
        assert pydicom.dcmread(path).PixelData == expected.PixelData


def test_what_lies_beyond_the_slides_edge_is_cleared(tmp_path: Path) -> None:
    path = tmp_path / "one.dcm"
    whole = (np.ones((TILE, TILE), bool) for _ in range(20))
    with path.open("wb") as file:
        write_segmentation(file.write, slide(), 0, [NUCLEUS], whole, identity(), provenance(), options())
    frame = hd.seg.segread(path).get_stored_frame(20)
    assert frame[: 210 - 192, : 300 - 256].all()
    assert frame.sum() == 18 * 44


@pytest.mark.parametrize(("count", "words"), [(19, "fewer"), (21, "more")])
def test_a_wrong_number_of_tiles_is_the_models_failure(count: int, words: str) -> None:
    frames = (np.zeros((TILE, TILE), bool) for _ in range(count))
    with pytest.raises(ModelFailure, match=words):
        write_segmentation(bytearray().extend, slide(), 0, [NUCLEUS], frames, identity(), provenance(), options())


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.zeros((1, 210, 301), bool), BINARY),
        (np.zeros((2, 210, 300), bool), BINARY),
        (np.full((1, 210, 300), np.nan, np.float32), FRACTIONAL),
        (np.full((1, 210, 300), 1.5, np.float32), FRACTIONAL),
        (np.full((1, 210, 300), 300, np.int32), FRACTIONAL),
    ],
)
def test_wrong_shapes_and_values_are_the_models_failure(
    values: npt.NDArray[np.generic], kind: SegmentationKind, tmp_path: Path
) -> None:
    source = slide()
    with Files(tmp_path, source) as files, pytest.raises(ModelFailure):
        write_segmentation_pyramid(files.targets, source, [NUCLEUS], strips_of(values), provenance(), options(kind))


def test_tiles_of_another_size_are_the_models_failure() -> None:
    frames = (np.zeros((TILE, TILE - 1), bool) for _ in range(20))
    with pytest.raises(ModelFailure, match="64 x 64"):
        write_segmentation(bytearray().extend, slide(), 0, [NUCLEUS], frames, identity(), provenance(), options())


@pytest.mark.parametrize("organisation", [FULL, SPARSE, AUTO])
@pytest.mark.parametrize("kind", list(SegmentationKind))
def test_an_empty_slide_makes_valid_objects(kind: SegmentationKind, organisation: Organisation, tmp_path: Path) -> None:
    source = slide()
    with Files(tmp_path, source) as files:
        write_segmentation_pyramid(
            files.targets, source, CLASSES, lambda row: None, provenance(), options(kind, organisation)
        )
    for path in files.paths:
        assert parse_instance(path).warnings == ()
        assert not matrix(path).any()


def large_slide(side: int = 20480) -> SourceSlide:
    return slide(((side, side), (side // 4, side // 4)))


def test_a_large_slide_with_little_on_it_takes_little_space(tmp_path: Path) -> None:
    source = large_slide()
    blob = np.zeros((1, 256, 20480), bool)
    blob[:, 100:200, 5000:5100] = True
    with Files(tmp_path, source) as files:
        write_segmentation_pyramid(
            files.targets, source, [NUCLEUS], lambda row: blob if row == 40 else None, provenance()
        )
    assert files.paths[0].stat().st_size < 100_000
    read = files.read()
    assert [ds.DimensionOrganizationType for ds in read] == ["TILED_SPARSE", "TILED_FULL"]
    position = read[0].PerFrameFunctionalGroupsSequence[0].PlanePositionSlideSequence[0]
    assert position.RowPositionInTotalImagePixelMatrix == 40 * 256 + 1
    assert position.ColumnPositionInTotalImagePixelMatrix == 19 * 256 + 1
    assert int(np.unpackbits(np.frombuffer(read[0].PixelData, np.uint8)).sum()) == 100 * 100


def test_memory_holds_a_few_rows_of_tiles_and_no_slide() -> None:
    source = large_slide()
    strip = np.random.default_rng(1).random((1, 256, 20480)) < 0.3
    sizes = [0, 0]

    def counting(level: int, data: bytes | memoryview) -> None:
        sizes[level] += len(data)

    targets = [
        replace(target, write=lambda data, n=n: counting(n, data)) for n, target in enumerate(targets_of(source))
    ]
    tracemalloc.start()
    try:
        write_segmentation_pyramid(
            targets, source, [NUCLEUS], lambda row: strip, provenance(), SegmentationOptions(organisation=FULL)
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sizes[0] > 20480 * 20480 // 8
    assert peak < 8 * strip.nbytes


def targets_of(source: SourceSlide):  # type: ignore[no-untyped-def]
    from dicomsvc.objects.levels import Target

    return [Target(bytearray().extend, level, identity()) for level in range(len(source.levels))]


def test_more_than_four_gigabytes_are_refused_before_anything_is_written() -> None:
    source, out = slide(((200_000, 200_000),)), bytearray()
    targets = [replace(target, write=out.extend) for target in targets_of(source)]
    with pytest.raises(TooLarge, match="4 GB"):
        write_segmentation_pyramid(
            targets, source, [NUCLEUS], lambda row: None, provenance(), SegmentationOptions(organisation=FULL)
        )
    assert not out


def test_frames_that_cannot_be_kept_are_out_of_resources(tmp_path: Path) -> None:
    with pytest.raises(OutOfResources):
        write(tmp_path, masks(), options(organisation=SPARSE, scratch=tmp_path / "missing"))


@pytest.mark.parametrize(
    ("found", "keyword"),
    [
        (replace(NUCLEUS, label="n" * 65), "SegmentLabel"),
        (replace(NUCLEUS, label="a\\b"), "SegmentLabel"),
    ],
)
def test_a_label_that_cannot_be_written_is_named_not_written(found: FindingClass, keyword: str) -> None:
    out = bytearray()
    with pytest.raises(InvalidInstance, match=keyword):
        write_segmentation(out.extend, slide(), 0, [found], tiles_of(masks(1)), identity(), provenance(), options())
    assert not out


def test_no_classes_make_no_segmentation() -> None:
    with pytest.raises(InvalidInstance):
        write_segmentation(bytearray().extend, slide(), 0, [], [], identity(), provenance(), options())


@pytest.mark.parametrize("size", [0, 12, 100, 65536])
def test_tiles_have_whole_bytes_in_a_row(size: int) -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        SegmentationOptions(tile_size=size)


def test_a_segment_tells_who_made_it_and_that_nobody_verified_it(tmp_path: Path) -> None:
    ds: Dataset = pydicom.dcmread(write(tmp_path, masks(), options(overlap=True))[0])
    segment = ds.SegmentSequence[0]
    algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("nuclei", "1.2.0")
    assert WEIGHTS in algorithm.AlgorithmParameters
    assert "threshold=0.5" in algorithm.AlgorithmParameters
    assert segment.SegmentDescription == ds.ContentDescription == NOT_VERIFIED
    assert ds.SegmentsOverlap == "YES"
    assert ds.PatientName == "Wang^XiaoDong=王^小东"
    shared = ds.SharedFunctionalGroupsSequence[0]
    assert shared.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
