"""Writes one tiled instance for each level of a pyramid from one pass over the finest (PS3.3 C.7.6.17, A.32.8)."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicomsvc.errors import ModelFailure
from dicomsvc.objects.encoding import FrameEncoder, has_values
from dicomsvc.objects.part10 import Write
from dicomsvc.objects.provenance import Identity
from dicomsvc.objects.reduction import PyramidStream, Rows
from dicomsvc.objects.source import SourceLevel, SourceSlide
from dicomsvc.objects.tiled import Grid, Header, Organisation, TiledWriter, tiled_writer

Strips = Callable[[int], Rows | None]
"""Gives a row of tiles of the finest level, by its number from 0: ``(channels, rows, columns)``, of colour images
``(1, rows, columns, 3)``, without what lies beyond the slide's edge; None where there is nothing. Called once a row."""


@dataclass(frozen=True, slots=True)
class Target:
    """An instance to be written: where to, for which of the slide's levels (0 is the finest), and its name."""

    write: Write
    level: int
    identity: Identity


@dataclass(frozen=True, slots=True)
class Pixels:
    """How values become pixels.

    ``averaged`` makes of a row what means are built from; ``shown`` makes of values, or means when told so, what is
    encoded, and returns ``stored_channels`` channels.
    """

    encoder: FrameEncoder
    channels: int
    stored_channels: int
    dtype: npt.DTypeLike
    averaged: Callable[[Rows], Rows]
    shown: Callable[[Rows, bool], Rows]
    samples: int = 1


def write_levels(
    targets: Sequence[Target],
    source: SourceSlide,
    strips: Strips,
    pixels: Pixels,
    header: Callable[[Target], Header],
    organisation: Organisation,
    scratch: Path | None,
) -> None:
    """Write all targets; they are levels of the slide from fine to coarse.

    Raises
    ------
    ModelFailure
        When a row has another shape than the slide, or values that are no numbers.
    OutOfResources, TooLarge, InvalidInstance
        When frames do not fit on the disk or into an instance, or an attribute cannot be written.
    """
    levels = [source.levels[target.level] for target in targets]
    encoder = pixels.encoder
    with ExitStack() as stack:
        writers: list[TiledWriter] = []
        for target, level in zip(targets, levels, strict=True):
            grid = grid_of(level, encoder.tile, pixels.stored_channels)
            writer = tiled_writer(target.write, header(target), encoder, grid, organisation, scratch)
            writers.append(stack.enter_context(writer))

        empty = [[None] * grid_of(level, encoder.tile, 1).across for level in levels]

        def take(number: int, row: int, rows: Rows, reduced: bool) -> None:
            for channel, strip in enumerate(pixels.shown(rows, reduced)):
                frames = encoder.encode(strip, reduced=reduced) if has_values(strip) else empty[number]
                writers[number].add(channel, row, frames)

        stream = PyramidStream(levels, encoder.tile[0], take)
        nothing = np.zeros(_shape(0, levels[0], pixels), pixels.dtype)
        for row in range(-(-levels[0].rows // encoder.tile[0])):
            stream.push(_strip(strips(row), row, levels[0], pixels, nothing), pixels.averaged)
        for writer in writers:
            writer.finish()


def grid_of(level: SourceLevel, tile: tuple[int, int], channels: int) -> Grid:
    """Return the tiles of a level."""
    return Grid(-(-level.columns // tile[1]), -(-level.rows // tile[0]), channels)


def _shape(row: int, level: SourceLevel, pixels: Pixels) -> tuple[int, ...]:
    rows = min(pixels.encoder.tile[0], level.rows - row * pixels.encoder.tile[0])
    shape = (pixels.channels, rows, level.columns)
    return (*shape, pixels.samples) if pixels.samples > 1 else shape


def _strip(strip: Rows | None, row: int, level: SourceLevel, pixels: Pixels, nothing: Rows) -> Rows:
    shape = _shape(row, level, pixels)
    if strip is None:
        return nothing[:, : shape[1]]
    if strip.shape != shape:
        raise ModelFailure(f"row {row} of tiles has the shape {strip.shape}, not {shape}")
    return checked_numbers(strip)


def checked_numbers(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the values when all of them are numbers.

    Raises
    ------
    ModelFailure
        When there are NaN or infinite ones.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ModelFailure("the model gave values that are no numbers")
    return values
