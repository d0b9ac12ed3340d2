"""Parametric maps: the same values as highdicom reads and writes, on the slide's levels."""

from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.sr.codedict import codes

from dicomsvc.dicom.part10 import parse_instance
from dicomsvc.errors import InvalidInstance, ModelFailure, TooLarge
from dicomsvc.objects.common import NOT_VERIFIED
from dicomsvc.objects.parametric import MapQuantity, write_parametric_map
from tests.unit.objects.pyramid_slide import SIZES, Files, datasets, slide
from tests.unit.objects.result_slide import provenance

TILE = 64
QUANTITY = MapQuantity("tumour", "probability of tumour", codes.SCT.Area)


def values() -> npt.NDArray[np.float32]:
    return np.random.default_rng(1).random((1, *SIZES[0]), np.float32)


def write(folder: Path, pixels: npt.NDArray[np.generic], quantity: MapQuantity = QUANTITY) -> list[Path]:
    source = slide()
    with Files(folder, source) as files:
        write_parametric_map(
            files.targets,
            source,
            quantity,
            lambda row: pixels[:, row * TILE : (row + 1) * TILE],
            provenance(),
            tile_size=TILE,
        )
    return files.paths


def test_values_are_byte_for_byte_those_of_highdicom(tmp_path: Path) -> None:
    ours = pydicom.dcmread(write(tmp_path, values())[0])
    mapping = hd.pm.RealWorldValueMapping(
        QUANTITY.label,
        QUANTITY.explanation,
        codes.UCUM.NoUnits,
        (0.0, 1.0),
        intercept=0,
        slope=1,
        quantity_definition=QUANTITY.quantity,
    )
    theirs = hd.pm.ParametricMap(
        [datasets()[0]],
        values()[..., np.newaxis],
        hd.UID(),
        7,
        hd.UID(),
        1,
        "M",
        "M",
        "1",
        "1",
        False,
        [[mapping]],
        voi_lut_transformations=[hd.VOILUTTransformation(0.5, 1.0, voi_lut_function="LINEAR_EXACT")],
        tile_pixel_array=True,
        tile_size=(TILE, TILE),
        dimension_organization_type="TILED_FULL",
    )
    assert ours.FloatPixelData == theirs.FloatPixelData
    for keyword in (
        "ImageType Modality SOPClassUID BitsAllocated SamplesPerPixel PhotometricInterpretation Rows Columns "
        "NumberOfFrames DimensionOrganizationType TotalPixelMatrixRows TotalPixelMatrixColumns PixelPresentation "
        "ContentQualification BurnedInAnnotation RecognizableVisualFeatures PresentationLUTShape"
    ).split():
        assert ours[keyword].value == theirs[keyword].value, keyword
    mine, its = (ds.SharedFunctionalGroupsSequence[0] for ds in (ours, theirs))
    for sequence in (
        "RealWorldValueMappingSequence",
        "FrameVOILUTSequence",
        "ParametricMapFrameTypeSequence",
        "PixelValueTransformationSequence",
    ):
        assert mine[sequence].value[0].to_json() == its[sequence].value[0].to_json(), sequence


def test_highdicom_reads_every_level_and_means_stay(tmp_path: Path) -> None:
    paths = write(tmp_path, values())
    assert np.array_equal(hd.imread(paths[0]).get_total_pixel_matrix(apply_real_world_transform=True), values()[0])
    for path, size in zip(paths, SIZES, strict=True):
        pixels = hd.imread(path).get_total_pixel_matrix()
        assert pixels.shape == size
        assert abs(pixels.mean() - values().mean()) < 0.01
        assert parse_instance(path).warnings == ()


def test_a_map_says_what_it_is_and_that_nobody_verified_it(tmp_path: Path) -> None:
    read = [pydicom.dcmread(path) for path in write(tmp_path, values())]
    mapping = read[0].SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert mapping.LUTLabel == "tumour"
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)
    assert read[0].ContentDescription == NOT_VERIFIED
    assert len({ds.PyramidUID for ds in read}) == 1


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((1, *SIZES[0]), np.nan, np.float32),
        np.full((1, *SIZES[0]), np.inf, np.float32),
        np.zeros((1, 5, 5), "f4"),
    ],
)
def test_values_that_are_no_numbers_are_the_models_failure(pixels: npt.NDArray[np.float32], tmp_path: Path) -> None:
    with pytest.raises(ModelFailure):
        write(tmp_path, pixels)


def test_bounds_and_labels_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInstance, match="interval"):
        write(tmp_path, values(), replace(QUANTITY, minimum=1.0, maximum=1.0))
    with pytest.raises(InvalidInstance, match="LUTLabel"):
        write(tmp_path, values(), replace(QUANTITY, label="seventeen letters"))


def test_more_than_four_gigabytes_are_refused(tmp_path: Path) -> None:
    source = slide(((40_000, 40_000),))
    with Files(tmp_path, source) as files, pytest.raises(TooLarge, match="coarser level"):
        write_parametric_map(files.targets, source, QUANTITY, lambda row: None, provenance())
