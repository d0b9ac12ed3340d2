"""Outlines into pixels: exactly those whose centres lie inside, a strip of rows at a time."""

from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from dicomsvc.ai.findings import Instances

_PIXELS_AT_ONCE: Final = 1 << 20


class OutlineRaster:
    """Fills outlines into strips of a pixel matrix, however large the matrix and however many the outlines.

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
        self._instances = instances
        self._scale = np.array(scale)
        self._columns = columns
        outlined = np.flatnonzero(np.diff(instances.offsets) >= 3)
        starts = instances.offsets[:-1][outlined]
        # Runs of outlines that are left out lie between two starts; what they add to a height does no harm.
        y = instances.outline[:, 1]
        top, bottom = (each.reduceat(y, starts) if len(starts) else y[:0] for each in (np.minimum, np.maximum))
        order = np.argsort(top, kind="stable")
        self._number = outlined[order]
        self._top, self._bottom = (each[order].astype(np.float64) * scale[1] for each in (top, bottom))
        self._tallest = float((self._bottom - self._top).max(initial=0))

    def strip(self, row: int, rows: int) -> npt.NDArray[np.bool_]:
        """Return ``rows`` rows of the matrix from ``row`` on, ``(rows, columns)``, true inside of any outline."""
        inside = np.zeros((rows, self._columns), np.bool_)
        crossings = self._crossings(row, rows)
        if crossings is not None:
            line, x = crossings
            # Pixel c has its centre at c + 0.5: the first one right of a crossing.
            column = np.clip(np.ceil(x - 0.5), 0, self._columns).astype(np.int64)
            first = line[0::2] * self._columns + column[0::2]
            _fill(inside.reshape(-1), first, column[1::2] - column[0::2])
        return inside

    def _crossings(self, row: int, rows: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]] | None:
        """Return line and x of each crossing; those of one outline in one line lie next to each other, in order."""
        start, end, polygon = self._edges(row, row + rows)
        # An edge crosses the centre line of row r when it passes y = r + 0.5; each end belongs to one edge only.
        top = np.ceil(np.minimum(start[:, 1], end[:, 1]) - 0.5).astype(np.int64).clip(row)
        count = np.ceil(np.maximum(start[:, 1], end[:, 1]) - 0.5).astype(np.int64).clip(max=row + rows) - top
        crossing = np.flatnonzero(count > 0)
        if not len(crossing):
            return None
        count = count[crossing]
        edge = np.repeat(crossing, count)
        line = np.repeat(top[crossing], count) + np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        share = (line + 0.5 - start[edge, 1]) / (end[edge, 1] - start[edge, 1])
        x = start[edge, 0] + share * (end[edge, 0] - start[edge, 0])
        order = np.lexsort((x, polygon[edge], line))
        return line[order] - row, x[order]

    def _edges(
        self, first: int, end: int
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.intp]]:
        """Return where the edges of the outlines between two rows begin and end, and whose they are."""
        low, high = np.searchsorted(self._top, (first - self._tallest, end))
        instances = self._instances
        numbers = self._number[low:high][self._bottom[low:high] >= first]
        lengths = np.diff(instances.offsets)[numbers]
        ends = np.cumsum(lengths)
        at = np.arange(lengths.sum()) + np.repeat(instances.offsets[numbers] - (ends - lengths), lengths)
        start = instances.outline[at].astype(np.float64) * self._scale
        following = np.arange(len(start)) + 1
        following[ends - 1] = ends - lengths
        return start, start[following], np.repeat(np.arange(len(numbers)), lengths)


def _fill(pixels: npt.NDArray[np.bool_], first: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> None:
    """Set runs of pixels, so many at a time that their numbers take little memory."""
    ends = np.cumsum(lengths)
    cuts = np.searchsorted(ends, np.arange(0, ends[-1] + _PIXELS_AT_ONCE, _PIXELS_AT_ONCE), side="right")
    for low, high in pairwise([0, *cuts.tolist()]):
        run = lengths[low:high]
        pixels[np.repeat(first[low:high] - (np.cumsum(run) - run), run) + np.arange(run.sum())] = True
