"""What a model found, as columns, between decoding and result objects.

Coordinates are *slide pixels*: those of the finest level's total pixel matrix as ``(column, row)``, where the top left
corner of the top left pixel is (0, 0) and its centre (0.5, 0.5).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class Instances:
    """Things with outlines (or only centres), one row each.

    ``class_index`` int16 ``(n,)`` counts the manifest's classes from 0; ``centroids`` float32 ``(n, 2)``;
    ``probability`` float32 ``(n,)``; ``offsets`` int64 ``(n + 1,)`` cuts ``outline`` float32 ``(m, 2)`` into one open
    polygon a thing (empty for points). ``measurements`` are float32 ``(n,)`` by name (``area_um2``, …).
    """

    class_index: npt.NDArray[np.int16]
    centroids: npt.NDArray[np.float32]
    probability: npt.NDArray[np.float32]
    offsets: npt.NDArray[np.int64]
    outline: npt.NDArray[np.float32]
    measurements: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.class_index)

    def polygon(self, number: int) -> npt.NDArray[np.float32]:
        """Return the outline of one thing, ``(points, 2)``."""
        return self.outline[self.offsets[number] : self.offsets[number + 1]]

    @classmethod
    def empty(cls, measurements: Sequence[str] = ()) -> Self:
        """Return none."""
        return cls(
            np.empty(0, np.int16),
            np.empty((0, 2), np.float32),
            np.empty(0, np.float32),
            np.zeros(1, np.int64),
            np.empty((0, 2), np.float32),
            {name: np.empty(0, np.float32) for name in measurements},
        )

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return all of several, in order; their measurements have the same names."""
        parts = [part for part in parts if len(part)] or list(parts[:1])
        if not parts:
            return cls.empty()
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        return cls(
            np.concatenate([part.class_index for part in parts]),
            np.concatenate([part.centroids for part in parts]),
            np.concatenate([part.probability for part in parts]),
            np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
            np.concatenate([part.outline for part in parts]),
            {name: np.concatenate([part.measurements[name] for part in parts]) for name in parts[0].measurements},
        )

    def chosen(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> Self:
        """Return some of them: a mask, or row numbers in the order wanted."""
        if rows.dtype == np.bool_ and rows.all():
            return self
        numbers = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        lengths = np.diff(self.offsets)[numbers]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
        points = np.repeat(self.offsets[:-1][numbers], lengths) + within
        return type(self)(
            self.class_index[numbers],
            self.centroids[numbers],
            self.probability[numbers],
            offsets,
            self.outline[points],
            {name: values[numbers] for name, values in self.measurements.items()},
        )
