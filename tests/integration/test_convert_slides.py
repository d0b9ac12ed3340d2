"""Slides of many kinds become instances whose pixels, places and attributes are right, or nothing at all."""

import math
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
import tifffile
from opentile import OpenTile
from pydicom.encaps import get_frame
from wsidicom import WsiDicom
from wsidicom.config import settings as wsidicom_settings

from dicomsvc.errors import ConversionError, MissingPixelSpacing, TruncatedSlide, UnknownSlideFormat
from dicomsvc.ingest.convert import (
    ConversionOptions,
    ConvertedInstance,
    FolderSink,
    Progress,
    convert_slide,
    inspect_slide,
)
from dicomsvc.ingest.convert.build import halve
from tests.conformance.vendor_slides import (
    LOSSLESS,
    MONOCHROME,
    PASSING,
    REAL_SLIDE,
    channels16,
    pixels,
    write_fluorescence,
    write_tiff,
)

BIG_DATA = Path(os.environ.get("DICOMSVC_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_big_data = pytest.mark.skipif(not BIG_DATA.is_dir(), reason="DICOMSVC_TEST_DATA is not set")


def convert(slide: Path, out: Path, **options: object) -> list[ConvertedInstance]:
    with FolderSink(out) as sink:
        return convert_slide(slide, sink, ConversionOptions(**options))  # type: ignore[arg-type]


def frame(ds: pydicom.Dataset, index: int) -> bytes:
    offsets = (ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths)
    data = get_frame(ds.PixelData, index, number_of_frames=ds.NumberOfFrames, extended_offsets=offsets)
    length = int(np.frombuffer(ds.ExtendedOffsetTableLengths, "<u8")[index])
    return data[:length]


def volumes(instances: list[ConvertedInstance]) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(entry.path) for entry in instances if entry.image_type[2] == "VOLUME"]


def region(folder: Path, level: int, columns: int, rows: int) -> np.ndarray:
    with WsiDicom.open(folder) as slide:
        return np.asarray(slide.read_region((0, 0), level, (columns, rows)))


def test_jpeg_tiles_of_an_svs_are_frames_bit_for_bit(tmp_path: Path) -> None:
    base = volumes(convert(REAL_SLIDE, tmp_path))[0]
    with OpenTile.open(REAL_SLIDE) as tiler:
        level = tiler.get_level(0)
        across = level.tiled_size.width
        tiles = [level.get_tile((index % across, index // across)) for index in range(level.tiled_size.area)]
    assert [frame(base, index) for index in range(base.NumberOfFrames)] == tiles
    assert base.PhotometricInterpretation == "RGB"


def test_an_svs_becomes_a_pyramid_with_label_overview_and_thumbnail(tmp_path: Path) -> None:
    instances = convert(REAL_SLIDE, tmp_path)
    kinds = [entry.image_type[2] for entry in instances]
    assert kinds == ["VOLUME"] * 5 + ["THUMBNAIL", "LABEL", "OVERVIEW"]
    datasets = [pydicom.dcmread(entry.path, stop_before_pixels=True) for entry in instances]
    for keyword in ("FrameOfReferenceUID", "ContainerIdentifier", "AcquisitionUID", "StudyInstanceUID"):
        assert len({ds[keyword].value for ds in datasets}) == 1
    assert len({ds.PyramidUID for ds in datasets[:6]}) == 1
    assert [ds.ImageType[3] for ds in datasets[:5]] == ["NONE"] + ["RESAMPLED"] * 4
    assert [ds.get("SpecimenLabelInImage") for ds in datasets[5:]] == ["NO", "YES", "YES"]
    first = datasets[0]
    assert first.AcquisitionDateTime.startswith("20091229095915")
    assert (first.Manufacturer, first.DeviceSerialNumber) == ("Aperio", "CPAPERIOCS")
    spacing = first.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
    assert spacing == pytest.approx([0.000499, 0.000499])
    assert first.OpticalPathSequence[0].ICCProfile[36:40] == b"acsp"
    assert {len(ds.SpecimenDescriptionSequence) for ds in datasets} == {1}


def test_levels_lie_at_their_places_for_wsidicom(tmp_path: Path) -> None:
    convert(REAL_SLIDE, tmp_path)
    with WsiDicom.open(tmp_path) as slide:
        assert [level.level for level in slide.levels] == [0, 1, 2, 3, 4]
        assert [round(level.mpp.width, 3) for level in slide.levels] == [0.499, 0.998, 1.996, 3.992, 7.984]
        assert slide.labels and slide.overviews


@pytest.mark.parametrize("name", sorted(LOSSLESS))
def test_lossless_sources_keep_every_pixel_and_levels_are_exact_averages(name: str, tmp_path: Path) -> None:
    slide = LOSSLESS[name](tmp_path / name)
    convert(slide, tmp_path / "out", codec="jpeg2000-lossless", tile_size=256, mpp=0.5)
    expected = pixels()
    for level in range(3):
        rows, columns = expected.shape[:2]
        assert np.array_equal(region(tmp_path / "out", level, columns, rows), expected)
        expected = halve(expected)


@pytest.mark.parametrize("name", sorted(PASSING))
def test_stored_tiles_pass_through_with_their_colours(name: str, tmp_path: Path) -> None:
    slide = PASSING[name](tmp_path / name)
    instances = convert(slide, tmp_path / "out")
    assert instances[0].as_stored
    decoded = tifffile.imread(slide, key=0)
    shown = region(tmp_path / "out", 0, decoded.shape[1], decoded.shape[0])
    assert np.abs(shown.astype(int) - decoded).mean() < 1.0
    assert np.abs(shown.astype(int) - pixels()).mean() < 8.0


@pytest.mark.parametrize("name", sorted(MONOCHROME))
def test_monochrome_is_shown_with_black_as_zero(name: str, tmp_path: Path) -> None:
    slide = MONOCHROME[name](tmp_path / name)
    base = volumes(convert(slide, tmp_path / "out", codec="uncompressed"))[0]
    first = np.frombuffer(base.PixelData[: 256 * 256], np.uint8).reshape(256, 256)
    assert base.PhotometricInterpretation == "MONOCHROME2"
    assert np.array_equal(first, pixels()[:256, :256, 1])


def test_fluorescence_has_one_optical_path_a_channel_and_every_value(tmp_path: Path) -> None:
    slide = write_fluorescence(tmp_path / "slide.ome.tif")
    base, *coarser = volumes(convert(slide, tmp_path / "out", codec="uncompressed"))
    assert [path.OpticalPathDescription for path in base.OpticalPathSequence] == ["DAPI", "FITC", "Cy5"]
    assert [path.IlluminationWaveLength for path in base.OpticalPathSequence] == [358, 490, 650]
    assert len({path.OpticalPathIdentifier for path in base.OpticalPathSequence}) == 3
    across, down = math.ceil(900 / 256), math.ceil(700 / 256)
    assert base.NumberOfFrames == 3 * across * down
    frames = np.frombuffer(base.PixelData, "<u2").reshape(3, down, across, 256, 256)
    mosaic = frames.transpose(0, 1, 3, 2, 4).reshape(3, down * 256, across * 256)[:, :700, :900]
    assert np.array_equal(mosaic, channels16())
    assert len(coarser) == 2


def test_every_frame_is_exactly_rows_by_columns(tmp_path: Path) -> None:
    for ds in volumes(convert(REAL_SLIDE, tmp_path)):
        for index in range(ds.NumberOfFrames):
            assert imagecodecs.jpeg8_decode(frame(ds, index)).shape[:2] == (ds.Rows, ds.Columns)


def test_tiles_that_the_scanner_left_out_become_background(tmp_path: Path) -> None:
    slide = PASSING["jpeg-ycbcr.tif"](tmp_path / "slide.tif")
    with tifffile.TiffFile(slide, mode="r+") as tiff:
        counts = list(tiff.pages[0].databytecounts)
        counts[1] = 0
        tiff.pages[0].tags["TileByteCounts"].overwrite(counts)
    instances = convert(slide, tmp_path / "out")
    assert instances[0].as_stored
    shown = region(tmp_path / "out", 0, 512, 256)
    assert shown[:, 256:].min() > 250
    assert shown[:, :256].min() < 200


def shrink_tile(slide: Path, index: int) -> None:
    """Put a JPEG of 16 x 16 px into the place of a tile."""
    with tifffile.TiffFile(slide) as tiff:
        offset, count = tiff.pages[0].dataoffsets[index], tiff.pages[0].databytecounts[index]
    small = imagecodecs.jpeg8_encode(np.zeros((16, 16, 3), np.uint8))
    assert len(small) <= count
    data = bytearray(slide.read_bytes())
    data[offset : offset + count] = small + bytes(count - len(small))
    slide.write_bytes(data)


@pytest.mark.parametrize(("side", "index", "as_stored"), [(256, 5, True), (64, 17, False)])
def test_tiles_smaller_than_their_grid_never_become_frames(
    side: int, index: int, as_stored: bool, tmp_path: Path
) -> None:
    slide = write_tiff(tmp_path / "slide.tif", tile=(side, side), compression="jpeg")
    shrink_tile(slide, index)
    instances = convert(slide, tmp_path / "out")
    # Seen before writing, the tile alone is replaced; seen later, the level is encoded anew.
    assert instances[0].as_stored is as_stored
    for ds in volumes(instances):
        for number in range(ds.NumberOfFrames):
            assert imagecodecs.jpeg8_decode(frame(ds, number)).shape[:2] == (ds.Rows, ds.Columns)
    assert len(list((tmp_path / "out").iterdir())) == len(instances)


def test_the_same_seed_makes_the_same_bytes(tmp_path: Path) -> None:
    first = convert(REAL_SLIDE, tmp_path / "a", seed="work item 1")
    second = convert(REAL_SLIDE, tmp_path / "b", seed="work item 1")
    assert [entry.path.read_bytes() for entry in first] == [entry.path.read_bytes() for entry in second]
    other = convert(REAL_SLIDE, tmp_path / "c", seed="work item 2")
    assert {entry.sop_instance_uid for entry in first}.isdisjoint(entry.sop_instance_uid for entry in other)


def test_deidentified_slides_hold_no_label_no_dates_and_no_scanner(tmp_path: Path) -> None:
    instances = convert(REAL_SLIDE, tmp_path, deidentify=True)
    assert {entry.image_type[2] for entry in instances} == {"VOLUME", "THUMBNAIL"}
    for entry in instances:
        data = entry.path.read_bytes()
        for secret in (b"CPAPERIOCS", b"20091229", b"CMU-1", b"b414003d", b"1004486"):
            assert secret not in data
        ds = pydicom.dcmread(entry.path, stop_before_pixels=True)
        assert ds.PatientIdentityRemoved == "YES"
        assert ds.StudyDate == ""


def test_deidentification_strips_comments_from_stored_tiles(tmp_path: Path) -> None:
    slide = PASSING["jpeg-ycbcr.tif"](tmp_path / "slide.tif")
    data = slide.read_bytes()
    with tifffile.TiffFile(slide) as tiff:
        offset = tiff.pages[0].dataoffsets[3]
    marker = data[offset + 2 : offset + 4]
    edited = bytearray(data)
    assert marker == b"\xff\xe0"
    edited[offset + 2 : offset + 4] = b"\xff\xfe"
    edited[offset + 6 : offset + 11] = b"Smith"
    slide.write_bytes(edited)
    instances = convert(slide, tmp_path / "out", deidentify=True)
    assert b"Smith" not in instances[0].path.read_bytes()
    assert instances[0].frames == 12


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_a_slide_cut_short_is_refused_and_leaves_nothing(share: float, tmp_path: Path) -> None:
    data = REAL_SLIDE.read_bytes()
    slide = tmp_path / "cut.svs"
    slide.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(TruncatedSlide):
        convert(slide, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_file_that_is_no_slide_is_named_so(tmp_path: Path) -> None:
    for name, data in {"a.svs": b"IJrE" * 300, "b.tif": b"hello", "c.mrxs": b"\xff\xd8\xff\xe0nothing"}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UnknownSlideFormat):
            convert(tmp_path / name, tmp_path / "out")


def test_an_empty_file_is_cut_short(tmp_path: Path) -> None:
    (tmp_path / "a.svs").touch()
    with pytest.raises(TruncatedSlide):
        inspect_slide(tmp_path / "a.svs")


def test_a_picture_without_spacing_asks_for_it(tmp_path: Path) -> None:
    slide = LOSSLESS["picture.png"](tmp_path / "picture.png")
    with pytest.raises(MissingPixelSpacing, match="--mpp"):
        convert(slide, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_error_in_the_progress_report_stops_and_leaves_nothing(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def report(progress: Progress) -> None:
        assert 0 <= progress.done <= progress.total
        if progress.done > 140:
            raise Stop

    with pytest.raises(Stop), FolderSink(tmp_path) as sink:
        convert_slide(REAL_SLIDE, sink, ConversionOptions(), report)
    assert list(tmp_path.iterdir()) == []


def test_progress_ends_with_everything_done(tmp_path: Path) -> None:
    seen: list[Progress] = []
    with FolderSink(tmp_path) as sink:
        convert_slide(REAL_SLIDE, sink, ConversionOptions(), seen.append)
    assert seen[-1].done == seen[-1].total == 130 + 35 + 12 + 4 + 1 + 3
    assert all(earlier.done <= later.done for earlier, later in pairwise(seen))


def test_mutated_slides_convert_or_fail_with_our_errors(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    data = PASSING["jpeg-rgb.tif"](tmp_path / "slide.tif").read_bytes()
    for attempt in range(150):
        edited = bytearray(data)
        # The directory of a small file lies at its start: most changes hit it, some the tiles.
        for position in random.integers(0, 600 if attempt % 3 else len(data), 4):
            edited[position] = random.integers(0, 256)
        slide = tmp_path / f"{attempt}.tif"
        slide.write_bytes(edited)
        out = tmp_path / f"out-{attempt}"
        try:
            convert(slide, out, mpp=0.5)
        except ConversionError:
            assert not out.exists() or list(out.iterdir()) == []


@needs_big_data
def test_a_large_slide_converts_in_bounded_memory(tmp_path: Path) -> None:
    slide = BIG_DATA / "slides" / "Orion-CRC01_HE_17408x14336_1.3um.tif"
    script = (
        "import sys; from pathlib import Path; from dicomsvc.ingest.convert import *\n"
        "with FolderSink(Path(sys.argv[2])) as sink: convert_slide(Path(sys.argv[1]), sink)\n"
        # Not ru_maxrss, which begins with what the process that started this one had.
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(slide), str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) / 1024 < 600


@needs_big_data
def test_an_ndpi_cut_short_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    data = (BIG_DATA / "slides" / "test3-DAPI_2_387.ndpi").read_bytes()
    convert(BIG_DATA / "slides" / "test3-DAPI_2_387.ndpi", tmp_path / "whole")
    for share in (0.2, 0.7, 0.98):
        (tmp_path / "cut.ndpi").write_bytes(data[: int(len(data) * share)])
        with pytest.raises(TruncatedSlide):
            convert(tmp_path / "cut.ndpi", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@needs_big_data
def test_tiles_of_large_slides_are_frames_bit_for_bit(tmp_path: Path) -> None:
    for name, levels in (("Orion-CRC01_HE_17408x14336_1.3um.tif", 1), ("tcga-cr-7395-01a-01-ts1.svs", 2)):
        slide = BIG_DATA / "slides" / name
        datasets = volumes(convert(slide, tmp_path / name, mpp=1.3))
        with tifffile.TiffFile(slide) as tiff:
            pages = [page for page in tiff.pages if page.is_tiled]
            for page, ds in zip(pages[:levels], datasets[:levels], strict=True):
                for index in range(0, ds.NumberOfFrames, 17):
                    tiff.filehandle.seek(page.dataoffsets[index])
                    assert frame(ds, index) == tiff.filehandle.read(page.databytecounts[index])


@needs_big_data
def test_levels_of_several_tile_sizes_can_be_made_uniform(tmp_path: Path) -> None:
    slide = BIG_DATA / "slides" / "Orion-CRC01_HE_17408x14336_1.3um.tif"
    convert(slide, tmp_path, uniform_tiles=True)
    assert wsidicom_settings.strict_tile_size_check
    with WsiDicom.open(tmp_path) as opened:
        assert [level.level for level in opened.levels] == [0, 1, 2, 3, 4, 5]


def test_levels_of_other_colours_are_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    slide, image = tmp_path / "slide.tif", pixels()
    with tifffile.TiffWriter(slide) as writer:
        options = {"tile": (256, 256), "compression": "jpeg", "photometric": "rgb", "resolution": (20000, 20000)}
        writer.write(image, subifds=2, resolutionunit="CENTIMETER", **options)
        writer.write(image[::2, ::2, ::-1] // 2, subfiletype=1, **options)
        writer.write(image[::4, ::4], subfiletype=1, **options)
    assert [level.looks_like_finest for level in inspect_slide(slide).levels] == [True, False, True]
    found = volumes(convert(slide, tmp_path / "out"))
    assert [ds.TotalPixelMatrixColumns for ds in found] == [900, 225]
    assert "level of 450 x 350 pixels has other colours" in caplog.text


@needs_big_data
def test_fluorescence_in_an_ndpi_is_told_from_brightfield(tmp_path: Path) -> None:
    for ds in volumes(convert(BIG_DATA / "slides" / "test3-DAPI_2_387.ndpi", tmp_path)):
        [path] = ds.OpticalPathSequence
        assert path.IlluminationTypeCodeSequence[0].CodeValue == "111743"
        assert (path.OpticalPathDescription, path.ImagePathFilterPassThroughWavelength) == ("DAPI 2 (387)", 455)
