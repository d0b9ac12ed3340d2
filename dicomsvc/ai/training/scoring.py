"""How well found nuclei fit known ones: detection within a radius, and outlines.

Detection pairs known centroids with found ones one to one, the nearest first. AJI is that of Kumar et al. (IEEE TMI
2017), PQ that of Kirillov et al. (CVPR 2019) with IoU above 0.5; Dice is of the foreground. Places are pixels of the
picture; whole numbers are pixel centres.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.spatial import cKDTree

Points = npt.NDArray[np.float64]
LabelImage = npt.NDArray[np.integer[Any]]
_FINER: Final = 4
_RESAMPLES: Final = 2000


@dataclass(frozen=True, slots=True)
class Counts:
    """What the measures are made of, for a picture or for several together."""

    known: float = 0
    found: float = 0
    paired: float = 0
    intersection: float = 0
    union: float = 0
    matched: float = 0
    matched_iou: float = 0
    drawn: float = 0
    labelled: float = 0
    both_areas: float = 0
    areas: float = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


MEASURES: Final[Mapping[str, Callable[[Counts], float]]] = {
    "precision": lambda counts: counts.paired / max(counts.found, 1),
    "recall": lambda counts: counts.paired / max(counts.known, 1),
    "f1": lambda counts: 2 * counts.paired / max(counts.known + counts.found, 1),
    "dice": lambda counts: 2 * counts.both_areas / max(counts.areas, 1),
    "aji": lambda counts: counts.intersection / max(counts.union, 1),
    "pq": lambda counts: 2 * counts.matched_iou / max(counts.drawn + counts.labelled, 1),
}


def score(instances: Sequence[Mapping[str, Any]], labels: LabelImage, radius: float = 5.0) -> Counts:
    """Compare what ``dicomsvc infer`` says of a picture (``centroid``, ``contour``) with its labels."""
    numbers = np.unique(labels[labels > 0])
    known = np.array(ndimage.center_of_mass(labels > 0, labels, numbers), np.float64).reshape(-1, 2)[:, ::-1]
    found = np.array([each["centroid"] for each in instances], np.float64).reshape(-1, 2)
    anew = np.searchsorted(np.concatenate([[0], numbers]), labels)
    drawn = painted(instances, labels.shape)
    return Counts(
        known=len(known),
        found=len(found),
        paired=pairs_within(found, known, radius),
        both_areas=float(np.count_nonzero((labels > 0) & (drawn > 0))),
        areas=float(np.count_nonzero(labels) + np.count_nonzero(drawn)),
        **_overlaps(anew, drawn),
    )


def pairs_within(found: Points, known: Points, radius: float) -> int:
    """Count one-to-one pairs of points within a radius, the nearest first."""
    if not len(found) or not len(known):
        return 0
    distances = cKDTree(found).sparse_distance_matrix(cKDTree(known), radius, output_type="coo_matrix")
    used_found: set[int] = set()
    used_known: set[int] = set()
    for at in np.argsort(distances.data, kind="stable"):
        one, other = int(distances.row[at]), int(distances.col[at])
        if one not in used_found and other not in used_known:
            used_found.add(one)
            used_known.add(other)
    return len(used_found)


def painted(instances: Sequence[Mapping[str, Any]], shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Return a label image of outlines, numbered from 1; where two overlap the first stays."""
    labels = np.zeros(shape, np.int64)
    for number, each in enumerate(instances, 1):
        contour = np.asarray(each.get("contour") or [], np.float64).reshape(-1, 2)
        if len(contour) < 3:
            continue
        first = np.maximum(np.floor(contour.min(axis=0)).astype(int), 0)
        last = np.minimum(np.ceil(contour.max(axis=0)).astype(int) + 1, shape[::-1])
        if (last <= first).any():
            continue
        width, height = (int(side) for side in (last - first) * _FINER)
        image = Image.new("1", (width, height), 0)
        polygon = [(float(x), float(y)) for x, y in (contour - first + 0.5) * _FINER]
        ImageDraw.Draw(image).polygon(polygon, fill=1)
        inside = np.asarray(image)[_FINER // 2 :: _FINER, _FINER // 2 :: _FINER]
        part = labels[first[1] : last[1], first[0] : last[0]]
        part[inside & (part == 0)] = number
    return labels


def _overlaps(known: LabelImage, drawn: npt.NDArray[np.int64]) -> dict[str, float]:
    """Return AJI's intersection and union and PQ's counts; known things are numbered without gaps."""
    rows, columns = int(known.max(initial=0)) + 1, int(drawn.max(initial=0)) + 1
    joint = np.bincount(known.ravel() * columns + drawn.ravel(), minlength=rows * columns).reshape(rows, columns)
    known_area, drawn_area = joint.sum(axis=1)[1:], joint.sum(axis=0)[1:]
    both = joint[1:, 1:]
    either = known_area[:, np.newaxis] + drawn_area - both
    iou = both / np.maximum(either, 1)
    intersection, union = 0, 0
    used = np.zeros(columns - 1, np.bool_)
    for number in range(rows - 1):
        best = int(iou[number].argmax()) if columns > 1 else -1
        if best < 0 or both[number, best] == 0:
            union += int(known_area[number])
        else:
            intersection += int(both[number, best])
            union += int(either[number, best])
            used[best] = True
    union += int(drawn_area[~used].sum())
    hit = iou > 0.5
    return {
        "intersection": intersection,
        "union": union,
        "matched": int(hit.sum()),
        "matched_iou": float(iou[hit].sum()),
        "drawn": int((drawn_area > 0).sum()),
        "labelled": rows - 1,
    }


@dataclass(frozen=True, slots=True)
class Measured:
    """A measure over all things of all pictures, with the 95 % interval of drawing the pictures anew."""

    value: float
    interval: tuple[float, float]


def measured(counts: Sequence[Counts], seed: int = 0) -> dict[str, Measured]:
    """Return each of `MEASURES` over pictures taken together."""
    table = np.array([[getattr(each, column.name) for column in fields(Counts)] for each in counts], np.float64)
    drawn = np.random.default_rng(seed).integers(0, len(table), (_RESAMPLES, len(table)))
    again = [Counts(*row) for row in table[drawn].sum(axis=1)]
    whole = Counts(*table.sum(axis=0))
    found = {}
    for name, measure in MEASURES.items():
        low, high = np.percentile([measure(each) for each in again], [2.5, 97.5])
        found[name] = Measured(measure(whole), (float(low), float(high)))
    return found
