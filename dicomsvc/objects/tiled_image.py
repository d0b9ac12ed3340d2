"""Attributes of every tiled image of a slide: where its tiles lie (PS3.3 C.7.6.16, C.7.6.17, C.8.12.14)."""

import struct
from collections.abc import Sequence
from copy import deepcopy
from typing import Final

import numpy as np
import numpy.typing as npt
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.tag import Tag
from pydicom.uid import UID
from pydicom.valuerep import format_number_as_ds

from dicomsvc.objects.common import derived_uid
from dicomsvc.objects.source import SourceLevel, SourceSlide

_DS_LENGTH: Final = 16
_LOSSY: Final = ("LossyImageCompressionRatio", "LossyImageCompressionMethod")
_DEFAULT_THICKNESS_MM: Final = 0.001
_SEGMENT_DIMENSION: Final = ("ReferencedSegmentNumber", "SegmentIdentificationSequence")
_ROW_DIMENSION: Final = ("RowPositionInTotalImagePixelMatrix", "PlanePositionSlideSequence")
_COLUMN_DIMENSION: Final = ("ColumnPositionInTotalImagePixelMatrix", "PlanePositionSlideSequence")
_PER_FRAME_GROUPS: Final = struct.Struct("<HH2sHL")


def add_tiling(ds: Dataset, source: SourceSlide, level: SourceLevel, tile: tuple[int, int]) -> None:
    """Add the total pixel matrix, which is that of the slide's level, and tiles of ``tile`` (rows, columns)."""
    ds.Rows, ds.Columns = tile
    ds.TotalPixelMatrixRows, ds.TotalPixelMatrixColumns = level.rows, level.columns
    ds.TotalPixelMatrixFocalPlanes = 1
    origin = Dataset()
    origin.XOffsetInSlideCoordinateSystem = format_number_as_ds(level.origin_mm[0])
    origin.YOffsetInSlideCoordinateSystem = format_number_as_ds(level.origin_mm[1])
    origin.ZOffsetInSlideCoordinateSystem = "0"
    ds.TotalPixelMatrixOriginSequence = [origin]
    ds.ImageOrientationSlide = [format_number_as_ds(value) for value in source.image_orientation]
    ds.PyramidUID = UID(derived_uid("pyramid", str(ds.SeriesInstanceUID)))
    organisation = Dataset()
    organisation.DimensionOrganizationUID = UID(derived_uid("dimensions", str(ds.SeriesInstanceUID)))
    ds.DimensionOrganizationSequence = [organisation]
    # A result of a slide that lost something by compression has lost it too (PS3.3 C.7.6.1.1.5).
    ds.LossyImageCompression = source.dataset.get("LossyImageCompression") or "00"
    for keyword in _LOSSY if ds.LossyImageCompression == "01" else ():
        if source.dataset.get(keyword):
            ds.add(deepcopy(source.dataset[keyword]))


def shared_groups(source: SourceSlide, level: SourceLevel) -> Dataset:
    """Return the item of Shared Functional Groups Sequence with the pixel measures of the slide's level."""
    measures = Dataset()
    measures.PixelSpacing = [format_number_as_ds(value) for value in level.pixel_spacing_mm]
    measures.SliceThickness = format_number_as_ds(_slice_thickness(source))
    groups = Dataset()
    groups.PixelMeasuresSequence = [measures]
    return groups


def add_full_organisation(ds: Dataset, frames: int) -> None:
    """Say that all tiles are there, in the order of PS3.3 C.7.6.17.3."""
    ds.DimensionOrganizationType = "TILED_FULL"
    ds.NumberOfFrames = frames


def add_sparse_organisation(ds: Dataset, frames: int, *, segments: bool) -> None:
    """Say that tiles tell their place themselves, in `per_frame_groups`; ``segments``: and their segment."""
    ds.DimensionOrganizationType = "TILED_SPARSE"
    ds.NumberOfFrames = frames
    uid = ds.DimensionOrganizationSequence[0].DimensionOrganizationUID
    items = []
    for pointer, group in ((_SEGMENT_DIMENSION,) if segments else ()) + (_ROW_DIMENSION, _COLUMN_DIMENSION):
        item = Dataset()
        item.DimensionOrganizationUID = uid
        item.DimensionIndexPointer = Tag(tag_for_keyword(pointer) or 0)
        item.FunctionalGroupPointer = Tag(tag_for_keyword(group) or 0)
        items.append(item)
    ds.DimensionIndexSequence = items


def per_frame_groups(
    source: SourceSlide,
    level: SourceLevel,
    tile: tuple[int, int],
    numbers: npt.NDArray[np.int64],
    *,
    segments: bool,
) -> bytes:
    """Return Per-frame Functional Groups Sequence, encoded, of frames with these numbers in the full order, from 0.

    Each item has the same length, so that a hundred thousand of them are one array.
    """
    across, down = -(-level.columns // tile[1]), -(-level.rows // tile[0])
    segment, row, column = numbers // (across * down), numbers // across % down, numbers % across
    rows, columns = row * tile[0], column * tile[1]
    row_mm, column_mm = level.pixel_spacing_mm
    right, below = source.image_orientation[:2], source.image_orientation[3:5]
    offsets = [
        origin + columns * column_mm * right[axis] + rows * row_mm * below[axis]
        for axis, origin in enumerate(level.origin_mm)
    ]
    indices = [np.unique(values, return_inverse=True)[1] + 1 for values in (segment, row, column)]
    indices = indices if segments else indices[1:]
    template, places = _frame_template(len(indices), segments=segments)
    items = np.tile(np.frombuffer(template, np.uint8), (len(numbers), 1))
    _put(items, places["index"], np.stack(indices, axis=1).astype("<u4"))
    _put(items, places["x"], _decimal_strings(offsets[0]))
    _put(items, places["y"], _decimal_strings(offsets[1]))
    _put(items, places["column"], (columns + 1).astype("<i4"))
    _put(items, places["row"], (rows + 1).astype("<i4"))
    if segments:
        _put(items, places["segment"], (segment + 1).astype("<u2"))
    return _PER_FRAME_GROUPS.pack(0x5200, 0x9230, b"SQ", 0, items.size) + items.tobytes()


def _slice_thickness(source: SourceSlide) -> float:
    groups: Sequence[Dataset] = source.dataset.get("SharedFunctionalGroupsSequence") or ()
    for group in groups:
        for measures in group.get("PixelMeasuresSequence") or ():
            thickness = measures.get("SliceThickness")
            if thickness and float(thickness) > 0:
                return float(thickness)
    return _DEFAULT_THICKNESS_MM


def _frame_template(dimensions: int, *, segments: bool) -> tuple[bytes, dict[str, int]]:
    """Return an encoded item with marks in place of values, and where the marks are."""
    marks = {"x": "1111111111111111", "y": "2222222222222222", "column": 0x33333333, "row": 0x44444444}
    content = Dataset()
    content.DimensionIndexValues = [0x55555555] * dimensions
    position = Dataset()
    position.XOffsetInSlideCoordinateSystem = marks["x"]
    position.YOffsetInSlideCoordinateSystem = marks["y"]
    position.ZOffsetInSlideCoordinateSystem = "0"
    position.ColumnPositionInTotalImagePixelMatrix = marks["column"]
    position.RowPositionInTotalImagePixelMatrix = marks["row"]
    item = Dataset()
    item.FrameContentSequence = [content]
    item.PlanePositionSlideSequence = [position]
    needles = {"x": b"1" * 16, "y": b"2" * 16, "column": b"\x33" * 4, "row": b"\x44" * 4}
    needles["index"] = b"\x55" * 4 * dimensions
    if segments:
        identification = Dataset()
        identification.ReferencedSegmentNumber = 0x6666
        item.SegmentIdentificationSequence = [identification]
        needles["segment"] = b"\x66" * 2
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, item)
    body = buffer.getvalue()
    template = struct.pack("<HHL", 0xFFFE, 0xE000, len(body)) + body
    return template, {name: template.index(needle) for name, needle in needles.items()}


def _decimal_strings(values: npt.NDArray[np.float64]) -> npt.NDArray[np.bytes_]:
    return np.array([format_number_as_ds(value).ljust(_DS_LENGTH) for value in values.tolist()], "S16")


def _put(items: npt.NDArray[np.uint8], place: int, values: npt.NDArray[np.generic]) -> None:
    data = np.ascontiguousarray(values).view(np.uint8).reshape(len(items), -1)
    items[:, place : place + data.shape[1]] = data
