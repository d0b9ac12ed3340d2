"""A stored slide as a pyramid of levels (PS3.3 C.8.12, A.32.8)."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from dicomsvc.dicom.json import Metadata, metadata_dataset
from dicomsvc.errors import NotFound, TooLarge
from dicomsvc.store import InstanceRecord, Store
from dicomsvc.wsi.attributes import Dataset, item, numbers, text, texts
from dicomsvc.wsi.codecs import Pixels, sample_type
from dicomsvc.wsi.frame_reader import FrameReader, open_frames
from dicomsvc.wsi.tiling import Tiling, read_tiling

MAX_REGION_BYTES: Final = 1 << 29
_FLAVOURS: Final = ("LABEL", "OVERVIEW", "THUMBNAIL")


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


@dataclass(frozen=True, slots=True, eq=False)
class Slide:
    """The images of one series. ``levels`` are those of the pyramid, the finest first."""

    levels: tuple[StoredImage, ...]
    others: tuple[StoredImage, ...]

    def read_region(self, level: int, x: int, y: int, width: int, height: int, channel: int = 0) -> Pixels:
        """Return a region of a level, in that level's own pixels; see `StoredImage.read_region`."""
        return self.levels[level].read_region(x, y, width, height, channel)

    def flavour(self, name: str) -> StoredImage | None:
        """Return the label, the overview or the thumbnail."""
        return next((image for image in self.others if image.flavour == name), None)

    def coarser(self, image: StoredImage, columns: int, rows: int) -> StoredImage:
        """Return the coarsest level that still has so many pixels, of the pyramid that ``image`` is a level of."""
        if image.record.key not in {level.record.key for level in self.levels}:
            return image
        fitting = [level for level in self.levels if level.columns >= columns and level.rows >= rows]
        coarsest = min(fitting, key=lambda level: level.columns, default=image)
        return coarsest if coarsest.columns <= image.columns else image


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


def open_slide(
    store: Store, study_instance_uid: str, series_instance_uid: str, *, like: StoredImage | None = None
) -> Slide:
    """Open the images of a series; with ``like`` the levels are those of the pyramid that this image belongs to.

    Raises
    ------
    NotFound
        When there are none.
    """
    records = [
        record
        for record in store.instances.find(study_instance_uid, series_instance_uid)
        if record.number_of_frames and not record.damaged
    ]
    images = [open_image(store, *found) for found in store.instances.metadata(records)]
    if not images:
        raise NotFound(f"series {series_instance_uid} has no images")
    volumes = [image for image in images if image.flavour not in _FLAVOURS]
    reference = like or max(volumes, key=_size, default=None)
    levels = [] if reference is None else [image for image in volumes if _same_pyramid(reference, image)]
    levels.sort(key=_size, reverse=True)
    chosen = {image.record.key for image in levels}
    return Slide(tuple(levels), tuple(image for image in images if image.record.key not in chosen))


def _size(image: StoredImage) -> int:
    return image.columns * image.rows


def _same_pyramid(one: StoredImage, other: StoredImage) -> bool:
    """Whether two images show the same thing in other sizes."""
    return _identity(one) == _identity(other) and math.isclose(
        one.columns / one.rows, other.columns / other.rows, rel_tol=0.2
    )


def _identity(image: StoredImage) -> Sequence[object]:
    ds, index = image.dataset, image.reader.index
    frame_of_reference, pyramid = text(ds, "00200052"), text(ds, "00080019")
    kind = (image.record.sop_class_uid, index.samples_per_pixel, index.bits_allocated, image.tiling.channels)
    return (*kind, frame_of_reference, pyramid)


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
