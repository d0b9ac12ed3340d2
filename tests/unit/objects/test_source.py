"""Slides described for results: every attribute that results repeat is there, whatever form it came in."""

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from dicomsvc.errors import InvalidInstance
from dicomsvc.objects.common import NOT_VERIFIED, common_modules, derived_uid
from dicomsvc.objects.part10 import header
from dicomsvc.objects.segmentation import SEGMENTATION_STORAGE
from dicomsvc.objects.source import SourceSlide, source_slide
from tests.unit.objects.pyramid_slide import SIZES, datasets
from tests.unit.objects.result_slide import WEIGHTS, identity, provenance


def written(source: SourceSlide, **changes: object) -> Dataset:
    ds = common_modules(source, identity(), replace(provenance(), **changes), "SEG", SEGMENTATION_STORAGE)  # type: ignore[arg-type]
    return pydicom.dcmread(io.BytesIO(header(ds, "1.2.840.10008.1.2.1")))


def test_levels_come_finest_first_whatever_order_they_are_given_in() -> None:
    source = source_slide(datasets()[::-1])
    assert [(level.rows, level.columns) for level in source.levels] == list(SIZES)
    assert [level.pixel_spacing_mm[0] for level in source.levels] == [0.0005, 0.001, 0.002]


def test_data_sets_from_dicom_json_describe_the_same_slide() -> None:
    given = datasets()
    plain, from_json = source_slide(given), source_slide([Dataset.from_json(ds.to_json()) for ds in given])
    assert plain.levels == from_json.levels
    assert plain.image_orientation == from_json.image_orientation
    assert written(from_json).PatientName == written(plain).PatientName == "Wang^XiaoDong=王^小东"


@pytest.mark.parametrize(
    "keyword",
    [
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "SOPInstanceUID",
        "FrameOfReferenceUID",
        "ImageOrientationSlide",
        "TotalPixelMatrixColumns",
        "TotalPixelMatrixRows",
        "Rows",
    ],
)
def test_a_missing_attribute_is_named(keyword: str) -> None:
    given = datasets()
    delattr(given[1 if keyword != "ImageOrientationSlide" else 0], keyword)
    with pytest.raises(InvalidInstance, match=keyword):
        source_slide(given)


def test_a_slide_without_pixel_spacing_is_refused_by_name() -> None:
    given = datasets()
    del given[2].SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    with pytest.raises(InvalidInstance, match="PixelSpacing"):
        source_slide(given)
    with pytest.raises(InvalidInstance):
        source_slide([])


def test_values_that_are_no_numbers_are_an_invalid_instance() -> None:
    given = datasets()
    given[0].SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [0, 0]
    with pytest.raises(InvalidInstance, match="PixelSpacing"):
        source_slide(given)
    given = datasets()
    given[0].TotalPixelMatrixColumns = 0
    with pytest.raises(InvalidInstance, match="TotalPixelMatrixColumns"):
        source_slide(given)


def test_spacing_of_the_first_frame_counts_where_it_is_not_shared() -> None:
    given = datasets()
    group = Dataset()
    group.PixelMeasuresSequence = given[0].SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    del given[0].SharedFunctionalGroupsSequence
    given[0].PerFrameFunctionalGroupsSequence = [group] * 20
    source = source_slide(given)
    assert source.levels[0].pixel_spacing_mm == (0.0005, 0.0005)
    assert "PerFrameFunctionalGroupsSequence" not in source.dataset


def test_a_level_without_an_origin_has_that_of_the_others() -> None:
    given = datasets()
    del given[0].TotalPixelMatrixOriginSequence
    assert source_slide(given).levels[0].origin_mm == (20.0, 40.0)
    for ds in given[1:]:
        del ds.TotalPixelMatrixOriginSequence
    assert source_slide(given).levels[0].origin_mm == (0.0, 0.0)


def test_levels_of_two_slides_are_no_pyramid() -> None:
    given = [datasets()[0], datasets()[1]]
    with pytest.raises(InvalidInstance, match="differ in StudyInstanceUID"):
        source_slide(given)


def test_slide_coordinates_are_those_of_highdicom() -> None:
    source = source_slide(datasets())
    points = np.array([[0.0, 0.0], [0.5, 0.5], [299.25, 17.75]])
    transform = hd.spatial.ImageToReferenceTransformer(
        image_position=(20.0, 40.0, 0.0),
        image_orientation=source.image_orientation,
        pixel_spacing=source.levels[0].pixel_spacing_mm,
    )
    np.testing.assert_allclose(source.to_slide_mm(points), transform(points)[:, :2], atol=1e-12)


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Müller^Jürgen"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
    ],
)
def test_text_in_other_character_sets_is_written_in_unicode(charset: object, name: str) -> None:
    given = datasets()[:1]
    given[0].SpecificCharacterSet = charset
    given[0].PatientName, given[0].PatientID = name, "T-1"
    given[0].StudyDescription = name.rpartition("=")[2]
    given[0].SpecimenDescriptionSequence[0].SpecimenShortDescription = name.rpartition("=")[2]
    stream = io.BytesIO()
    given[0].save_as(stream, enforce_file_format=True)
    stream.seek(0)
    ds = written(source_slide([pydicom.dcmread(stream)]))
    assert ds.SpecificCharacterSet == "ISO_IR 192"
    assert ds.PatientName == name
    assert ds.StudyDescription == name.rpartition("=")[2]
    assert ds.SpecimenDescriptionSequence[0].SpecimenShortDescription == name.rpartition("=")[2]


def test_every_result_names_slide_scanner_and_algorithm() -> None:
    source = source_slide(datasets())
    ds = written(source)
    assert ds.ContainerIdentifier == source.container_identifier
    assert ds.FrameOfReferenceUID == source.frame_of_reference_uid
    assert ds.SpecimenDescriptionSequence[0].SpecimenIdentifier == "S26-1-A"
    references = ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert [item.ReferencedSOPInstanceUID for item in references] == [level.sop_instance_uid for level in source.levels]
    scanner, model = ds.ContributingEquipmentSequence
    assert (scanner.Manufacturer, scanner.PurposeOfReferenceCodeSequence[0].CodeValue) == ("Scanner Maker", "109101")
    assert (model.ManufacturerModelName, model.SoftwareVersions) == ("nuclei", "1.2.0")
    assert WEIGHTS in model.ContributionDescription
    assert NOT_VERIFIED in model.ContributionDescription
    assert ds.ReferringPhysicianName == ""


def test_dates_are_told_in_the_slides_time_zone() -> None:
    given = datasets()
    created = datetime(2026, 11, 21, 23, 30, tzinfo=UTC)
    ds = written(source_slide(given), created=created.astimezone(timezone(timedelta(hours=8))))
    assert (ds.TimezoneOffsetFromUTC, ds.ContentDate, ds.ContentTime[:4]) == ("+0800", "20261122", "0730")
    for each in given:
        each.TimezoneOffsetFromUTC = "-0330"
    ds = written(source_slide(given), created=created)
    assert (ds.TimezoneOffsetFromUTC, ds.SeriesDate, ds.SeriesTime[:4]) == ("-0330", "20261121", "2000")
    with pytest.raises(InvalidInstance, match="time zone"):
        written(source_slide(given), created=created.replace(tzinfo=None))


def test_the_same_parts_make_the_same_uid() -> None:
    assert derived_uid("a", "b") == derived_uid("a", "b") != derived_uid("a", "c")
    assert len(derived_uid("a", "b")) <= 64


def test_a_slide_that_names_neither_container_nor_specimen_nor_maker_gives_valid_results() -> None:
    given = datasets()
    for ds in given:
        for keyword in ("ContainerIdentifier", "SpecimenDescriptionSequence", "Manufacturer"):
            ds.pop(keyword, None)
    source = source_slide(given)
    first, second = written(source), written(source)
    assert first.ContainerIdentifier == source.series_instance_uid
    assert first.SpecimenDescriptionSequence[0].SpecimenUID == second.SpecimenDescriptionSequence[0].SpecimenUID
    assert first.ContributingEquipmentSequence[0].Manufacturer == "Unknown"
