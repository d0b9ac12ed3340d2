"""A stored slide as a pyramid of levels (PS3.3 C.8.12, A.32.8)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dicomsvc.errors import NotFound
from dicomsvc.store import Store
from dicomsvc.wsi.attributes import item, numbers, text
from dicomsvc.wsi.codecs import Pixels
from dicomsvc.wsi.image import StoredImage, open_image
from dicomsvc.wsi.joining import joined

_FLAVOURS: Final = ("LABEL", "OVERVIEW", "THUMBNAIL")
_SAME_EXTENT_PIXELS: Final = 2
_APART: Final = 0.1
"""Share of an image's extent: two images whose corners lie farther apart show different parts of the slide."""


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


def open_slide(
    store: Store, study_instance_uid: str, series_instance_uid: str, *, like: StoredImage | None = None
) -> Slide:
    """Open the images of a series.

    With ``like`` the levels are the instances of the pyramid that this image belongs to. Without it they are those of
    the largest pyramid, one image each (see `joined`), and cover the same part of the glass.

    Raises
    ------
    NotFound
        When there are none.
    UnfitSlide
        When a part of a concatenation is missing.
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
    others = tuple(image for image in images if image.record.key not in chosen)
    if like is None:
        levels = joined([image for image in levels if _same_extent(levels[0], image)])
    else:
        levels = [image for image in levels if image.tiling.channels == like.tiling.channels]
    return Slide(tuple(levels), others)


def _size(image: StoredImage) -> int:
    return image.columns * image.rows


def _same_pyramid(one: StoredImage, other: StoredImage) -> bool:
    """Whether two images show the same thing in other sizes."""
    return (
        _identity(one) == _identity(other)
        and math.isclose(one.columns / one.rows, other.columns / other.rows, rel_tol=0.2)
        and not _lies_apart(one, other)
    )


def _identity(image: StoredImage) -> Sequence[object]:
    ds, index = image.dataset, image.reader.index
    frame_of_reference, pyramid = text(ds, "00200052"), text(ds, "00080019")
    # Fluorescence has optical paths in instances of their own, which are levels of one pyramid all the same.
    paths = image.tiling.channels if index.samples_per_pixel == 3 else ()
    return (
        image.record.sop_class_uid,
        index.samples_per_pixel,
        index.bits_allocated,
        paths,
        frame_of_reference,
        pyramid,
    )


def _lies_apart(one: StoredImage, other: StoredImage) -> bool:
    """Whether the corners tell that two images show different parts of the slide."""
    corners = [_corner(image) for image in (one, other)]
    if corners[0] is None or corners[1] is None or not all(one.pixel_spacing_mm):
        return False
    extent = max(one.columns * one.pixel_spacing_mm[1], one.rows * one.pixel_spacing_mm[0])
    return math.dist(corners[0], corners[1]) > _APART * extent


def _corner(image: StoredImage) -> tuple[float, float] | None:
    origin = item(image.dataset, "00480008")
    x, y = numbers(origin, "0040072A"), numbers(origin, "0040073A")
    return (x[0], y[0]) if x and y else None


def _same_extent(base: StoredImage, level: StoredImage) -> bool:
    """Whether a level covers what the base covers, but for rounding of its size."""
    sizes = ((base.rows, level.rows), (base.columns, level.columns))
    for fine, coarse, (of_base, of_level) in zip(base.pixel_spacing_mm, level.pixel_spacing_mm, sizes, strict=True):
        if (
            fine > 0
            and coarse > 0
            and abs(of_base * fine - of_level * coarse) > _SAME_EXTENT_PIXELS * max(fine, coarse)
        ):
            return False
    return True
