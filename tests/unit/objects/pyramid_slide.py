"""Slides of several levels, as data sets and described, and files that results are written to."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from types import TracebackType
from typing import Self

import pydicom
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from dicomsvc.objects.common import code_item
from dicomsvc.objects.levels import Target
from dicomsvc.objects.provenance import Identity
from dicomsvc.objects.source import SourceSlide, source_slide
from tests.instances import wsi_dataset

SIZES = ((210, 300), (105, 150), (53, 75))
"""(rows, columns)"""


def datasets(sizes: Sequence[tuple[int, int]] = SIZES, spacing_mm: float = 0.0005) -> list[Dataset]:
    """Return the levels of a slide turned by 180 degrees, tiles of 64 pixels, without pixels."""
    base = wsi_dataset(patient_name="Wang^XiaoDong=王^小东", patient_id="病人-1")
    del base.PixelData
    base.FrameOfReferenceUID = generate_uid()
    base.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    base.ContainerTypeCodeSequence = [code_item(codes.SCT.MicroscopeSlide)]
    base.PositionReferenceIndicator = "SLIDE_CORNER"
    base.Manufacturer, base.ManufacturerModelName = "Scanner Maker", "S1"
    base.LossyImageCompression, base.LossyImageCompressionRatio = "01", "12.5"
    base.LossyImageCompressionMethod = "ISO_10918_1"
    base.AcquisitionDateTime = "20260102101112"
    base.FocusMethod = "AUTO"
    specimen = Dataset()
    specimen.SpecimenIdentifier, specimen.SpecimenUID = "S26-1-A", generate_uid()
    specimen.IssuerOfTheSpecimenIdentifierSequence, specimen.SpecimenPreparationSequence = [], []
    base.SpecimenDescriptionSequence = [specimen]
    return [_level(base, size, spacing_mm * sizes[0][1] / size[1]) for size in sizes]


def _level(base: Dataset, size: tuple[int, int], spacing_mm: float) -> Dataset:
    ds = deepcopy(base)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.TotalPixelMatrixRows, ds.TotalPixelMatrixColumns = size
    ds.NumberOfFrames = -(-size[0] // 64) * -(-size[1] // 64)
    origin = Dataset()
    origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem = "20", "40"
    ds.TotalPixelMatrixOriginSequence = [origin]
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [round(spacing_mm, 9)] * 2, 0.001
    shared.PixelMeasuresSequence = [measures]
    ds.SharedFunctionalGroupsSequence = [shared]
    return ds


def slide(sizes: Sequence[tuple[int, int]] = SIZES) -> SourceSlide:
    return source_slide(datasets(sizes))


class Files:
    """One file in a folder for each level of a slide. Use as a context, and read afterwards."""

    def __init__(self, folder: Path, source: SourceSlide, first: int = 0) -> None:
        series = generate_uid()
        levels = range(first, len(source.levels))
        self.paths = [folder / f"level-{level}.dcm" for level in levels]
        self._files = [path.open("wb") for path in self.paths]
        self.targets = [
            Target(file.write, level, Identity(series, 7, "AI result", generate_uid(), level + 1))
            for level, file in zip(levels, self._files, strict=True)
        ]

    def read(self) -> list[Dataset]:
        return [pydicom.dcmread(path) for path in self.paths]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files:
            file.close()
