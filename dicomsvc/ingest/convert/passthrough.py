"""Frames that are the source's compressed tiles, bit for bit.

Only what a complete stream lacks is added: a TIFF's JPEGTables and, for red-green-blue tiles, the marker that says so.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom.uid import JPEG2000, JPEG2000Lossless, JPEGBaseline8Bit

from dicomsvc.errors import ConversionError
from dicomsvc.ingest.convert import bitstream
from dicomsvc.ingest.convert.bitstream import BadStream
from dicomsvc.ingest.convert.codec import LOSSY_JPEG, LOSSY_JPEG2000, FrameFormat, decode_tile
from dicomsvc.ingest.convert.sources.base import Pixels, StoredTiles

_RUN_BYTES: Final = 8 << 20
_HEADER_BYTES: Final = 2048
_LARGEST_HEADER: Final = 1 << 20
_ITEM: Final = struct.Struct("<HHL")
_SAMPLED_TILES: Final = 64


class TileMismatch(ConversionError):
    """A tile differs in kind from the others of its level, so that the level has to be encoded anew."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """What all frames of an instance must have in common."""

    format: FrameFormat
    components: int
    sampling: tuple[tuple[int, int], ...]
    subsampled: bool
    whole: bool


@dataclass(frozen=True, slots=True)
class _Header:
    """One form of tile header: the bytes as stored, and those that replace them."""

    stored: bytes
    written: bytes


class Passage:
    """The stored tiles of one level on their way into one instance.

    Parameters
    ----------
    channels
        For each channel its tiles, and how many are side by side.

    Raises
    ------
    TileMismatch, BadStream
        When they cannot become frames without being decoded.
    """

    def __init__(self, channels: Sequence[tuple[StoredTiles, int]], background: int, *, strip_text: bool) -> None:
        self._channels = [channel for channel, _ in channels]
        self._across = [across for _, across in channels]
        self._background = background
        self._strip_text = strip_text
        self._headers: list[_Header] = []
        self._filled: dict[tuple[int, int], bytes] = {}
        first = _first_stored(self._channels)
        self._kind = self._classify(self._read_header(*first), self._channels[first[0]])
        if not self._kind.whole:
            raise TileMismatch("Tiles are smaller than the file says")
        self.format = self._kind.format
        self._growth = len(self._headers[0].written) - len(self._headers[0].stored)
        self.lengths = [self._channel_lengths(channel) for channel in range(len(channels))]

    @property
    def frames(self) -> int:
        return sum(len(lengths) for lengths in self.lengths)

    def _read_header(self, channel: int, index: int) -> bytes:
        """Read a tile's header and make it known, with its form in a frame."""
        tiles = self._channels[channel]
        count, offset = int(tiles.counts[index]), int(tiles.offsets[index])
        wanted = min(count, _HEADER_BYTES)
        while True:
            data = os.pread(tiles.descriptor, wanted, offset)
            known = self._known(data, 0)
            if known is not None:
                return known.written
            try:
                return self._learn(data, tiles).written
            except BadStream:
                if wanted >= min(count, _LARGEST_HEADER):
                    raise
                wanted = min(count, wanted * 16)

    def _known(self, data: bytes, start: int) -> _Header | None:
        for header in self._headers:
            if data.startswith(header.stored, start):
                return header
        return None

    def _learn(self, data: bytes, tiles: StoredTiles) -> _Header:
        if tiles.codec == "jpeg2000":
            *_, (_, end, _) = bitstream.codestream_segments(data)
            # The first tile-part's marker is taken in: without it one header could be the beginning of another.
            stored = data[: end + 2]
            written = stored
            if self._strip_text:
                written = bitstream.codestream_without_text(data[: end + 4]) + stored[-2:]
        else:
            stored, written = self._jpeg_header(data, tiles)
        header = _Header(stored, written)
        if len(self._headers) >= 256:
            raise TileMismatch("Too many kinds of tile headers")
        self._headers.insert(0, header)
        return header

    def _jpeg_header(self, data: bytes, tiles: StoredTiles) -> tuple[bytes, bytes]:
        *_, (_, scan, end) = bitstream.segments(data)
        tables = tiles.tables[2:-2] if tiles.tables is not None and len(tiles.tables) >= 4 else b""
        head = data[:scan] + tables
        parsed = bitstream.parse_jpeg(head + data[scan:end])
        if self._strip_text:
            head = bitstream.without_text(head + data[scan:end])[: scan - end]
        colour = bitstream.jpeg_colour(parsed, tiles.colour)
        unmarked = parsed.adobe_transform is None and bytes(parsed.components) != b"RGB"
        if colour == "rgb" and unmarked:
            if parsed.jfif:
                raise TileMismatch("Tiles say both RGB and JFIF")
            head += bitstream.ADOBE_RGB
        return data[:end], head + data[scan:end]

    def _classify(self, header: bytes, tiles: StoredTiles) -> _Kind:
        if tiles.codec == "jpeg2000":
            return self._classify_jpeg2000(header, tiles)
        parsed = bitstream.parse_jpeg(header)
        colour = bitstream.jpeg_colour(parsed, tiles.colour)
        if not parsed.baseline or parsed.bits != 8 or len(parsed.components) not in (1, 3):
            raise TileMismatch("Tiles are no JPEG baseline")
        if (len(parsed.components) == 1) != (tiles.colour == "monochrome"):
            raise TileMismatch("Tiles have another number of components than the file says")
        photometric = {"monochrome": "MONOCHROME2", "rgb": "RGB", "ycbcr": "YBR_FULL_422"}[colour]
        return _Kind(
            FrameFormat(JPEGBaseline8Bit, photometric, LOSSY_JPEG),
            len(parsed.components),
            parsed.sampling,
            parsed.subsampled,
            (parsed.columns, parsed.rows) == (tiles.tile_columns, tiles.tile_rows),
        )

    def _classify_jpeg2000(self, header: bytes, tiles: StoredTiles) -> _Kind:
        parsed = bitstream.parse_jpeg2000(header + b"\x00\x0a")
        components = len(parsed.bits)
        if parsed.signed or parsed.subsampled or set(parsed.bits) != {tiles.bits} or components not in (1, 3):
            raise TileMismatch("Tiles are of a kind of JPEG 2000 that frames cannot be")
        if (components == 1) != (tiles.colour == "monochrome"):
            raise TileMismatch("Tiles have another number of components than the file says")
        if tiles.colour == "ycbcr" and not parsed.component_transform:
            # PS3.3 C.8.12.4.1.1 has no photometric interpretation for it.
            raise TileMismatch("Tiles hold YCbCr that the codestream does not declare")
        reversible = parsed.reversible
        transformed = "YBR_RCT" if reversible else "YBR_ICT"
        colour = transformed if parsed.component_transform else "RGB"
        # With several quality layers, the last ones may have been cut off: then nothing is known to be lossless.
        lossless = reversible and parsed.layers == 1
        syntax = JPEG2000Lossless if lossless else JPEG2000
        method = None if lossless else LOSSY_JPEG2000
        return _Kind(
            FrameFormat(syntax, "MONOCHROME2" if components == 1 else colour, method),
            components,
            (),
            False,
            (parsed.columns, parsed.rows) == (tiles.tile_columns, tiles.tile_rows),
        )

    def _channel_lengths(self, channel: int) -> npt.NDArray[np.int64]:
        tiles = self._channels[channel]
        lengths = tiles.counts + self._growth
        for index in np.flatnonzero((tiles.counts == 0) | (tiles.offsets == 0)).tolist():
            frame = self._blank()
            self._filled[channel, index] = frame
            lengths[index] = len(frame)
        for index in self._inspected(channel):
            if (channel, index) not in self._filled:
                lengths[index] = self._inspect(channel, index)
        return lengths

    def _inspected(self, channel: int) -> Sequence[int]:
        """Tiles to look at before anything is written: all when text is stripped, else edges and a sample."""
        tiles = self._channels[channel]
        count = len(tiles.counts)
        if self._strip_text:
            return range(count)
        # Nearly every writer that makes odd tiles makes them at the end of a row or in the last row.
        step = max(1, count // _SAMPLED_TILES)
        across = self._across[channel]
        return sorted({*range(0, count, step), *range(across - 1, count, across), *range(count - across, count)})

    def _inspect(self, channel: int, index: int) -> int:
        tiles = self._channels[channel]
        header = self._read_header(channel, index)
        kind = self._classify(header, tiles)
        stored = next(known for known in self._headers if known.written == header)
        if kind == self._kind:
            return int(tiles.counts[index]) + len(header) - len(stored.stored)
        if kind.format != self.format or kind.components != self._kind.components:
            raise TileMismatch("Tiles of one level differ in kind")
        data = os.pread(tiles.descriptor, int(tiles.counts[index]), int(tiles.offsets[index]))
        self._filled[channel, index] = self._encode(self._whole(decode_tile(data, tiles)))
        return len(self._filled[channel, index])

    def _blank(self) -> bytes:
        tiles = self._channels[0]
        samples = self._kind.components
        dtype = np.uint8 if tiles.bits == 8 else np.uint16
        return self._encode(np.full((tiles.tile_rows, tiles.tile_columns, samples), self._background, dtype))

    def _whole(self, tile: Pixels) -> Pixels:
        tiles = self._channels[0]
        below, right = tiles.tile_rows - tile.shape[0], tiles.tile_columns - tile.shape[1]
        return np.pad(tile, ((0, below), (0, right), (0, 0)), constant_values=self._background)

    def _encode(self, pixels: Pixels) -> bytes:
        image = np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        photometric = self.format.photometric_interpretation
        if self.format.transfer_syntax_uid in (JPEG2000, JPEG2000Lossless):
            lossless = self.format.lossy_method is None
            colour_transform = photometric.startswith("YBR")
            level = None if lossless else 45
            return bytes(
                imagecodecs.jpeg2k_encode(
                    image, level=level, codecformat="j2k", reversible=lossless, mct=colour_transform
                )
            )
        if image.ndim == 2:
            return bytes(imagecodecs.jpeg8_encode(image, level=95))
        space = "RGB" if photometric == "RGB" else "YCBCR"
        horizontal, vertical = self._kind.sampling[0]
        name = {(2, 2): "420", (2, 1): "422"}.get((horizontal, vertical), "444") if self._kind.subsampled else "444"
        return bytes(imagecodecs.jpeg8_encode(image, level=95, colorspace="RGB", outcolorspace=space, subsampling=name))

    def runs(self) -> Iterator[tuple[bytes, int]]:
        """Read tiles in runs: the items of some frames (PS3.5 A.4), and how many they are.

        The next run is read in a thread while the caller writes this one.

        Raises
        ------
        TileMismatch
            When a tile turns out to be of another kind; what was read so far is then of no use.
        """
        runs = [(channel, start, stop) for channel, tiles in enumerate(self._channels) for start, stop in _runs(tiles)]
        with ThreadPoolExecutor(1, thread_name_prefix="splice") as reader:
            following = reader.submit(self._items, *runs[0])
            for index, (_, start, stop) in enumerate(runs):
                items = following.result()
                if index + 1 < len(runs):
                    following = reader.submit(self._items, *runs[index + 1])
                yield items, stop - start

    def _items(self, channel: int, start: int, stop: int) -> bytes:
        tiles = self._channels[channel]
        base, data = _read_run(tiles, start, stop)
        view = memoryview(data)
        parts: list[bytes | memoryview] = []
        lengths = self.lengths[channel][start:stop].tolist()
        offsets, counts = tiles.offsets[start:stop].tolist(), tiles.counts[start:stop].tolist()
        filled = self._filled
        header = self._headers[0]
        starts = [at - base for at in offsets] if base is not None else [0, *accumulate(counts[:-1])]
        for index, length in enumerate(lengths):
            parts.append(_ITEM.pack(0xFFFE, 0xE000, length + (length & 1)))
            if filled and (channel, start + index) in filled:
                parts.append(filled[channel, start + index])
            else:
                at = starts[index]
                if not data.startswith(header.stored, at):
                    header = self._matching(data, at, counts[index], tiles)
                if len(header.written) - len(header.stored) + counts[index] != length:
                    raise TileMismatch("Tiles of one level have headers of different kinds")
                parts.append(header.written)
                parts.append(view[at + len(header.stored) : at + counts[index]])
            if length & 1:
                parts.append(b"\0")
        return b"".join(parts)

    def _matching(self, data: bytes, at: int, count: int, tiles: StoredTiles) -> _Header:
        known = self._known(data, at)
        if known is not None:
            return known
        try:
            header = self._learn(data[at : at + count], tiles)
            if self._classify(header.written, tiles) == self._kind:
                return header
        except BadStream:
            pass
        raise TileMismatch("Tiles of one level differ in kind")


def _first_stored(channels: Sequence[StoredTiles]) -> tuple[int, int]:
    for channel, tiles in enumerate(channels):
        present = np.flatnonzero((tiles.counts > 0) & (tiles.offsets > 0))
        if len(present):
            return channel, int(present[0])
    raise TileMismatch("The level has no tile with content")


def _runs(tiles: StoredTiles) -> Iterator[tuple[int, int]]:
    """Split tiles, in their order, into runs of at most some megabytes."""
    ends = np.cumsum(tiles.counts)
    start = 0
    while start < len(ends):
        before = int(ends[start - 1]) if start else 0
        stop = int(np.searchsorted(ends, before + _RUN_BYTES, side="right"))
        stop = max(stop, start + 1)
        yield start, stop
        start = stop


def _read_run(tiles: StoredTiles, start: int, stop: int) -> tuple[int | None, bytes]:
    """Read some tiles; the file offset of the first byte, or ``None`` when tiles were gathered one by one."""
    offsets, counts = tiles.offsets[start:stop], tiles.counts[start:stop]
    used = counts > 0
    if not used.any():
        return 0, b""
    low, high = int(offsets[used].min()), int((offsets + counts)[used].max())
    if high - low <= 2 * int(counts.sum()) + 65536:
        return low, os.pread(tiles.descriptor, high - low, low)
    pairs = zip(offsets.tolist(), counts.tolist(), strict=True)
    return None, b"".join(os.pread(tiles.descriptor, count, offset) for offset, count in pairs)
