"""What a conversion asks of a slide, whatever its format."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.unsignedinteger[Any]]
"""Decoded pixels, ``(rows, columns, samples)``; samples is 1 or 3 (RGB)."""

Associated = Literal["label", "overview", "thumbnail"]


@dataclass(frozen=True, slots=True)
class StoredTiles:
    """Compressed tiles of one level and channel as they lie in a file, row by row from the top left.

    Parameters
    ----------
    descriptor
        Open file to ``pread`` from.
    offsets, counts
        Where each tile lies; a count of 0 is a tile that the scanner left out.
    tables
        The TIFF's JPEGTables, an abbreviated stream with ``SOI`` and ``EOI``; ``None`` when tiles are complete.
    colour
        What the file says the components are.
    """

    descriptor: int
    codec: Literal["jpeg", "jpeg2000"]
    offsets: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    tables: bytes | None
    colour: Literal["monochrome", "rgb", "ycbcr"]
    tile_columns: int
    tile_rows: int
    bits: int = 8


class SourceLevel(Protocol):
    """One resolution of the slide."""

    @property
    def columns(self) -> int: ...

    @property
    def rows(self) -> int: ...

    @property
    def tile_columns(self) -> int: ...

    @property
    def tile_rows(self) -> int: ...

    def read(self, channel: int, column: int, row: int, columns: int, rows: int) -> Pixels:
        """Decode a region that lies inside the level; may be called from several threads."""
        ...

    @property
    def downsample(self) -> float | None:
        """How much coarser than the finest level, where the format says so; else the sizes tell."""
        ...

    def stored(self, channel: int) -> StoredTiles | None:
        """Return the tiles as stored, when frames could be made of them without decoding."""
        ...


class LosslessTiles(Protocol):
    """A level whose tiles are cut out of larger compressed pieces without decoding them."""

    colour: Literal["monochrome", "rgb", "ycbcr"]

    def tiles(self, tile_row: int) -> Sequence[bytes]:
        """Return one row of complete JPEG streams, each of exactly the tile size."""
        ...


@dataclass(frozen=True, slots=True)
class Channel:
    """One optical path. ``name`` is what the file calls it; wavelengths in nanometres."""

    name: str | None = None
    excitation_nm: float | None = None
    emission_nm: float | None = None


@dataclass(frozen=True, slots=True)
class Properties:
    """What the file says about how it was made; all of it may be missing."""

    manufacturer: str | None = None
    model_name: str | None = None
    device_serial_number: str | None = None
    software_versions: tuple[str, ...] = ()
    acquired: dt.datetime | None = None
    magnification: float | None = None
    barcode: str | None = None


class SlideSource(Protocol):
    """An open slide. Levels run from the finest to the coarsest; ``spacing_um`` is (column, row) of the finest."""

    format: str
    levels: Sequence[SourceLevel]
    channels: Sequence[Channel]
    samples_per_pixel: int
    bits: int
    fluorescence: bool
    lossless: bool
    subsampled: bool
    spacing_um: tuple[float, float] | None
    properties: Properties
    icc_profile: bytes | None
    associated: Mapping[Associated, Callable[[], Pixels]]

    @property
    def background(self) -> int: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class SlideDescription:
    """The plain part of a :class:`SlideSource`, for sources to inherit."""

    format: str
    levels: Sequence[SourceLevel]
    channels: Sequence[Channel]
    samples_per_pixel: int
    bits: int
    fluorescence: bool
    lossless: bool
    subsampled: bool
    spacing_um: tuple[float, float] | None
    properties: Properties
    icc_profile: bytes | None
    associated: Mapping[Associated, Callable[[], Pixels]]

    @property
    def background(self) -> int:
        """Sample value of glass without tissue."""
        return 0 if self.fluorescence else (1 << self.bits) - 1
