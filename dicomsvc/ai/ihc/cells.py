"""Cells as a table: every threshold is answered from columns, without looking at a pixel again.

For each cell and each value from 0 to 255 the table holds how many of the cell's pixels have a greater value, those
that are positive and those that are negative apart, and the highest marker among them. A threshold picks one row of
these columns, so an answer takes milliseconds, and it is the same as counting the pixels anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal, Self

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicomsvc.ai.ihc.postprocess import Plane, Territories, disk_pixels

Counts = npt.NDArray[np.unsignedinteger[Any]]
Bools = npt.NDArray[np.bool_]
_LEVELS: Final = 256
_SMALLEST_UM: Final = 3.0
_SHARE_OF_MEDIAN: Final = 0.25
_FENCE: Final = 3.0


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a person may turn.

    ``prob``: a pixel counts when its value is above. ``size``: a cell counts when it has more pixels; None chooses it
    from the sizes (`CellTable.automatic_size`). ``size_upper``: and fewer than this. ``marker``: a cell whose highest
    marker value is above is positive whatever its pixels say; None chooses it (`CellTable.automatic_marker`).
    """

    prob: int = 150
    size: int | None = None
    size_upper: int | None = None
    marker: int | Literal["none"] | None = None

    def without_marker(self) -> "Thresholds":
        """Return the same thresholds, the marker taking no part."""
        return replace(self, marker="none")


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What thresholds make of a table: ``counted`` and ``positive`` are by cell, ``marker`` None takes no part."""

    counted: Bools
    positive: Bools
    area: Counts
    prob: int
    size: int
    size_upper: int | None
    marker: int | None

    def scoring(self) -> dict[str, Any]:
        """Return the numbers by the names that DeepLIIF gives them."""
        total = int(self.counted.sum())
        return scoring(total, int((self.counted & self.positive).sum())) | {
            "prob_thresh": self.prob,
            "size_thresh": self.size,
            "size_thresh_upper": self.size_upper,
            "marker_thresh": self.marker,
        }


def scoring(total: int, positive: int) -> dict[str, Any]:
    """Return counts, and percent positive to one decimal (0 where there is no cell)."""
    return {
        "num_total": total,
        "num_pos": positive,
        "num_neg": total - positive,
        "percent_pos": round(100 * positive / total, 1) if total else 0.0,
    }


@dataclass(frozen=True, slots=True, eq=False)
class CellTable:
    """Cells by column; cell ``k`` is territory ``k + 1``.

    ``above_positive``, ``above_negative`` ``(256, n)``: pixels of a value greater than the row's number;
    ``highest_marker`` uint8 ``(256, n)``: among those of either kind. ``centroids`` float32 ``(n, 2)`` and ``boxes``
    int32 ``(n, 4)`` as x, y, width, height are in pixels, (0, 0) the top left corner; boxes hold the whole territory,
    centroids are of its core, the pixels above half of its greatest value (``peak`` uint8). ``mean_marker`` and
    ``mean_hematoxylin`` float32 are means there, ``ring_marker`` that around the core, 0 to 255.
    """

    above_positive: Counts
    above_negative: Counts
    highest_marker: npt.NDArray[np.uint8]
    centroids: npt.NDArray[np.float32]
    boxes: npt.NDArray[np.int32]
    mean_marker: npt.NDArray[np.float32]
    mean_hematoxylin: npt.NDArray[np.float32]
    ring_marker: npt.NDArray[np.float32]
    peak: npt.NDArray[np.uint8]
    mpp: float

    def __len__(self) -> int:
        return len(self.peak)

    def answer(self, thresholds: Thresholds) -> Answer:
        """Say which cells count, and which of them are positive."""
        positive, negative = self.above_positive[thresholds.prob], self.above_negative[thresholds.prob]
        area = positive.astype(np.uint32) + negative
        size = self.automatic_size(area) if thresholds.size is None else thresholds.size
        counted = (area > size) & (area > 0)
        if thresholds.size_upper is not None:
            counted &= area < thresholds.size_upper
        by_pixels = positive >= negative
        highest = self.highest_marker[thresholds.prob]
        marker = None if thresholds.marker == "none" else thresholds.marker
        if thresholds.marker is None:
            marker = self.automatic_marker(highest[counted], by_pixels[counted])
        is_positive = by_pixels if marker is None else by_pixels | (highest > marker)
        return Answer(counted, is_positive, area, thresholds.prob, size, thresholds.size_upper, marker)

    def automatic_size(self, area: Counts) -> int:
        """Return the size that ``auto`` stands for.

        A quarter of the median area of all cells larger than a disk of 3 um, and no less than that disk.
        """
        least = disk_pixels(_SMALLEST_UM, self.mpp)
        areas = area[area > least]
        return max(least, int(_SHARE_OF_MEDIAN * float(np.median(areas)))) if len(areas) else least

    @staticmethod
    def automatic_marker(highest: npt.NDArray[np.uint8], positive: Bools) -> int | None:
        """Return the marker threshold that ``auto`` stands for; None where there are not both kinds of cells.

        It is set to catch only those negative cells that are far outliers among the negative ones (Tukey's outer fence:
        three interquartile ranges above the third quartile) and stained as half of the positive ones are.
        """
        if positive.all() or not positive.any():
            return None
        first, third = np.percentile(highest[~positive], (25, 75))
        middle = float(np.median(highest[positive]))
        return min(255, int(np.ceil(max(third + _FENCE * (third - first), middle))))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the columns by name, to be written."""
        return {each.name: np.asarray(getattr(self, each.name)) for each in fields(self)}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Return the table of what `arrays` gave."""
        columns: dict[str, Any] = {each.name: arrays[each.name] for each in fields(cls)}
        return cls(**columns | {"mpp": float(columns["mpp"])})


def make_table(
    found: Territories,
    mpp: float,
    marker: Plane | None = None,
    hematoxylin: Plane | None = None,
    *,
    ring_um: float = 0.0,
) -> CellTable:
    """Measure territories; a plane that is not given counts as 0.

    ``ring_um`` is how wide the ring around a core is in which the marker is measured too; 0 leaves it out.
    """
    count = found.count
    index = np.flatnonzero(found.labels)
    owner = found.labels.ravel()[index].astype(np.intp) - 1
    value = found.value.ravel()[index]
    key = value * np.intp(count)
    key += owner
    of_all = np.bincount(key, minlength=_LEVELS * count)
    of_positive = np.bincount(key[found.is_positive.ravel()[index]], minlength=_LEVELS * count)
    above, positive_above = (_above(each.reshape(_LEVELS, count)) for each in (of_all, of_positive))
    peak = np.asarray((above > 0).sum(axis=0), np.uint8)
    in_core = value >= (peak // 2 + 1)[owner]
    core, whose = index[in_core], owner[in_core]
    pixels = np.maximum(np.bincount(whose, minlength=count), 1)

    def mean(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        return np.asarray(np.bincount(whose, values, count) / pixels, np.float32)

    row = core // found.labels.shape[1]
    none = np.zeros(count, np.float32)
    return CellTable(
        above_positive=positive_above,
        above_negative=np.asarray(above - positive_above, above.dtype),
        highest_marker=_highest(key, np.zeros(len(key), np.uint8) if marker is None else marker.ravel()[index], count),
        centroids=np.stack([mean(core - row * found.labels.shape[1]), mean(row)], axis=1) + np.float32(0.5),
        boxes=_boxes(found.labels),
        mean_marker=none if marker is None else mean(marker.ravel()[core]),
        mean_hematoxylin=none if hematoxylin is None else mean(hematoxylin.ravel()[core]),
        ring_marker=none if marker is None or not ring_um else _ring(found, core, whose, marker, round(ring_um / mpp)),
        peak=peak,
        mpp=mpp,
    )


def _above(histogram: npt.NDArray[np.int64]) -> Counts:
    """Return how many lie above each row."""
    above = np.zeros_like(histogram)
    above[:-1] = np.cumsum(histogram[:0:-1], axis=0)[::-1]
    counts: Counts = above.astype(np.uint16 if above.max(initial=0) < 1 << 16 else np.uint32)
    return counts


def _highest(key: npt.NDArray[np.intp], marker: Plane, count: int) -> npt.NDArray[np.uint8]:
    """Return the highest marker above each row."""
    at = np.zeros(_LEVELS * count, np.uint8)
    np.maximum.at(at, key, marker)
    highest = np.zeros((_LEVELS, count), np.uint8)
    highest[:-1] = np.maximum.accumulate(at.reshape(_LEVELS, count)[:0:-1], axis=0)[::-1]
    return highest


def _ring(
    found: Territories, core: npt.NDArray[np.intp], owner: npt.NDArray[np.intp], marker: Plane, radius: int
) -> npt.NDArray[np.float32]:
    """Return the mean marker around each core; where two rings overlap, the later cell has the pixel."""
    labels = np.zeros(found.labels.shape, np.float32)
    labels.ravel()[core] = owner + 1
    wide = cv2.dilate(labels, np.ones((3, 3), np.uint8), iterations=max(1, radius))
    ring = np.flatnonzero((wide > 0) & (labels == 0))
    whose = np.asarray(wide, np.float32).ravel()[ring].astype(np.intp) - 1
    pixels = np.bincount(whose, minlength=found.count)
    total = np.bincount(whose, marker.ravel()[ring], found.count)
    return np.asarray(total / np.maximum(pixels, 1), np.float32)


def _boxes(labels: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    places = ndimage.find_objects(labels)
    boxes = [(x.start, y.start, x.stop - x.start, y.stop - y.start) for y, x in places]
    return np.array(boxes, np.int32).reshape(len(places), 4)
