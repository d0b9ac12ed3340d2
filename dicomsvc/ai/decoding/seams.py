"""Which of several views of the same thing, from tiles that overlap, is kept."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from dicomsvc.ai.findings import Instances

SAME_FROM: Final = 1 / 3
"""Two outlines of different tiles are one thing when they share more than this of the smaller one."""
_SUBPIXELS: Final = 4
_LONGEST_SIDE: Final = 512
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Views:
    """Things as single tiles see them. ``tile`` saw it, ``home`` is the tile whose core holds the centroid.

    Where both are the same the view counts; another view is a candidate, for the case that no view counts. ``apart``
    is for things without outlines: how near, in slide pixels, two are one.
    """

    instances: Instances
    tile: npt.NDArray[np.int64]
    home: npt.NDArray[np.int64]
    depth: npt.NDArray[np.float32]
    apart: float

    def chosen(self, rows: npt.NDArray[Any]) -> "Views":
        return Views(self.instances.chosen(rows), self.tile[rows], self.home[rows], self.depth[rows], self.apart)


def resolve(views: Views) -> npt.NDArray[np.bool_]:
    """Say which views are kept, so that each thing is there once.

    Of two that count, the one deeper in its tile's core is kept, for that tile saw more around it. A candidate is kept
    where the tile that it belongs to sees the thing too, but leaves it to another tile: so each left it to the other.
    """
    counts: npt.NDArray[np.bool_] = views.tile == views.home
    same: dict[int, list[int]] = {}
    for one, other in _same_pairs(views):
        same.setdefault(one, []).append(other)
        same.setdefault(other, []).append(one)
    kept: npt.NDArray[np.bool_] = counts.copy()
    kept[list(same)] = False
    tile, home = views.tile, views.home
    involved = np.array(sorted(same), np.intp)
    order = involved[np.lexsort((involved, tile[involved], -views.depth[involved], ~counts[involved]))]
    for row in order.tolist():
        if any(kept[other] for other in same[row]):
            continue
        kept[row] = counts[row] or any(tile[other] == home[row] and not counts[other] for other in same[row])
    return kept


def boxes(instances: Instances) -> npt.NDArray[np.float32]:
    """Return left, top, right, bottom of each thing, ``(n, 4)``; of a point just that."""
    points = np.concatenate([instances.centroids, instances.centroids], axis=1)
    outlined = np.flatnonzero(np.diff(instances.offsets) > 0)
    if len(outlined):
        starts = instances.offsets[:-1][outlined]
        points[outlined, :2] = np.minimum.reduceat(instances.outline, starts, axis=0)
        points[outlined, 2:] = np.maximum.reduceat(instances.outline, starts, axis=0)
    return points


def areas(instances: Instances) -> npt.NDArray[np.float64]:
    """Return the area inside of each outline, 0 for points."""
    lengths = np.diff(instances.offsets)
    owner = np.repeat(np.arange(len(instances)), lengths)
    # Seen from the centroid, so that large coordinates cost no digits.
    points = instances.outline.astype(np.float64) - instances.centroids[owner]
    following = np.arange(len(points)) + 1
    last = instances.offsets[1:][lengths > 0] - 1
    following[last] = instances.offsets[:-1][lengths > 0]
    ahead = points[following]
    crossed = points[:, 0] * ahead[:, 1] - points[:, 1] * ahead[:, 0]
    return np.abs(np.bincount(owner, crossed, len(instances))) / 2


def _same_pairs(views: Views) -> Iterator[tuple[int, int]]:
    """Yield pairs of different tiles that show the same thing."""
    instances, box = views.instances, boxes(views.instances)
    one, other = _near_pairs(views, box)
    size = areas(instances)
    distance = np.hypot(*(instances.centroids[one] - instances.centroids[other]).T)
    smaller, larger = np.minimum(size[one], size[other]), np.maximum(size[one], size[other])
    outlined = smaller > 0
    sides = np.minimum(box[one, 2:], box[other, 2:]) - np.maximum(box[one, :2], box[other, :2])
    possible = outlined & (np.clip(sides, 0, None).prod(axis=1) > SAME_FROM * smaller)
    # Of one size and with nearly one centre: no need to fill outlines, as for most views of whole things.
    certain = possible & (distance < 0.25 * np.sqrt(smaller)) & (larger < 2 * smaller)
    certain |= ~outlined & (distance < views.apart)
    for row in np.flatnonzero(certain | possible).tolist():
        a, b = int(one[row]), int(other[row])
        if certain[row] or _shared(instances.polygon(a), instances.polygon(b)) > SAME_FROM:
            yield a, b


def _near_pairs(views: Views, box: npt.NDArray[np.float32]) -> tuple[Rows, Rows]:
    """Return pairs of different tiles whose boxes touch, or that are near enough to be one point."""
    nobody = np.empty(0, np.intp)
    if len(views.tile) < 2:
        return nobody, nobody
    found: list[Any] = []
    # Large things are few: they are compared with all, so that they do not widen everybody's search.
    half = np.maximum(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]) / 2
    usual = float(np.quantile(half, 0.98))
    middle = (box[:, :2] + box[:, 2:]) / 2
    tree = cKDTree(middle)
    found.append(tree.query_pairs(max(2 * np.sqrt(2) * usual, views.apart) + 1e-3, output_type="ndarray"))
    for row in np.flatnonzero(half > usual).tolist():
        touching = np.flatnonzero((box[:, :2] <= box[row, 2:]).all(axis=1) & (box[:, 2:] >= box[row, :2]).all(axis=1))
        found.append(np.stack([np.minimum(touching, row), np.maximum(touching, row)], axis=1))
    pairs = np.unique(np.concatenate(found), axis=0)
    a, b = pairs[:, 0], pairs[:, 1]
    margin = np.float32(views.apart)
    near = (box[a, :2] <= box[b, 2:] + margin).all(axis=1) & (box[a, 2:] >= box[b, :2] - margin).all(axis=1)
    near &= (views.tile[a] != views.tile[b]) & (a != b)
    return a[near], b[near]


def _shared(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """Return the area that two outlines share, as a part of the smaller one's."""
    corner = np.minimum(one.min(axis=0), other.min(axis=0))
    size = np.maximum(one.max(axis=0), other.max(axis=0)) - corner
    zoom = min(_SUBPIXELS, _LONGEST_SIDE / max(float(size.max()), 1.0))
    columns, rows = (int(side * zoom) + 2 for side in size)
    masks = []
    for outline in (one, other):
        mask = np.zeros((rows, columns), np.uint8)
        # fillPoly paints pixels whose centres are whole numbers, the outline's own included.
        cv2.fillPoly(mask, [np.rint((outline - corner) * zoom).astype(np.int32)], [1])
        masks.append(mask)
    areas = [int(cv2.countNonZero(mask)) for mask in masks]
    return int(cv2.countNonZero(masks[0] & masks[1])) / max(min(areas), 1)
