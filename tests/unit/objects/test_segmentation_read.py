"""Segmentations read back: pixels, places and words; broken files are refused, whatever is broken."""

from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dicomsvc.errors import DicomsvcError, InvalidInstance, NotFound, NotParseable, TooLarge, UnsupportedInstance
from dicomsvc.objects.colour import cielab_value, srgb_colour
from dicomsvc.objects.segmentation import Organisation, SegmentationKind, write_segmentation_pyramid
from dicomsvc.objects.segmentation_read import read_segmentation
from tests.unit.objects.pyramid_slide import Files, slide
from tests.unit.objects.result_slide import NEOPLASM, NUCLEUS, provenance
from tests.unit.objects.test_segmentation import CLASSES, SIZES, masks, options, reference, strips_of, write

ROWS, COLUMNS = SIZES[0]


@pytest.mark.parametrize("organisation", list(Organisation))
def test_masks_come_back_as_they_were(organisation: Organisation, tmp_path: Path) -> None:
    source = slide()
    with Files(tmp_path, source) as files:
        write_segmentation_pyramid(
            files.targets, source, CLASSES, strips_of(masks()), provenance(), options(organisation=organisation)
        )
    read = read_segmentation(files.paths[0])
    assert [segment.label for segment in read.segments] == ["nucleus", "neoplasm"]
    assert [segment.type for segment in read.segments] == [NUCLEUS.type, NEOPLASM.type]
    for segment, mask in zip(read.segments, masks(), strict=True):
        assert np.array_equal(read.region(segment.number, 0, 0, COLUMNS, ROWS), mask)
        assert np.array_equal(read.region(segment.number, 37, 21, 150, 90), mask[21:111, 37:187])
    level = source.levels[0]
    assert (read.pixel_spacing_mm, read.origin_mm) == (level.pixel_spacing_mm, level.origin_mm)
    assert (read.rows, read.columns) == (level.rows, level.columns)
    assert read.frame_of_reference_uid == source.frame_of_reference_uid
    assert read.source_sop_instance_uids == (level.sop_instance_uid,)
    tile = read.tile(1, 0, 1)
    assert tile is not None
    assert np.array_equal(tile, masks()[0][:64, 64:128])


def test_probabilities_and_labels_come_back(tmp_path: Path) -> None:
    values = (masks(1) * np.random.default_rng(5).random((1, ROWS, COLUMNS))).astype(np.float32)
    read = read_segmentation(write(tmp_path, values, options(SegmentationKind.FRACTIONAL))[0])
    assert read.maximum == 255
    assert np.array_equal(read.region(1, 0, 0, COLUMNS, ROWS), np.rint(values[0] * np.float32(255)))
    read = read_segmentation(write(tmp_path, masks(), options(SegmentationKind.LABELMAP))[0])
    assert [segment.number for segment in read.segments] == [1, 2]
    assert np.array_equal(read.region(2, 0, 0, COLUMNS, ROWS), masks()[1])
    assert set(np.unique(read.region(0, 0, 0, COLUMNS, ROWS))) == {0, 1, 2}


@pytest.mark.parametrize("organisation", ["TILED_FULL", "TILED_SPARSE"])
def test_segmentations_of_highdicom_are_read(organisation: str, tmp_path: Path) -> None:
    path = tmp_path / "theirs.dcm"
    reference(masks(), "BINARY", organisation).save_as(path)
    read = read_segmentation(path)
    assert np.array_equal(read.region(2, 0, 0, COLUMNS, ROWS), masks()[1])


def test_a_tile_that_was_left_out_is_none(tmp_path: Path) -> None:
    read = read_segmentation(write(tmp_path, masks(1), options(organisation=Organisation.SPARSE))[0])
    assert read.tile(1, 3, 4) is None
    assert not read.region(1, 250, 190, 50, 20).any()


def test_regions_that_are_not_there_or_too_large_are_refused(tmp_path: Path) -> None:
    read = read_segmentation(write(tmp_path, masks(1), options())[0])
    with pytest.raises(NotFound):
        read.region(2, 0, 0, 10, 10)
    with pytest.raises(TooLarge):
        read.region(1, 0, 0, 1 << 20, 1 << 20)
    assert not read.region(1, COLUMNS, ROWS, 10, 10).any()


def test_other_objects_are_no_segmentations(tmp_path: Path) -> None:
    path = tmp_path / "text.dcm"
    path.write_bytes(b"no DICOM" * 100)
    with pytest.raises(NotParseable):
        read_segmentation(path)
    ds = pydicom.dcmread(write(tmp_path, masks(1), options())[0])
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7.1"
    ds.save_as(path, enforce_file_format=True)
    with pytest.raises(UnsupportedInstance):
        read_segmentation(path)


@pytest.mark.parametrize("keyword", ["SegmentSequence", "TotalPixelMatrixRows", "SharedFunctionalGroupsSequence"])
def test_a_segmentation_that_lacks_something_is_an_invalid_instance(keyword: str, tmp_path: Path) -> None:
    path = write(tmp_path, masks(1), options())[0]
    ds = pydicom.dcmread(path)
    delattr(ds, keyword)
    ds.save_as(path, enforce_file_format=True)
    with pytest.raises(InvalidInstance):
        read_segmentation(path)


def test_frames_that_are_not_in_the_matrix_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, masks(1), options(organisation=Organisation.SPARSE))[0]
    ds = pydicom.dcmread(path)
    position = ds.PerFrameFunctionalGroupsSequence[1].PlanePositionSlideSequence[0]
    position.RowPositionInTotalImagePixelMatrix = -70
    ds.save_as(path, enforce_file_format=True)
    with pytest.raises(InvalidInstance, match="outside"):
        read_segmentation(path)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_broken_bytes_never_escape_the_error_tree(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "level-0.dcm"
    if not path.exists():
        write(tmp_path, masks(2).astype(np.float32), options(SegmentationKind.FRACTIONAL, Organisation.SPARSE))
        (tmp_path / "whole").write_bytes(path.read_bytes())
    content = bytearray((tmp_path / "whole").read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(132, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        read = read_segmentation(path)
        for segment in read.segments[:4]:
            read.region(segment.number, 0, 0, 400, 400)
    except DicomsvcError:
        pass


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (30, 200, 90), (230, 40, 40), (1, 2, 255)])
def test_colours_survive_cielab(colour: tuple[int, int, int]) -> None:
    value = cielab_value(colour)
    assert srgb_colour(value) == colour
    # highdicom leaves the white point at D65; lightness hardly differs.
    assert abs(value[0] - hd.color.CIELabColor.from_rgb(*colour).value[0]) < 0.03 * 65535
