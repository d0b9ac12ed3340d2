"""Slides as other writers lay them out, made of pixels: sparse, with focal planes, in parts, turned, poor in words."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from tests.instances import VL_WHOLE_SLIDE, part10

Picture = npt.NDArray[Any]
SPACING_MM = 0.0005


def item(**values: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def level(
    planes: Sequence[Picture],
    uids: tuple[str, str, str],
    *,
    factor: int = 1,
    tile: int = 256,
    sparse: bool = False,
    focal_planes: int = 1,
    paths: Sequence[str] = ("1",),
    origin: tuple[float, float] = (20.0, 40.0),
    height: float = 0.0,
) -> Dataset:
    """Return one image of ``planes``: of each optical path its focal planes, ``(rows, columns, samples)``."""
    rows, columns, samples = planes[0].shape
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = VL_WHOLE_SLIDE, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = uids
    ds.Modality, ds.PatientID, ds.PatientName = "SM", "T-1", "Slide^Test"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE" if factor == 1 else "RESAMPLED"]
    ds.Rows = ds.Columns = tile
    ds.TotalPixelMatrixRows, ds.TotalPixelMatrixColumns, ds.TotalPixelMatrixFocalPlanes = rows, columns, focal_planes
    ds.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    ds.TotalPixelMatrixOriginSequence = [
        item(XOffsetInSlideCoordinateSystem=origin[0], YOffsetInSlideCoordinateSystem=origin[1])
    ]
    ds.TotalPixelMatrixOriginSequence[0].ZOffsetInSlideCoordinateSystem = height
    bits = planes[0].dtype.itemsize * 8
    ds.SamplesPerPixel, ds.PhotometricInterpretation = samples, "RGB" if samples == 3 else "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits, bits - 1, 0
    if samples == 3:
        ds.PlanarConfiguration = 0
    ds.OpticalPathSequence = [item(OpticalPathIdentifier=path, OpticalPathDescription=path) for path in paths]
    measures = item(PixelSpacing=[SPACING_MM * factor] * 2, SliceThickness=0.001)
    ds.SharedFunctionalGroupsSequence = [item(PixelMeasuresSequence=[measures])]
    frames, places = [], []
    for number, plane in enumerate(planes):
        for y in range(0, rows, tile):
            for x in range(0, columns, tile):
                frame = np.full((tile, tile, samples), 255 if samples == 3 else 0, plane.dtype)
                part = plane[y : y + tile, x : x + tile]
                frame[: part.shape[0], : part.shape[1]] = part
                frames.append(frame)
                places.append(_place(x, y, number % focal_planes, paths[number // focal_planes]))
    if sparse:
        order = np.random.default_rng(0).permutation(len(frames))
        frames, places = [frames[i] for i in order], [places[i] for i in order]
        ds.PerFrameFunctionalGroupsSequence = places
    ds.DimensionOrganizationType = "TILED_SPARSE" if sparse else "TILED_FULL"
    ds.NumberOfFrames = len(frames)
    ds.PixelData = b"".join(frame.tobytes() for frame in frames)
    ds["PixelData"].VR = "OW"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def _place(x: int, y: int, plane: int, path: str) -> Dataset:
    position = item(ColumnPositionInTotalImagePixelMatrix=x + 1, RowPositionInTotalImagePixelMatrix=y + 1)
    position.ZOffsetInSlideCoordinateSystem = float(plane)
    return item(
        PlanePositionSlideSequence=[position],
        OpticalPathIdentificationSequence=[item(OpticalPathIdentifier=path)],
    )


def concatenation(ds: Dataset, parts: int) -> list[Dataset]:
    """Split an image (PS3.3 C.7.6.16.2.2.4)."""
    frame_bytes = len(ds.PixelData) // ds.NumberOfFrames
    each = -(-ds.NumberOfFrames // parts)
    made = []
    for number in range(parts):
        first, end = number * each, min(ds.NumberOfFrames, (number + 1) * each)
        part = copy.deepcopy(ds)
        part.SOPInstanceUID = generate_uid()
        part.ConcatenationUID = f"{ds.SOPInstanceUID}.1"[:64]
        part.InConcatenationNumber, part.InConcatenationTotalNumber = number + 1, parts
        part.ConcatenationFrameOffsetNumber = first
        part.NumberOfFrames = end - first
        part.PixelData = ds.PixelData[first * frame_bytes : end * frame_bytes]
        if "PerFrameFunctionalGroupsSequence" in ds:
            part.PerFrameFunctionalGroupsSequence = ds.PerFrameFunctionalGroupsSequence[first:end]
        made.append(part)
    return made


def file_of(ds: Dataset) -> bytes:
    """Return the Part 10 file."""
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    return part10(ds)


def uids() -> tuple[str, str, str]:
    """Return new UIDs of study, series and frame of reference."""
    return generate_uid(), generate_uid(), generate_uid()


def halved(picture: Picture) -> Picture:
    rows, columns = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2
    wide = picture[:rows, :columns].astype(np.uint32)
    mean = (wide[0::2, 0::2] + wide[1::2, 0::2] + wide[0::2, 1::2] + wide[1::2, 1::2] + 2) // 4
    return mean.astype(picture.dtype)
