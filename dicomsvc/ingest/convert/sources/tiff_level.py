"""One resolution of a tiled TIFF: decoded regions, and the tiles as they are stored."""

import math
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from dicomsvc.errors import ConversionError, TruncatedSlide
from dicomsvc.ingest.convert.codec import decode_tile
from dicomsvc.ingest.convert.sources.base import Pixels, StoredTiles

JPEG: Final = 7
_JPEG2000: Final = frozenset({33003, 33004, 33005, 34712})
_APERIO_YCBCR: Final = 33003
# Decoded; a tile or strip beyond this is no slide's, and would let a tiny file ask for any amount of memory.
MAX_CHUNK_BYTES: Final = 192 << 20
_CACHE_BYTES: Final = 64 << 20
_WHITE_IS_ZERO, _RGB, _YCBCR = 0, 2, 6


class TileCache:
    """The tiles decoded last, bounded in bytes, for readers whose regions do not fall on tiles."""

    def __init__(self) -> None:
        self._tiles: OrderedDict[tuple[int, int], Pixels] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: tuple[int, int]) -> Pixels | None:
        with self._lock:
            tile = self._tiles.get(key)
            if tile is not None:
                self._tiles.move_to_end(key)
            return tile

    def put(self, key: tuple[int, int], tile: Pixels) -> None:
        with self._lock:
            if key not in self._tiles:
                self._tiles[key] = tile
                self._bytes += tile.nbytes
            while self._bytes > _CACHE_BYTES and len(self._tiles) > 1:
                self._bytes -= self._tiles.popitem(last=False)[1].nbytes


class TiffPlane:
    """The tiles of one TIFF page (one channel of one level).

    Raises
    ------
    TruncatedSlide
        When a tile lies beyond the end of the file.
    ConversionError
        When the page is of a kind that cannot be converted, or its tile table does not fit its size.
    """

    def __init__(self, page: Any, descriptor: int, background: int) -> None:
        self.page = page
        self.columns: int = page.imagewidth
        self.rows: int = page.imagelength
        self.tile_columns: int = page.tilewidth
        self.tile_rows: int = page.tilelength
        self.samples = 3 if page.samplesperpixel >= 3 else 1
        self.bits: int = page.bitspersample
        self._descriptor = descriptor
        self._background = background
        self._check_kind()
        self.offsets: npt.NDArray[np.int64] = np.asarray(page.dataoffsets, np.int64)
        self.counts: npt.NDArray[np.int64] = np.asarray(page.databytecounts, np.int64)
        self._across = math.ceil(self.columns / self.tile_columns)
        self._tiles = self._across * math.ceil(self.rows / self.tile_rows)
        self._check_table()

    def _check_kind(self) -> None:
        page = self.page
        if page.bitspersample not in (8, 16) or page.dtype is None or page.dtype.kind != "u":
            raise ConversionError(f"Pixels of {page.bitspersample} bits of this kind cannot be converted")
        if page.photometric not in (_WHITE_IS_ZERO, 1, _RGB, _YCBCR):
            raise ConversionError(f"Photometric interpretation {int(page.photometric)} cannot be converted")
        if min(self.columns, self.rows, self.tile_columns, self.tile_rows) < 1:
            raise ConversionError("The TIFF declares an empty image")
        size = self.tile_columns * self.tile_rows * page.samplesperpixel * page.bitspersample // 8
        if size > MAX_CHUNK_BYTES or max(self.tile_columns, self.tile_rows) > 0xFFFF:
            raise ConversionError(f"Tiles of {self.tile_columns} x {self.tile_rows} are too large")

    def _check_table(self) -> None:
        expected = self._tiles * (self.page.samplesperpixel if self.separate else 1)
        if len(self.offsets) < expected or len(self.counts) < expected:
            raise ConversionError("The TIFF declares an image larger than its tiles")
        check_extent(self.offsets, self.counts, os.fstat(self._descriptor).st_size)

    @property
    def separate(self) -> bool:
        """Whether samples lie in planes of their own."""
        return bool(self.page.planarconfig == 2 and self.page.samplesperpixel > 1)

    @property
    def lossless(self) -> bool:
        return self.page.compression != JPEG and int(self.page.compression) not in _JPEG2000

    def stored(self) -> StoredTiles | None:
        codec = self._codec()
        if codec is None or self.separate or self.page.samplesperpixel not in (1, 3):
            return None
        return StoredTiles(
            descriptor=self._descriptor,
            codec=codec,
            offsets=self.offsets[: self._tiles],
            counts=self.counts[: self._tiles],
            tables=self.page.jpegtables,
            colour=self._colour(),
            tile_columns=self.tile_columns,
            tile_rows=self.tile_rows,
            bits=self.bits,
        )

    def _codec(self) -> Literal["jpeg", "jpeg2000"] | None:
        if self.page.photometric == _WHITE_IS_ZERO:
            return None
        if self.page.compression == JPEG and self.bits == 8:
            return "jpeg"
        return "jpeg2000" if int(self.page.compression) in _JPEG2000 else None

    def _colour(self) -> Literal["monochrome", "rgb", "ycbcr"]:
        if self.samples == 1:
            return "monochrome"
        if int(self.page.compression) == _APERIO_YCBCR or self.page.photometric == _YCBCR:
            return "ycbcr"
        return "rgb"

    def tile(self, index: int) -> Pixels:
        """Decode one whole tile, numbered row by row from 0."""
        planes = range(self.page.samplesperpixel if self.separate else 1)
        parts = [self._chunk(index + plane * self._tiles) for plane in planes]
        tile = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
        if self.page.photometric == _WHITE_IS_ZERO:
            tile = ~tile
        return tile[:, :, : self.samples]

    def _chunk(self, index: int) -> Pixels:
        count = int(self.counts[index])
        if count == 0 or self.offsets[index] == 0:
            samples = 1 if self.separate else self.page.samplesperpixel
            shape = (self.tile_rows, self.tile_columns, samples)
            return np.full(shape, self._background, self.page.dtype)
        data = os.pread(self._descriptor, count, int(self.offsets[index]))
        stored = self.stored()
        if stored is not None:
            return decode_tile(data, stored)
        return decode_segment(self.page, data, index)


def decode_segment(page: Any, data: bytes, index: int) -> Pixels:
    """Decode a tile or strip with tifffile, to ``(rows, columns, samples)``.

    Raises
    ------
    ConversionError
        When it is damaged.
    """
    try:
        segment = page.decode(data, index, jpegtables=page.jpegtables)[0]
    except Exception as error:  # noqa: BLE001 (border: codecs on untrusted bytes raise anything)
        raise ConversionError(f"A part of the image cannot be decoded ({type(error).__name__})") from None
    if segment is None or segment.ndim != 4:
        raise ConversionError("A part of the image cannot be decoded")
    pixels: Pixels = segment[0]
    return pixels


def check_extent(offsets: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], size: int) -> None:
    """Check that all compressed pieces lie inside a file of ``size`` bytes.

    Raises
    ------
    TruncatedSlide
        When they do not.
    """
    if len(offsets) == 0 or len(offsets) != len(counts):
        raise ConversionError("The TIFF's table of tiles is damaged")
    if (counts < 0).any() or (offsets < 0).any() or (offsets > size).any() or (offsets + counts > size).any():
        beyond = int(((offsets > size) | (offsets + counts > size)).sum())
        raise TruncatedSlide(
            f"The slide is cut short: {beyond} of its {len(offsets)} tiles lie beyond the end of the file. "
            "Copy it again from the scanner"
        )


class TiffLevel:
    """A level of one or more channels, each a page."""

    def __init__(self, planes: Sequence[TiffPlane], cache: TileCache, downsample: float | None = None) -> None:
        self._planes = planes
        self._cache = cache
        self.downsample = downsample
        first = planes[0]
        self.columns, self.rows = first.columns, first.rows
        self.tile_columns, self.tile_rows = first.tile_columns, first.tile_rows
        for plane in planes[1:]:
            if (plane.columns, plane.rows, plane.bits) != (self.columns, self.rows, first.bits):
                raise ConversionError("The channels of the TIFF differ in size or depth")

    def stored(self, channel: int) -> StoredTiles | None:
        return self._planes[channel].stored()

    def read(self, channel: int, column: int, row: int, columns: int, rows: int) -> Pixels:
        plane = self._planes[channel]
        width, height = plane.tile_columns, plane.tile_rows
        across = math.ceil(plane.columns / width)
        if column % width == 0 and row % height == 0 and columns <= width and rows <= height:
            tile = plane.tile(row // height * across + column // width)
            if tile.shape[0] >= rows and tile.shape[1] >= columns:
                return tile[:rows, :columns]
        region = np.full((rows, columns, plane.samples), plane._background, plane.page.dtype)
        for down in range(row // height, (row + rows - 1) // height + 1):
            for right in range(column // width, (column + columns - 1) // width + 1):
                tile = self._cached(plane, down * across + right)
                _paste(region, tile, right * width - column, down * height - row)
        return region

    def _cached(self, plane: TiffPlane, index: int) -> Pixels:
        key = (id(plane), index)
        tile = self._cache.get(key)
        if tile is None:
            tile = plane.tile(index)
            self._cache.put(key, tile)
        return tile


def _paste(region: Pixels, tile: Pixels, left: int, top: int) -> None:
    rows, columns = region.shape[:2]
    bottom, right = min(rows, top + tile.shape[0]), min(columns, left + tile.shape[1])
    up, start = max(0, top), max(0, left)
    if bottom > up and right > start:
        region[up:bottom, start:right] = tile[up - top : bottom - top, start - left : right - left]
