"""Makes the coarser levels of a pyramid while the finest streams by; memory holds a row of tiles of each level."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dicomsvc.objects.encoding import has_values
from dicomsvc.objects.source import SourceLevel

Rows = npt.NDArray[Any]
"""``(channels, rows, columns)``, of colour images ``(channels, rows, columns, 3)``."""
Take = Callable[[int, int, Rows, bool], None]
"""Gets number of level in the pyramid, number of the row of tiles, pixels, and whether they are averages."""


class Reducer:
    """Averages areas: a coarse pixel is the mean of the finer pixels whose centres lie in it.

    Sizes are (rows, columns). The ratio is a whole number where the sizes allow for one, as slides' levels are made so.
    """

    def __init__(self, fine: tuple[int, int], coarse: tuple[int, int]) -> None:
        self._row_bounds, self._row_factor = _bounds(fine[0], coarse[0])
        self._column_bounds, self._column_factor = _bounds(fine[1], coarse[1])
        self._coarse = coarse
        self._fine_rows = fine[0]
        self._done = 0
        self._seen = 0
        self._pending: Rows | None = None

    def push(self, rows: Rows) -> Rows | None:
        """Take the next fine rows, and keep none of their memory; return the coarse rows that are complete now."""
        self._seen += rows.shape[1]
        pending = rows if self._pending is None else np.concatenate((self._pending, rows), axis=1)
        bounds = self._row_bounds
        if self._seen >= self._fine_rows:
            stop = self._coarse[0]
        else:
            stop = min(int(np.searchsorted(bounds, self._seen, side="right")) - 1, self._coarse[0])
        if stop <= self._done:
            self._pending = pending.copy()
            return None
        first = self._seen - pending.shape[1]
        used = int(bounds[stop]) - first
        coarse = self._mean(pending[:, : max(used, 1)], bounds[self._done : stop + 1] - first)
        self._pending = pending[:, used:].copy() if used < pending.shape[1] else None
        self._done = stop
        return coarse

    def _mean(self, block: Rows, bounds: npt.NDArray[np.int64]) -> Rows:
        shape = (block.shape[0], len(bounds) - 1, self._coarse[1], *block.shape[3:])
        if not has_values(block):
            return np.zeros(shape, block.dtype)
        factors = self._row_factor, self._column_factor
        if None not in factors and block.dtype in (np.uint8, np.uint16, np.float32):
            reduced = np.empty(shape, block.dtype)
            for channel, pixels in enumerate(block):
                _shrink(pixels, (factors[0] or 1, factors[1] or 1), reduced[channel])
            return reduced
        return _block_mean(block, bounds, self._column_bounds)


class PyramidStream:
    """Passes rows of tiles of the finest level on, and those of the coarser ones as soon as they are whole.

    ``levels`` are the slide's, the finest of them first; tiles have ``tile_rows`` rows.
    """

    def __init__(self, levels: Sequence[SourceLevel], tile_rows: int, take: Take) -> None:
        self._tile_rows, self._take = tile_rows, take
        sizes = [(level.rows, level.columns) for level in levels]
        self._rows = [rows for rows, _ in sizes]
        self._reducers = [Reducer(fine, coarse) for fine, coarse in pairwise(sizes)]
        self._parts: list[list[Rows]] = [[] for _ in levels]
        self._strips = [0] * len(levels)
        self._emitted = [0] * len(levels)

    def push(self, strip: Rows, averaged: Callable[[Rows], Rows]) -> None:
        """Take the next row of tiles of the finest level; ``averaged`` makes of it what means are built from."""
        number = self._strips[0]
        self._strips[0] += 1
        self._take(0, number, strip, False)
        if self._reducers:
            self._pass_on(0, averaged(strip))

    def _pass_on(self, level: int, rows: Rows) -> None:
        coarse = self._reducers[level].push(rows)
        if coarse is None:
            return
        level += 1
        parts = self._parts[level]
        parts.append(coarse)
        have = sum(part.shape[1] for part in parts)
        if have < self._tile_rows and self._emitted[level] + have < self._rows[level]:
            return
        joined = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        parts.clear()
        while joined.shape[1] >= self._tile_rows or (
            joined.shape[1] and self._emitted[level] + joined.shape[1] == self._rows[level]
        ):
            strip, joined = joined[:, : self._tile_rows], joined[:, self._tile_rows :]
            self._emitted[level] += strip.shape[1]
            self._take(level, self._strips[level], strip, True)
            self._strips[level] += 1
            if level < len(self._reducers):
                self._pass_on(level, strip)
        if joined.shape[1]:
            parts.append(joined)


def _bounds(fine: int, coarse: int) -> tuple[npt.NDArray[np.int64], int | None]:
    """Return the first fine pixel of each coarse one and the end, and the ratio where it is a whole number."""
    factor = max(1, round(fine / coarse))
    if abs(factor * coarse - fine) <= factor:
        bounds = np.arange(coarse + 1, dtype=np.int64) * factor
    else:
        bounds = np.rint(np.arange(coarse + 1) * (fine / coarse)).astype(np.int64)
        return np.minimum(bounds, fine), None
    return np.minimum(bounds, fine), factor


def _shrink(pixels: npt.NDArray[Any], factors: tuple[int, int], reduced: npt.NDArray[Any]) -> None:
    """Average blocks of ``factors`` (rows, columns); what the last ones lack is their own border."""
    rows, columns = reduced.shape[0] * factors[0], reduced.shape[1] * factors[1]
    pixels = pixels[:rows, :columns]
    missing = (rows - pixels.shape[0], columns - pixels.shape[1])
    if any(missing):
        pixels = cv2.copyMakeBorder(pixels, 0, missing[0], 0, missing[1], cv2.BORDER_REPLICATE)
    cv2.resize(pixels, (reduced.shape[1], reduced.shape[0]), dst=reduced, interpolation=cv2.INTER_AREA)


def _block_mean(block: Rows, row_bounds: npt.NDArray[np.int64], column_bounds: npt.NDArray[np.int64]) -> Rows:
    """Average blocks of unequal size; one that lies outside is its neighbour's last pixel."""
    exact = np.float64 if block.dtype.kind == "f" else np.int64
    sums = block[:, : row_bounds[-1], : column_bounds[-1]].astype(exact)
    counts = []
    for axis, bounds in ((1, row_bounds), (2, column_bounds)):
        starts = np.minimum(bounds[:-1], bounds[-1] - 1)
        sums = np.add.reduceat(sums, starts, axis=axis)
        counts.append(np.maximum(np.diff(starts, append=bounds[-1]), 1))
    weights = np.outer(*counts).reshape(1, len(counts[0]), len(counts[1]), *[1] * (block.ndim - 3))
    means: Rows = sums / weights if exact is np.float64 else (sums + weights // 2) // weights
    return means.astype(block.dtype)
