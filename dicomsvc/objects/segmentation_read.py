"""Reads segmentations of slides back, ours and other people's (PS3.3 A.51)."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import JPEGLSLossless

from dicomsvc.dicom.frames import FrameIndex
from dicomsvc.dicom.json import metadata_dataset
from dicomsvc.dicom.part10 import Instance, parse_instance
from dicomsvc.dicom.uids import TRANSFER_SYNTAXES
from dicomsvc.errors import DamagedFile, InvalidInstance, NotFound, TooLarge, UnsupportedInstance
from dicomsvc.objects.codes import code_of
from dicomsvc.objects.colour import srgb_colour
from dicomsvc.objects.segmentation_dataset import LABELMAP_STORAGE, SEGMENTATION_STORAGE

_MAX_REGION_PIXELS: Final = 1 << 30
_MAX_FRAME_PIXELS: Final = 1 << 26
_END_OF_IMAGE: Final = b"\xff\xd9"


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """A segment's description; ``colour`` is sRGB."""

    number: int
    label: str
    category: Code | None
    type: Code | None
    colour: tuple[int, int, int] | None
    tracking_uid: str


@dataclass(frozen=True, slots=True, eq=False)
class StoredSegmentation:
    """One level of a segmentation. ``kind`` is Segmentation Type; ``segments`` are without the background.

    ``pixel_spacing_mm`` is the distance of rows and of columns, ``origin_mm`` the slide coordinates (x, y) of the
    centre of the top left pixel. ``maximum`` is the value that stands for a probability of 1.
    """

    path: Path
    kind: str
    segments: tuple[StoredSegment, ...]
    columns: int
    rows: int
    tile_columns: int
    tile_rows: int
    pixel_spacing_mm: tuple[float, float]
    origin_mm: tuple[float, float]
    frame_of_reference_uid: str
    container_identifier: str
    pyramid_uid: str
    maximum: int
    source_sop_instance_uids: tuple[str, ...]
    frames: FrameIndex
    placed: Mapping[tuple[int, int, int], int]
    """Frame numbers by segment (0 for all of a label map), top row and left column, both from 0."""

    def tile(self, segment: int, row: int, column: int) -> npt.NDArray[np.uint8] | None:
        """Return the tile with this place in the grid, ``(tile_rows, tile_columns)``; None where none is stored.

        BINARY 0 and 1; FRACTIONAL shares of `maximum`; LABELMAP 0 and 1 for the segment asked for, or, for segment 0,
        the numbers of the segments.

        Raises
        ------
        DamagedFile
            When the frame cannot be decoded.
        """
        labelmap = self.kind == "LABELMAP"
        number = self.placed.get((0 if labelmap else segment, row * self.tile_rows, column * self.tile_columns))
        if number is None:
            return None
        pixels = self._frame(number)
        return (pixels == segment).view(np.uint8) if labelmap and segment else pixels

    def region(self, segment: int, x: int, y: int, width: int, height: int) -> npt.NDArray[np.uint8]:
        """Return a region of the total pixel matrix, ``(height, width)``, values as in `tile`, 0 where nothing is.

        Raises
        ------
        NotFound
            When there is no such segment.
        TooLarge
            When the region is too large for memory.
        DamagedFile
            When a frame cannot be decoded.
        """
        labelmap = self.kind == "LABELMAP"
        if segment not in {each.number for each in self.segments} and not (labelmap and segment == 0):
            raise NotFound(f"there is no segment {segment}")
        if width * height > _MAX_REGION_PIXELS:
            raise TooLarge(f"a region of {width} x {height} pixels is too large to be read at once")
        region = np.zeros((height, width), np.uint8)
        for number, top, left in self._frames_in(0 if labelmap else segment, x, y, width, height):
            pixels = self._frame(number)
            if labelmap and segment:
                pixels = (pixels == segment).view(np.uint8)
            first_row, first_column = max(top, y), max(left, x)
            end_row = min(top + self.tile_rows, y + height, self.rows)
            end_column = min(left + self.tile_columns, x + width, self.columns)
            if end_row <= first_row or end_column <= first_column:
                continue  # only the padding of a tile lies there
            region[first_row - y : end_row - y, first_column - x : end_column - x] = pixels[
                first_row - top : end_row - top, first_column - left : end_column - left
            ]
        return region

    def _frames_in(self, segment: int, x: int, y: int, width: int, height: int) -> Iterator[tuple[int, int, int]]:
        for (of, top, left), number in self.placed.items():
            inside = top < y + height and top + self.tile_rows > y and left < x + width and left + self.tile_columns > x
            if of == segment and inside:
                yield number, top, left

    def _frame(self, number: int) -> npt.NDArray[np.uint8]:
        with self.path.open("rb") as file:
            data = b"".join(os.pread(file.fileno(), length, offset) for offset, length in self.frames.ranges(number))
        shape = (self.tile_rows, self.tile_columns)
        if self.frames.transfer_syntax_uid == JPEGLSLossless:
            return _decoded(data, shape)
        if len(data) * 8 < self.frames.frame_bits:
            raise DamagedFile("a frame is shorter than the data set says")
        values = np.frombuffer(data, np.uint8)
        if self.frames.bits_allocated == 1:
            start = self.frames.bit_offset(number)
            values = np.unpackbits(values, bitorder="little")[start : start + shape[0] * shape[1]]
        return values[: shape[0] * shape[1]].reshape(shape)


def read_segmentation(path: Path) -> StoredSegmentation:
    """Read what a segmentation of a slide says, and where its frames are; pixels are read when asked for.

    Raises
    ------
    NotParseable, InvalidInstance
        When the file is broken, or lacks an attribute; the message names it.
    UnsupportedInstance
        When it is no tiled segmentation, or its pixels are encoded in a way that is not read here.
    """
    instance = parse_instance(path)
    if instance.sop_class_uid not in (SEGMENTATION_STORAGE, LABELMAP_STORAGE) or instance.frames is None:
        raise UnsupportedInstance(f"instance {instance.sop_instance_uid} is no segmentation")
    try:
        return _segmentation(path, instance, instance.frames)
    except (InvalidInstance, UnsupportedInstance):
        raise
    except Exception as error:  # noqa: BLE001 - border: values of somebody else's data set
        name = type(error).__name__
        raise InvalidInstance(f"segmentation {instance.sop_instance_uid} cannot be read ({name})") from None


def _segmentation(path: Path, instance: Instance, frames: FrameIndex) -> StoredSegmentation:
    ds = Dataset.from_json(
        {tag: element for tag, element in instance.attributes.items() if not tag.startswith(("7FE", "5200"))}
    )
    everything = metadata_dataset(instance.metadata, "")
    shared = Dataset.from_json(dict(_items(everything, "52009229")[0]))
    _check_pixels(instance, frames)
    kind = str(ds.SegmentationType)
    described = [_segment(item) for item in ds.SegmentSequence]
    segments = tuple(each for each in described if each.number or kind != "LABELMAP")
    columns, rows = int(ds.TotalPixelMatrixColumns), int(ds.TotalPixelMatrixRows)
    if min(columns, rows) < 1 or frames.rows * frames.columns > _MAX_FRAME_PIXELS:
        raise InvalidInstance("the total pixel matrix is empty, or its tiles are too large")
    origin = ds.TotalPixelMatrixOriginSequence[0]
    spacing = shared.PixelMeasuresSequence[0].PixelSpacing
    channels = [0] if kind == "LABELMAP" else [segment.number for segment in segments]
    if ds.get("DimensionOrganizationType") == "TILED_FULL":
        placed = _full(frames, rows, columns, channels)
    else:
        placed = _sparse(_items(everything, "52009230"), everything, kind == "LABELMAP")
    if any(not (0 <= top < rows and 0 <= left < columns) for _, top, left in placed):
        raise InvalidInstance("a frame lies outside of the total pixel matrix")
    return StoredSegmentation(
        path=path,
        kind=kind,
        segments=segments,
        columns=columns,
        rows=rows,
        tile_columns=frames.columns,
        tile_rows=frames.rows,
        pixel_spacing_mm=(float(spacing[0]), float(spacing[1])),
        origin_mm=(float(origin.XOffsetInSlideCoordinateSystem), float(origin.YOffsetInSlideCoordinateSystem)),
        frame_of_reference_uid=str(ds.FrameOfReferenceUID),
        container_identifier=str(ds.get("ContainerIdentifier", "")),
        pyramid_uid=str(ds.get("PyramidUID", "")),
        maximum=int(ds.MaximumFractionalValue) if kind == "FRACTIONAL" else 1,
        source_sop_instance_uids=tuple(
            str(item.ReferencedSOPInstanceUID) for item in ds.get("SourceImageSequence") or ()
        ),
        frames=frames,
        placed=MappingProxyType(placed),
    )


def _check_pixels(instance: Instance, frames: FrameIndex) -> None:
    native = not TRANSFER_SYNTAXES[frames.transfer_syntax_uid].encapsulated
    readable = frames.samples_per_pixel == 1 and frames.bits_allocated in (1, 8)
    coded = frames.transfer_syntax_uid == JPEGLSLossless and frames.bits_allocated == 8
    if not readable or not (native or coded):
        raise UnsupportedInstance(f"pixels of segmentation {instance.sop_instance_uid} are not read here")


def _segment(item: Dataset) -> StoredSegment:
    colour = item.get("RecommendedDisplayCIELabValue")
    return StoredSegment(
        number=int(item.SegmentNumber),
        label=str(item.get("SegmentLabel", "")),
        category=code_of(item.get("SegmentedPropertyCategoryCodeSequence")),
        type=code_of(item.get("SegmentedPropertyTypeCodeSequence")),
        colour=srgb_colour([int(value) for value in colour]) if colour and len(colour) == 3 else None,
        tracking_uid=str(item.get("TrackingUID", "")),
    )


def _full(frames: FrameIndex, rows: int, columns: int, channels: Sequence[int]) -> dict[tuple[int, int, int], int]:
    """Place frames in the order of PS3.3 C.7.6.17.3."""
    across, down = -(-columns // frames.columns), -(-rows // frames.rows)
    if across * down * len(channels) != frames.number_of_frames:
        raise InvalidInstance("there are not as many frames as TILED_FULL asks for")
    numbers = iter(range(1, frames.number_of_frames + 1))
    return {
        (channel, row * frames.rows, column * frames.columns): next(numbers)
        for channel in channels
        for row in range(down)
        for column in range(across)
    }


def _sparse(
    groups: Sequence[Mapping[str, Any]], everything: Mapping[str, Any], labelmap: bool
) -> dict[tuple[int, int, int], int]:
    shared = _items(everything, "52009229")[0]
    placed = {}
    for number, group in enumerate(groups, 1):
        position = _items(group, "0048021A")[0]
        of = 0
        if not labelmap:
            holder = group if "0062000A" in group else shared
            of = int(_items(holder, "0062000A")[0]["0062000B"]["Value"][0])
        top, left = (int(position[tag]["Value"][0]) - 1 for tag in ("0048021F", "0048021E"))
        placed[of, top, left] = number
    return placed


def _items(ds: Mapping[str, Any], tag: str) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = ds.get(tag, {}).get("Value", ())
    if not found:
        raise InvalidInstance(f"sequence {tag} is missing")
    return found


def _decoded(data: bytes, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    # Without an end marker the codec looks for one for seconds; what it says of its size is compared before decoding.
    size = int.from_bytes(data[data.find(b"\xff\xf7") + 5 :][:2], "big"), _columns(data)
    if not data.rstrip(b"\0").endswith(_END_OF_IMAGE) or size != shape:
        raise DamagedFile("a frame is cut short, or has another size than the data set says")
    try:
        pixels = np.asarray(imagecodecs.jpegls_decode(data))
    except Exception as error:  # noqa: BLE001 - border: decoders raise whatever they like about untrusted bytes
        raise DamagedFile(f"a frame cannot be decoded ({type(error).__name__})") from None
    if pixels.shape != shape or pixels.dtype != np.uint8:
        raise DamagedFile("a frame has another size than the data set says")
    return pixels


def _columns(data: bytes) -> int:
    at = data.find(b"\xff\xf7") + 7
    return int.from_bytes(data[at : at + 2], "big")
