"""Writes segmentations of slides, tile by tile (PS3.3 A.51, C.8.20)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from dicomsvc.errors import ModelFailure
from dicomsvc.objects.encoding import BitEncoder, ByteEncoder, FrameEncoder, JpegLsEncoder, has_values
from dicomsvc.objects.levels import Pixels, Strips, Target, checked_numbers, grid_of, write_levels
from dicomsvc.objects.part10 import Write, header
from dicomsvc.objects.provenance import FindingClass, Identity, Provenance
from dicomsvc.objects.reduction import Rows
from dicomsvc.objects.segmentation_dataset import (
    LABELMAP_STORAGE,
    SEGMENTATION_STORAGE,
    add_only_segment,
    segmentation_dataset,
)
from dicomsvc.objects.source import SourceSlide
from dicomsvc.objects.tiled import Header, Organisation, tiled_writer
from dicomsvc.objects.tiled_image import add_full_organisation, add_sparse_organisation, per_frame_groups

__all__ = [
    "LABELMAP_STORAGE",
    "SEGMENTATION_STORAGE",
    "Organisation",
    "SegmentationKind",
    "SegmentationOptions",
    "Target",
    "write_segmentation",
    "write_segmentation_pyramid",
]
_HALF: Final = 128


class SegmentationKind(StrEnum):
    """Segmentation Type."""

    BINARY = "BINARY"
    """One bit a pixel and segment."""
    FRACTIONAL = "FRACTIONAL"
    """Probability in 255 steps. Viewers want one segment an object."""
    LABELMAP = "LABELMAP"
    """The number of the segment, 0 for none; for readers of the 2024 standard and later."""


@dataclass(frozen=True, slots=True)
class SegmentationOptions:
    """How a segmentation is written.

    ``tile_size`` is a multiple of 8; ``compress``: FRACTIONAL and LABELMAP as JPEG-LS without loss; ``overlap``:
    whether segments share pixels, None where that is not known; ``scratch``: a folder for frames that have to wait.
    """

    kind: SegmentationKind = SegmentationKind.BINARY
    organisation: Organisation = Organisation.AUTO
    tile_size: int = 256
    compress: bool = True
    overlap: bool | None = None
    scratch: Path | None = None

    def __post_init__(self) -> None:
        if self.tile_size < 8 or self.tile_size % 8 or self.tile_size > 65528:
            raise ValueError("tile_size is a multiple of 8 up to 65528")


def write_segmentation(
    write: Write,
    source: SourceSlide,
    level: int,
    classes: Sequence[FindingClass],
    frames: Iterable[npt.NDArray[Any]],
    identity: Identity,
    provenance: Provenance,
    options: SegmentationOptions = SegmentationOptions(),
) -> None:
    """Write one instance for one level of the slide.

    ``frames`` are all tiles, ``(tile_size, tile_size)``, by class, row and column of tiles (PS3.3 C.7.6.17.3). BINARY:
    what is not zero belongs to the class. FRACTIONAL: uint8 shares of 255, or floating point from 0 to 1. LABELMAP: one
    set of tiles with numbers of classes from 1. What lies beyond the slide's edge is cleared.

    Raises
    ------
    ModelFailure
        When tiles are too few, too many, of another shape, or no numbers.
    OutOfResources, TooLarge, InvalidInstance
        As `write_segmentation_pyramid`.
    """
    described = source.levels[level]
    encoder, size = _encoder(options), options.tile_size
    stored = 1 if options.kind is SegmentationKind.LABELMAP else len(classes)
    grid = grid_of(described, (size, size), stored)
    head = _header(Target(write, level, identity), source, classes, provenance, options)
    remaining = iter(frames)
    with tiled_writer(write, head, encoder, grid, _organisation(options, stored), options.scratch) as writer:
        for number in range(stored * grid.down):
            channel, row = divmod(number, grid.down)
            strip = _joined(remaining, grid.across, size)
            strip = strip[: described.rows - row * size, : described.columns]
            writer.add(channel, row, encoder.encode(_values(strip, options.kind)))
        if next(remaining, None) is not None:
            raise ModelFailure("there are more tiles than the level has")
        writer.finish()


def write_segmentation_pyramid(
    targets: Sequence[Target],
    source: SourceSlide,
    classes: Sequence[FindingClass],
    strips: Strips,
    provenance: Provenance,
    options: SegmentationOptions = SegmentationOptions(),
) -> None:
    """Write one instance for each target, from fine to coarse; all have one series and the same segments.

    ``strips`` gives rows of ``options.tile_size`` pixels of the finest target's level, one channel a class, values as
    in `write_segmentation` (LABELMAP too gets masks). A pixel of a coarser level is the mean of the finer ones under
    it: it belongs to a class of BINARY and LABELMAP when at least half of its area does.

    Raises
    ------
    ModelFailure
        When a row has another shape than the slide, or values that are no numbers.
    OutOfResources
        When the disk is full.
    TooLarge
        When an instance would have more than 4 GB of uncompressed pixels.
    InvalidInstance
        When a label or a name cannot be written.
    """
    labels = options.kind is SegmentationKind.LABELMAP
    stored = 1 if labels else len(classes)
    room = np.empty((len(classes), options.tile_size, source.levels[targets[0].level].columns), np.uint8)
    pixels = Pixels(
        encoder=_encoder(options),
        channels=len(classes),
        stored_channels=stored,
        dtype=np.uint8,
        averaged=partial(_shares, kind=options.kind, room=room),
        shown=_labels if labels else partial(_shown, kind=options.kind),
    )
    write_levels(
        targets,
        source,
        strips,
        pixels,
        lambda target: _header(target, source, classes, provenance, options),
        _organisation(options, stored),
        options.scratch,
    )


def _encoder(options: SegmentationOptions) -> FrameEncoder:
    tile = (options.tile_size, options.tile_size)
    if options.kind is SegmentationKind.BINARY:
        return BitEncoder(tile)
    return JpegLsEncoder(tile) if options.compress else ByteEncoder(tile)


def _organisation(options: SegmentationOptions, channels: int) -> Organisation:
    # Viewers draw nothing of FRACTIONAL with several segments unless each frame names its segment.
    several = options.kind is SegmentationKind.FRACTIONAL and channels > 1
    return Organisation.SPARSE if several and options.organisation is Organisation.AUTO else options.organisation


def _joined(frames: Iterator[npt.NDArray[Any]], across: int, size: int) -> npt.NDArray[Any]:
    row = list(islice(frames, across))
    if len(row) < across:
        raise ModelFailure("there are fewer tiles than the level has")
    if any(frame.shape != (size, size) for frame in row):
        raise ModelFailure(f"a tile is not {size} x {size} pixels")
    return np.concatenate([checked_numbers(frame) for frame in row], axis=1)


def _values(values: npt.NDArray[Any], kind: SegmentationKind) -> npt.NDArray[Any]:
    if kind is SegmentationKind.BINARY:
        return values if values.dtype in (np.bool_, np.uint8) else values != 0
    if kind is SegmentationKind.LABELMAP:
        return values.astype(np.uint8, copy=False)
    return _fractions(values)


def _fractions(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.view(np.uint8) * np.uint8(255)
    if values.dtype.kind != "f" or (values.size and not (values.min() >= 0 and values.max() <= 1)):
        raise ModelFailure("probabilities are not between 0 and 1")
    return np.rint(values * np.float32(255)).astype(np.uint8)


def _shares(rows: Rows, kind: SegmentationKind, room: Rows | None = None) -> Rows:
    """Return shares of 255, in ``room`` where there is some: fresh memory for each row costs more than the work."""
    if kind is SegmentationKind.FRACTIONAL:
        return _fractions(rows)
    masks = _values(rows, SegmentationKind.BINARY).view(np.uint8)
    if not has_values(masks):
        return masks
    shares = np.empty(rows.shape, np.uint8) if room is None else room[:, : rows.shape[1]]
    for channel, mask in enumerate(masks):
        cv2.compare(mask, 0, cv2.CMP_NE, dst=shares[channel])  # type: ignore[call-overload]
    return shares


def _shown(rows: Rows, reduced: bool, kind: SegmentationKind) -> Rows:
    return rows if reduced else _values(rows, kind)


def _labels(rows: Rows, reduced: bool) -> Rows:
    """Return the number of the class with the largest share, the first of equals, where that is half or more."""
    labels = np.zeros((1, *rows.shape[1:]), np.uint8)
    if not has_values(rows):
        return labels
    if not reduced:
        for number in range(len(rows), 0, -1):
            np.copyto(labels[0], number, where=rows[number - 1] != 0)
        return labels
    best = np.full(rows.shape[1:], _HALF - 1, np.uint8)
    for number, shares in enumerate(rows, 1):
        np.copyto(labels[0], number, where=shares > best)
        np.maximum(best, shares, out=best)
    return labels


def _header(
    target: Target,
    source: SourceSlide,
    classes: Sequence[FindingClass],
    provenance: Provenance,
    options: SegmentationOptions,
) -> Header:
    level, size = source.levels[target.level], options.tile_size
    segments = options.kind is not SegmentationKind.LABELMAP
    syntax = _encoder(options).transfer_syntax_uid

    def make(numbers: npt.NDArray[np.int64] | None, count: int, length: int) -> bytes:
        ds = segmentation_dataset(
            source, level, classes, target.identity, provenance, str(options.kind), (size, size), options.overlap
        )
        if numbers is None:
            add_full_organisation(ds, count)
            if segments and len(classes) == 1:
                add_only_segment(ds)
            return header(ds, syntax)
        add_sparse_organisation(ds, count, segments=segments)
        return header(ds, syntax) + per_frame_groups(source, level, (size, size), numbers, segments=segments)

    return make
