"""Outlines into pixels: exactly those whose centres lie inside, a strip of rows at a time."""

import numpy as np
import numpy.typing as npt

from dicomsvc.ai.findings import Instances


class OutlineRaster:
    """Fills outlines into strips of a pixel matrix, however large the matrix.

    Parameters
    ----------
    instances
        Their outlines are in slide pixels; things without an outline leave no pixel.
    scale
        Pixels of the matrix per slide pixel, (x, y).
    columns
        Width of the matrix.
    """

    def __init__(self, instances: Instances, scale: tuple[float, float], columns: int) -> None:
        self._columns = columns
        lengths = np.diff(instances.offsets)
        outlined = np.flatnonzero(lengths >= 3)
        polygon = np.repeat(np.arange(len(instances)), lengths)
        start = instances.outline.astype(np.float64) * np.array(scale)
        following = np.arange(len(start)) + 1
        following[instances.offsets[1:][outlined] - 1] = instances.offsets[:-1][outlined]
        kept = np.isin(polygon, outlined, assume_unique=False)
        end = start[np.where(kept, following, 0)] if len(start) else start
        start, end, polygon = start[kept], end[kept], polygon[kept]
        # An edge crosses the centre line of row r when it passes y = r + 0.5; each end belongs to one edge only.
        first = np.ceil(np.minimum(start[:, 1], end[:, 1]) - 0.5).astype(np.int64)
        last = np.ceil(np.maximum(start[:, 1], end[:, 1]) - 0.5).astype(np.int64)
        crossing = last > first
        order = np.argsort(first[crossing], kind="stable")
        self._first, self._last = first[crossing][order], last[crossing][order]
        self._start, self._end = start[crossing][order], end[crossing][order]
        self._polygon = polygon[crossing][order]
        self._tallest = int((self._last - self._first).max(initial=0))

    def strip(self, row: int, rows: int) -> npt.NDArray[np.bool_]:
        """Return ``rows`` rows of the matrix from ``row`` on, ``(rows, columns)``, true inside of any outline."""
        crossings = self._crossings(row, rows)
        paint = np.zeros((rows, self._columns + 1), np.int32)
        if crossings is not None:
            line, x = crossings
            # Pixel c has its centre at c + 0.5: the first one right of a crossing.
            column = np.clip(np.ceil(x - 0.5), 0, self._columns).astype(np.int64)
            sign = np.where(np.arange(len(column)) % 2 == 0, 1, -1)
            np.add.at(paint, (line, column), sign)
        return np.cumsum(paint[:, :-1], axis=1) > 0

    def _crossings(self, row: int, rows: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]] | None:
        """Return line and x of each crossing; those of one outline in one line lie next to each other, in order."""
        low = np.searchsorted(self._first, row - self._tallest)
        high = np.searchsorted(self._first, row + rows)
        edges = np.arange(low, high)[self._last[low:high] > row]
        if not len(edges):
            return None
        top = np.maximum(self._first[edges], row)
        count = np.minimum(self._last[edges], row + rows) - top
        edge = np.repeat(edges, count)
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        line = np.repeat(top, count) + within
        share = (line + 0.5 - self._start[edge, 1]) / (self._end[edge, 1] - self._start[edge, 1])
        x = self._start[edge, 0] + share * (self._end[edge, 0] - self._start[edge, 0])
        order = np.lexsort((x, self._polygon[edge], line))
        return line[order] - row, x[order]
