"""Images that a model made: on the slide's levels, in its frame of reference, and marked as synthetic."""

from pathlib import Path

import highdicom as hd
import numpy as np
import numpy.typing as npt
import pydicom
import pytest

from dicomsvc.dicom.part10 import parse_instance
from dicomsvc.errors import ModelFailure
from dicomsvc.objects.common import NOT_VERIFIED
from dicomsvc.objects.derived import SYNTHETIC, DerivedChannel, DerivedImage, write_derived_image
from dicomsvc.objects.source import source_slide
from tests.unit.objects.pyramid_slide import SIZES, Files, slide
from tests.unit.objects.result_slide import provenance

TILE = 64
RGB = DerivedImage("virtual IHC", (DerivedChannel("1", "DAB"),), rgb=True)
CHANNELS = (DerivedChannel("DAPI", "nuclei", (0, 0, 255)), DerivedChannel("CD3", "T cells", (0, 255, 0)))


def picture() -> npt.NDArray[np.uint8]:
    """Return soft colours, ``(1, rows, columns, 3)``."""
    rows, columns = SIZES[0]
    y, x = np.mgrid[:rows, :columns]
    return np.stack([120 + 100 * np.sin(x / 40), 120 + 100 * np.cos(y / 30), (x + y) / 3], axis=-1)[None].astype(
        np.uint8
    )


def write(folder: Path, image: DerivedImage, pixels: npt.NDArray[np.generic] | None) -> list[Path]:
    source = slide()
    with Files(folder, source) as files:
        write_derived_image(
            files.targets,
            source,
            image,
            lambda row: None if pixels is None else pixels[:, row * TILE : (row + 1) * TILE],
            provenance(),
            tile_size=TILE,
        )
    return files.paths


def test_a_picture_in_jpeg_is_near_to_what_the_model_made(tmp_path: Path) -> None:
    paths = write(tmp_path, RGB, picture())
    pixels = hd.imread(paths[0]).get_total_pixel_matrix(apply_icc_profile=False)
    assert np.abs(pixels.astype(int) - picture()[0]).mean() < 3
    ds = pydicom.dcmread(paths[0])
    assert ds.PhotometricInterpretation == "YBR_FULL_422"
    assert list(ds.LossyImageCompressionMethod) == ["ISO_10918_1", "ISO_10918_1"]
    assert len(ds.LossyImageCompressionRatio) == 2
    coarse = hd.imread(paths[1]).get_total_pixel_matrix(apply_icc_profile=False)
    assert np.abs(coarse.mean(axis=(0, 1)) - picture()[0].mean(axis=(0, 1))).max() < 3


@pytest.mark.parametrize("bits", [8, 16])
def test_channels_are_optical_paths_without_loss_when_uncompressed(bits: int, tmp_path: Path) -> None:
    pixels = np.moveaxis(picture()[0, ..., :2], 2, 0).astype(np.uint16 if bits == 16 else np.uint8)
    image = DerivedImage("virtual stains", CHANNELS, bits=bits, quality=None)
    ds = pydicom.dcmread(write(tmp_path, image, pixels)[0])
    assert (ds.PhotometricInterpretation, ds.BitsAllocated, ds.NumberOfFrames) == ("MONOCHROME2", bits, 2 * 20)
    assert [path.OpticalPathIdentifier for path in ds.OpticalPathSequence] == ["DAPI", "CD3"]
    frames = ds.pixel_array
    assert np.array_equal(frames[0], pixels[0, :64, :64])
    assert np.array_equal(frames[20], pixels[1, :64, :64])


def test_one_level_and_only_one_is_not_resampled(tmp_path: Path) -> None:
    read = [pydicom.dcmread(path) for path in write(tmp_path, RGB, picture())]
    assert [ds.ImageType[3] for ds in read] == ["NONE", "RESAMPLED", "RESAMPLED"]
    assert {ds.ImageType[0] for ds in read} == {"DERIVED"}
    for keyword in ("FrameOfReferenceUID", "ContainerIdentifier", "PyramidUID", "AcquisitionUID", "SeriesInstanceUID"):
        assert len({ds[keyword].value for ds in read}) == 1
    # It is a slide itself: models and viewers take it for one.
    again = source_slide(read)
    assert [(level.rows, level.columns) for level in again.levels] == list(SIZES)


def test_an_image_of_a_model_says_that_it_is_synthetic(tmp_path: Path) -> None:
    ds = pydicom.dcmread(write(tmp_path, DerivedImage("virtual stains", CHANNELS), None)[0])
    for text in (ds.DerivationDescription, ds.ImageComments):
        assert SYNTHETIC in text
        assert NOT_VERIFIED in text
        assert "nuclei 1.2.0" in text
    assert all(path.OpticalPathDescription.startswith(SYNTHETIC) for path in ds.OpticalPathSequence)


def test_where_the_model_saw_nothing_a_picture_is_white_and_channels_are_black(tmp_path: Path) -> None:
    for image, expected in ((RGB, 255), (DerivedImage("stains", CHANNELS), 0)):
        path = write(tmp_path, image, None)[0]
        frame = hd.imread(path).get_frame(1, apply_icc_profile=False, apply_palette_color_lut=False)
        assert np.abs(np.asarray(frame).astype(int) - expected).max() <= 1
        assert parse_instance(path).warnings == ()


def test_other_types_and_shapes_are_the_models_failure(tmp_path: Path) -> None:
    with pytest.raises(ModelFailure, match="float32"):
        write(tmp_path, RGB, picture().astype(np.float32))
    with pytest.raises(ModelFailure, match="shape"):
        write(tmp_path, RGB, picture()[:, :, :-1])


def test_a_description_that_makes_no_image_is_refused() -> None:
    for wrong in ({"rgb": True, "bits": 16}, {"bits": 12}):
        with pytest.raises(ValueError, match="RGB of 8 bits"):
            DerivedImage("x", CHANNELS[:1], **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="RGB of 8 bits"):
        DerivedImage("x", CHANNELS, rgb=True)
