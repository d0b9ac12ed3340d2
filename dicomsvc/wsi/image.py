"""One stored image of a slide (PS3.3 C.8.12)."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from dicomsvc.dicom.json import Metadata, metadata_dataset
from dicomsvc.errors import TooLarge
from dicomsvc.store import InstanceRecord, Store
from dicomsvc.wsi.attributes import Dataset, item, numbers, texts
from dicomsvc.wsi.codecs import Pixels, sample_type
from dicomsvc.wsi.frame_reader import FrameReader, open_frames
from dicomsvc.wsi.tiling import Tiling, read_tiling

MAX_REGION_BYTES: Final = 1 << 29


@dataclass(frozen=True, slots=True, eq=False)
class StoredImage:
    """One instance with pixels.

    ``dataset`` is its DICOM JSON; ``flavour`` the third value of Image Type (``VOLUME``, ``LABEL``, …);
    ``pixel_spacing_mm`` the distance of rows and of columns, 0 where it is not known.
    """

    record: InstanceRecord
    reader: FrameReader
    tiling: Tiling
    dataset: Dataset
    metadata: Metadata
    flavour: str
    pixel_spacing_mm: tuple[float, float]

    @property
    def columns(self) -> int:
        return self.tiling.total_columns

    @property
    def rows(self) -> int:
        return self.tiling.total_rows

    def read_region(
        self,
        x: int,
        y: int,
        width: int,
        height: int,
        channel: int = 0,
        *,
        decoded: Callable[[int], Pixels] | None = None,
    ) -> Pixels:
        """Return a region of the total pixel matrix as an array ``(rows, columns, samples)``.

        Colour is RGB. What lies outside of the matrix or in no tile is white in colour images, 0 in others.
        ``decoded`` gives a frame by its number; without it each is decoded anew.

        Raises
        ------
        TooLarge
            When the region would take more memory than one may have.
        NotFound, DamagedFile, NotAcceptable
            When its frames cannot be read.
        """
        index = self.reader.index
        dtype = sample_type(index)
        if width * height * index.samples_per_pixel * dtype.itemsize > MAX_REGION_BYTES:
            raise TooLarge(f"a region of {width} x {height} pixels is too large to be read at once")
        background = 255 if index.samples_per_pixel == 3 and dtype == np.uint8 else 0
        region = np.full((height, width, index.samples_per_pixel), background, dtype)
        for placed in self.tiling.placements(x, y, width, height, channel):
            tile = (decoded or self.reader.decoded)(placed.frame_number)
            left, top = max(placed.x, x), max(placed.y, y)
            right = min(placed.x + tile.shape[1], x + width, self.columns)
            bottom = min(placed.y + tile.shape[0], y + height, self.rows)
            region[top - y : bottom - y, left - x : right - x] = tile[
                top - placed.y : bottom - placed.y, left - placed.x : right - placed.x
            ]
        return region


def open_image(store: Store, record: InstanceRecord, metadata: Metadata) -> StoredImage:
    """Open one stored instance.

    Raises
    ------
    NotFound
        When it has no pixel data, or was deleted meanwhile.
    """
    reader = open_frames(store, record)
    ds = metadata_dataset(metadata, "")
    kind = texts(ds, "00080008")
    return StoredImage(
        record=record,
        reader=reader,
        tiling=read_tiling(ds, reader.index),
        dataset=ds,
        metadata=metadata,
        flavour=kind[2] if len(kind) > 2 else "",
        pixel_spacing_mm=_pixel_spacing(ds),
    )


def _pixel_spacing(ds: Dataset) -> tuple[float, float]:
    candidates: Iterable[Dataset] = (
        item(ds, "52009229", "00289110"),
        item(ds, "52009230", "00289110"),
        ds,
    )
    for each in candidates:
        spacing = numbers(each, "00280030")
        if len(spacing) == 2 and all(0 < value < math.inf for value in spacing):
            return spacing[0], spacing[1]
    return 0.0, 0.0
