"""Segmentations, maps and derived images of a real slide are valid for dicom3tools, but for its own known errors.

dciodvfy of 2022 does not know TILED_FULL in these objects, nor label maps. What it says wrongly is written down here
line by line; anything else fails, and so does anything less.
"""

import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes
from wsidicom import WsiDicom

from dicomsvc.dicom.json import metadata_dataset
from dicomsvc.dicom.part10 import parse_instance
from dicomsvc.dicom.uids import new_uid
from dicomsvc.ingest.convert import ConversionOptions, FolderSink, convert_slide
from dicomsvc.objects.derived import DerivedChannel, DerivedImage, write_derived_image
from dicomsvc.objects.levels import Target
from dicomsvc.objects.parametric import MapQuantity, write_parametric_map
from dicomsvc.objects.provenance import Identity
from dicomsvc.objects.segmentation import (
    Organisation,
    SegmentationKind,
    SegmentationOptions,
    write_segmentation_pyramid,
)
from dicomsvc.objects.source import SourceSlide, source_slide
from dicomsvc.wsi.codecs import decode_frame
from dicomsvc.wsi.tiling import read_tiling
from tests.conftest import CMU_SMALL_REGION, require_program
from tests.unit.objects.result_slide import NEOPLASM, NUCLEUS, provenance

pytestmark = pytest.mark.peer

FIRST = 1
"""The finest level of results here: the second of the slide."""
TILE = 256


def _missing(name: str, module: str, kind: str = "Type 1 Required") -> str:
    return f"Error - Missing attribute {kind} Element=<{name}> Module=<{module}>"


# PS3.3 C.7.6.1 asks for Patient Orientation only where there is neither Image Orientation (Slide) nor (Patient).
SEGMENTATION_ERRORS = frozenset({_missing("PatientOrientation", "GeneralImage", "Type 2C Conditional")})
# PS3.3 C.7.6.17.3: with TILED_FULL the place and the segment of a frame follow from its number.
FULL_SEGMENTATION_ERRORS = SEGMENTATION_ERRORS | {
    _missing("PerFrameFunctionalGroupsSequence", "MultiFrameFunctionalGroupsForSegmentation")
}
SEVERAL_SEGMENTS_ERRORS = FULL_SEGMENTATION_ERRORS | {_missing("SegmentIdentificationSequence", "SegmentationMacro")}
MAP_ERRORS = frozenset(
    {
        _missing("PlanePositionSequence", "PlanePositionMacro"),
        _missing("PlaneOrientationSequence", "PlaneOrientationMacro"),
        _missing("PlanePositionSlideSequence", "PlanePositionSlideMacro"),
        _missing("PerFrameFunctionalGroupsSequence", "MultiFrameFunctionalGroupsForParametricMap"),
    }
)
# PS3.3 A.51, C.8.20.2: the label map of 2024, whose segment 0 is the background.
LABELMAP_ERRORS = frozenset(
    {
        "Error - SegmentNumber not monotonically increasing from one by one - "
        "have SegmentSequence item number 1 (from one) with SegmentNumber of 0",
        "Error - Information Object Not found",
    }
)


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The volume images of the real slide."""
    with FolderSink(tmp_path_factory.mktemp("slide")) as sink:
        instances = convert_slide(
            CMU_SMALL_REGION, sink, ConversionOptions(metadata={"patient_id": "P-1", "patient_name": "王^小东"})
        )
    paths = [instance.path for instance in instances]
    return [path for path in paths if pydicom.dcmread(path, stop_before_pixels=True).ImageType[2] == "VOLUME"]


@pytest.fixture(scope="module")
def source(converted: list[Path]) -> SourceSlide:
    return source_slide([pydicom.dcmread(path, stop_before_pixels=True) for path in converted])


def complaints(program: str, *paths: Path) -> set[str]:
    done = subprocess.run([require_program(program), *map(str, paths)], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    return {line for line in lines if line.startswith(("Error", "Abort")) or "Error -" in line}


def masks(source: SourceSlide) -> np.ndarray:
    level = source.levels[FIRST]
    y, x = np.mgrid[: level.rows, : level.columns]
    return np.stack([(x - 300) ** 2 + (y - 400) ** 2 < 250**2, (x > 700) & (y < 600)])


def written(folder: Path, source: SourceSlide, write) -> list[Path]:  # type: ignore[no-untyped-def]
    series = new_uid()
    paths = [folder / f"{level}.dcm" for level in range(FIRST, len(source.levels))]
    files = [path.open("wb") for path in paths]
    write(
        [
            Target(file.write, level, Identity(series, 9, "AI result", new_uid(), level + 1))
            for level, file in enumerate(files, FIRST)
        ]
    )
    for file in files:
        file.close()
    return paths


def segmentation(
    folder: Path, source: SourceSlide, count: int, kind: SegmentationKind, organisation: Organisation
) -> list[Path]:
    found = masks(source)[:count]
    return written(
        folder,
        source,
        partial(
            write_segmentation_pyramid,
            source=source,
            classes=(NUCLEUS, NEOPLASM)[:count],
            strips=lambda row: found[:, row * TILE : (row + 1) * TILE],
            provenance=provenance(),
            options=SegmentationOptions(kind, organisation, overlap=False),
        ),
    )


KINDS = [
    (SegmentationKind.BINARY, Organisation.FULL, 1, FULL_SEGMENTATION_ERRORS),
    (SegmentationKind.BINARY, Organisation.FULL, 2, SEVERAL_SEGMENTS_ERRORS),
    (SegmentationKind.BINARY, Organisation.SPARSE, 2, SEGMENTATION_ERRORS),
    (SegmentationKind.FRACTIONAL, Organisation.AUTO, 1, FULL_SEGMENTATION_ERRORS),
    (SegmentationKind.FRACTIONAL, Organisation.AUTO, 2, SEGMENTATION_ERRORS),
    (SegmentationKind.LABELMAP, Organisation.FULL, 2, LABELMAP_ERRORS),
]


@pytest.mark.parametrize(("kind", "organisation", "count", "allowed"), KINDS)
def test_segmentations_are_valid(
    kind: SegmentationKind,
    organisation: Organisation,
    count: int,
    allowed: frozenset[str],
    source: SourceSlide,
    converted: list[Path],
    tmp_path: Path,
) -> None:
    paths = segmentation(tmp_path, source, count, kind, organisation)
    for path in paths:
        assert complaints("dciodvfy", path) == allowed
        assert parse_instance(path).warnings == ()
    assert complaints("dcentvfy", *converted, *paths) == set()


def test_our_own_reader_of_slides_reads_segmentations(source: SourceSlide, tmp_path: Path) -> None:
    for kind, organisation, count, _ in KINDS[:5]:
        path = segmentation(tmp_path, source, count, kind, organisation)[0]
        instance = parse_instance(path)
        assert instance.frames is not None
        tiling = read_tiling(metadata_dataset(instance.metadata, ""), instance.frames)
        content = path.read_bytes()
        for channel, mask in enumerate(masks(source)[:count]):
            seen = np.zeros(mask.shape, bool)
            for placed in tiling.placements(0, 0, tiling.total_columns, tiling.total_rows, channel):
                (offset, length), *_ = instance.frames.ranges(placed.frame_number)
                pixels = decode_frame(content[offset : offset + length], instance.frames)[..., 0] > 0
                part = seen[placed.y : placed.y + TILE, placed.x : placed.x + TILE]
                part[:] = pixels[: part.shape[0], : part.shape[1]]
            assert np.array_equal(seen, mask)


def test_parametric_maps_are_valid(source: SourceSlide, converted: list[Path], tmp_path: Path) -> None:
    shares = masks(source)[:1].astype(np.float32) * np.float32(0.75)
    quantity = MapQuantity("tumour", "probability of tumour", codes.SCT.Area)
    paths = written(
        tmp_path,
        source,
        lambda targets: write_parametric_map(
            targets, source, quantity, lambda row: shares[:, row * TILE : (row + 1) * TILE], provenance()
        ),
    )
    for path in paths:
        assert complaints("dciodvfy", path) == MAP_ERRORS
    assert complaints("dcentvfy", *converted, *paths) == set()


CHANNELS = (DerivedChannel("DAPI", "nuclei", (0, 0, 255)), DerivedChannel("CD3", "T cells", (0, 255, 0)))
IMAGES = [
    DerivedImage("virtual IHC", (DerivedChannel("1", "DAB"),), rgb=True),
    DerivedImage("virtual IHC", (DerivedChannel("1", "DAB"),), rgb=True, quality=None),
    DerivedImage("virtual stains", CHANNELS),
    DerivedImage("virtual stains", CHANNELS, bits=16),
]


def derived(folder: Path, source: SourceSlide, image: DerivedImage) -> tuple[list[Path], np.ndarray]:
    mask = masks(source)
    dtype = np.uint16 if image.bits == 16 else np.uint8
    pixels = (mask * 200).astype(dtype)
    if image.rgb:
        pixels = np.repeat(255 - pixels[:1, ..., np.newaxis], 3, axis=3)
    paths = written(
        folder,
        source,
        lambda targets: write_derived_image(
            targets, source, image, lambda row: pixels[:, row * TILE : (row + 1) * TILE], provenance()
        ),
    )
    return paths, pixels


@pytest.mark.parametrize("image", IMAGES, ids=["jpeg", "rgb", "channels", "channels-16"])
def test_derived_images_are_valid(
    image: DerivedImage, source: SourceSlide, converted: Sequence[Path], tmp_path: Path
) -> None:
    paths, _ = derived(tmp_path, source, image)
    for path in paths:
        assert complaints("dciodvfy", path) == set()
        assert parse_instance(path).warnings == ()
    assert complaints("dcentvfy", *converted, *paths) == set()


def test_wsidicom_opens_a_derived_image_as_a_slide(source: SourceSlide, tmp_path: Path) -> None:
    _, pixels = derived(tmp_path, source, IMAGES[0])
    with WsiDicom.open(tmp_path) as slide:
        assert (slide.size.width, slide.size.height) == (source.levels[FIRST].columns, source.levels[FIRST].rows)
        assert len(slide.levels) == len(source.levels) - FIRST
        region = np.asarray(slide.read_region((100, 200), 0, (400, 300)).convert("RGB")).astype(int)
    assert np.abs(region - pixels[0, 200:500, 100:500]).mean() < 3
