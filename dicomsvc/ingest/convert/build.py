"""Frames made by decoding: a level of the source that cannot pass through, and the levels that it lacks.

A chain is worked depth first, as a quadtree: each piece of the source is decoded once, no level is made from compressed
pixels of ours, and memory holds a few tiles however large the slide is.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from dicomsvc.errors import Cancelled
from dicomsvc.ingest.convert.codec import Encoder
from dicomsvc.ingest.convert.levels import PlannedLevel
from dicomsvc.ingest.convert.sources.base import Pixels, SourceLevel
from dicomsvc.ingest.convert.spool import FrameSpool

_UNITS = 16


class ChainBuilder:
    """Makes the frames of one chain for all channels.

    Parameters
    ----------
    chain
        All of one tile size.
    spools
        One for each level of the chain, ``None`` for a first level whose tiles pass through as stored. Frames are
        numbered channel by channel, then row by row (TILED_FULL, PS3.3 C.7.6.17.3).
    """

    def __init__(
        self,
        chain: Sequence[PlannedLevel],
        spools: Sequence[FrameSpool | None],
        encoder: Encoder,
        background: int,
        channels: int,
    ) -> None:
        source = chain[0].source
        assert source is not None
        self._source: SourceLevel = source
        self._chain = chain
        self._spools = spools
        self._encoder = encoder
        self._background = background
        self._channels = channels
        self._stop = threading.Event()
        self._made = 0
        self._lock = threading.Lock()

    @property
    def frames(self) -> int:
        """How many frames will be made."""
        levels = zip(self._chain, self._spools, strict=True)
        return self._channels * sum(level.tiles for level, spool in levels if spool is not None)

    def run(self, workers: int, report: Callable[[int], None]) -> None:
        """Make all frames, telling ``report`` now and then how many are made; what it raises ends the work."""
        with ThreadPoolExecutor(max(1, workers), thread_name_prefix="convert") as pool:
            try:
                for channel in range(self._channels):
                    self._channel(channel, pool, report)
            except BaseException:
                self._stop.set()
                pool.shutdown(cancel_futures=True)
                raise
        report(self._made)

    def _channel(self, channel: int, pool: ThreadPoolExecutor, report: Callable[[int], None]) -> None:
        depth = self._unit_depth()
        level = self._chain[depth]
        units = [(row, column) for row in range(level.tiles_down) for column in range(level.tiles_across)]
        futures = {pool.submit(self._node, channel, depth, *unit): unit for unit in units}
        halves: dict[tuple[int, int], Pixels] = {}
        pending: set[Future[Pixels]] = set(futures)
        while pending:
            done, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in done:
                halves[futures[future]] = future.result()
                if depth + 1 == len(self._chain):
                    halves.clear()
            report(self._made)
        for deeper in range(depth + 1, len(self._chain)):
            halves = self._combine(channel, deeper, halves)

    def _unit_depth(self) -> int:
        """The coarsest level with enough tiles to keep all threads busy: below it, subtrees are independent."""
        for depth in range(len(self._chain) - 1, 0, -1):
            if self._chain[depth].tiles >= _UNITS:
                return depth
        return 0

    def _combine(
        self, channel: int, depth: int, halves: dict[tuple[int, int], Pixels]
    ) -> dict[tuple[int, int], Pixels]:
        level = self._chain[depth]
        combined = {}
        for row in range(level.tiles_down):
            for column in range(level.tiles_across):
                tile = self._join(depth, row, column, lambda down, right: halves[down, right])
                self._keep(channel, depth, row, column, tile)
                combined[row, column] = halve(tile)
        return combined

    def _node(self, channel: int, depth: int, row: int, column: int) -> Pixels:
        """Make one tile and all below it; return it at half size, for the level above."""
        if self._stop.is_set():
            raise Cancelled("The conversion was stopped")
        if depth == 0:
            tile = self._leaf(channel, row, column)
        else:
            tile = self._join(depth, row, column, lambda down, right: self._node(channel, depth - 1, down, right))
        self._keep(channel, depth, row, column, tile)
        return halve(tile) if depth + 1 < len(self._chain) else tile

    def _leaf(self, channel: int, row: int, column: int) -> Pixels:
        level = self._chain[0]
        left, top = column * level.tile_columns, row * level.tile_rows
        width = min(level.tile_columns, level.columns - left)
        height = min(level.tile_rows, level.rows - top)
        return self._source.read(channel, left, top, width, height)

    def _join(self, depth: int, row: int, column: int, child: Callable[[int, int], Pixels]) -> Pixels:
        finer = self._chain[depth - 1]
        bands = []
        for down in range(2 * row, min(2 * row + 2, finer.tiles_down)):
            across = range(2 * column, min(2 * column + 2, finer.tiles_across))
            parts = [child(down, right) for right in across]
            bands.append(parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1))
        return bands[0] if len(bands) == 1 else np.concatenate(bands, axis=0)

    def _keep(self, channel: int, depth: int, row: int, column: int, tile: Pixels) -> None:
        spool = self._spools[depth]
        if spool is None:
            return
        level = self._chain[depth]
        frame = self._encoder.encode(pad(tile, level.tile_rows, level.tile_columns, self._background))
        spool.put((channel * level.tiles_down + row) * level.tiles_across + column, frame)
        with self._lock:
            self._made += 1


def pad(tile: Pixels, rows: int, columns: int, background: int) -> Pixels:
    """Fill a tile up to its full size at the bottom and at the right."""
    if tile.shape[:2] == (rows, columns):
        return tile
    whole: Pixels = np.full((rows, columns, tile.shape[2]), background, tile.dtype)
    whole[: tile.shape[0], : tile.shape[1]] = tile
    return whole


def halve(tile: Pixels) -> Pixels:
    """Average squares of two by two pixels; an odd last row or column stands for its missing neighbour too."""
    rows, columns = tile.shape[:2]
    if rows % 2 or columns % 2:
        tile = np.pad(tile, ((0, rows % 2), (0, columns % 2), (0, 0)), mode="edge")
    wide: type[np.unsignedinteger[Any]] = np.uint16 if tile.dtype == np.uint8 else np.uint32
    pairs: Pixels = np.add(tile[0::2], tile[1::2], dtype=wide)
    total: Pixels = pairs[:, 0::2] + pairs[:, 1::2]
    total += wide(2)
    total >>= wide(2)
    return total.astype(tile.dtype)


def spooled_frames(spool: FrameSpool, *, encapsulated: bool) -> Iterator[bytes]:
    """Read frames back in their order, a few megabytes at a time: as items (PS3.5 A.4), or bare pixels."""
    for run in spool.runs():
        parts: list[bytes] = []
        for frame in spool.frames(run):
            if encapsulated:
                odd = len(frame) & 1
                parts += (b"\xfe\xff\x00\xe0", (len(frame) + odd).to_bytes(4, "little"), frame, b"\0" * odd)
            else:
                parts.append(frame)
        yield b"".join(parts)
