"""Splits a foreground into things: a watershed of a distance (or any other) map.

Every foreground pixel belongs to the peak that it reaches by steepest ascent. Peaks that are hardly apart, as seen
from the saddle between them, are then joined in the order of the saddles' height, so that a bumpy map splits nothing.
All steps look at a pixel's neighbourhood only: a thing in a tile comes out as it would in the whole image.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]


def split(
    field: Floats, foreground: npt.NDArray[np.bool_], share: float, *, weak_below: Floats | None = None
) -> npt.NDArray[np.int32]:
    """Label the things of a foreground from 1; 0 is background.

    Parameters
    ----------
    field
        A map with a peak in each thing, above 0 in the foreground, ``(rows, columns)``.
    share
        Two peaks are one thing when the saddle is lower than the lower peak by less than this share of it.
    weak_below
        A map that is negative where a peak marks nothing: such a peak joins a neighbour whatever the saddle is.
    """
    rows, columns = field.shape
    labels = np.zeros(field.shape, np.int32)
    places = np.flatnonzero(foreground)
    if not len(places):
        return labels
    padded = np.zeros((rows + 2, columns + 2), np.float32)
    np.multiply(field, foreground, out=padded[1:-1, 1:-1])
    width = columns + 2
    pixels = places + 2 * (places // columns) + (width + 1)
    position = np.zeros(padded.size, np.intp)
    position[pixels] = np.arange(len(pixels))
    heights = padded.ravel().take(pixels)
    peaks, basin = _basins(padded.ravel(), pixels, position, heights, width)
    weak = np.zeros(len(peaks), np.bool_)
    if weak_below is not None:
        weak = weak_below.ravel()[places[peaks]] < 0
    saddles = _saddles(pixels, position, heights, basin, width)
    label = _joined(heights[peaks], weak, *saddles, share)
    labels.reshape(-1)[places] = label.take(basin)
    return labels


def _basins(field: Floats, pixels: Indices, position: Indices, heights: Floats, width: int) -> tuple[Indices, Indices]:
    """Return the peaks (numbers of pixels) and for each pixel the number of its peak."""
    offsets = np.array([0, -width - 1, -width, -width + 1, -1, 1, width - 1, width, width + 1])
    best, way = heights.copy(), np.zeros(len(pixels), np.uint8)
    for number, offset in enumerate(offsets[1:].tolist(), 1):
        height = field.take(pixels + offset)
        # A later way is the better one wherever it is higher: so the largest number is the one to take.
        np.maximum(way, (height > best).view(np.uint8) * np.uint8(number), out=way)
        np.maximum(best, height, out=best)
    parent = position.take(pixels + offsets.take(way))
    while True:
        further = parent.take(parent)
        if np.array_equal(further, parent):
            break
        parent = further
    is_peak = parent == np.arange(len(parent))
    number_of = np.cumsum(is_peak) - 1
    return np.flatnonzero(is_peak), number_of.take(parent)


def _saddles(
    pixels: Indices, position: Indices, heights: Floats, basin: Indices, width: int
) -> tuple[Indices, Indices, Floats]:
    """Return pairs of basins that touch and their highest saddle, the highest pair first."""
    pairs: list[Any] = []
    levels: list[Any] = []
    count = int(basin.max()) + 1
    numbers = basin.astype(np.int32) + 1
    basins = np.zeros(len(position), np.int32)
    basins[pixels] = numbers
    for offset in (1, width - 1, width, width + 1):
        beside = basins.take(pixels + offset)
        one = np.flatnonzero((beside > 0) & (beside != numbers))
        two = position[pixels[one] + offset]
        low, high = np.minimum(basin[one], basin[two]), np.maximum(basin[one], basin[two])
        pairs.append(low * count + high)
        levels.append(np.minimum(heights[one], heights[two]))
    pair, level = np.concatenate(pairs), np.concatenate(levels)
    order = np.lexsort((pair, -level))
    pair, level = pair[order], level[order]
    _, first = np.unique(pair, return_index=True)
    first.sort()
    return pair[first] // count, pair[first] % count, level[first]


def _joined(
    peak: Floats, weak: npt.NDArray[np.bool_], one: Indices, two: Indices, saddle: Floats, share: float
) -> npt.NDArray[np.int32]:
    """Return a label from 1 for each basin, the same one for those that are one thing."""
    root = list(range(len(peak)))
    top, feeble = peak.tolist(), weak.tolist()

    def find(number: int) -> int:
        while root[number] != number:
            root[number] = root[root[number]]
            number = root[number]
        return number

    for a, b, level in zip(one.tolist(), two.tolist(), saddle.tolist(), strict=True):
        a, b = find(a), find(b)
        if a == b:
            continue
        if (top[b], -b) > (top[a], -a):
            a, b = b, a
        if feeble[a] or feeble[b] or top[b] - level <= share * top[b]:
            root[b] = a
            feeble[a] = feeble[a] and feeble[b]
    roots = np.array([find(number) for number in range(len(peak))])
    _, label = np.unique(roots, return_inverse=True)
    return (label + 1).astype(np.int32)
