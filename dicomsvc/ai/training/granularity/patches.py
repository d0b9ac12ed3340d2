"""Patches on a grid of half their side, with labels by the rule of Shi et al. (BIBM 2019, III B 1).

A patch has the highest grade that is marked in it; one without a complete nucleus is thrown away. What is complete and
what is in a patch depends on the marks, so coarser marks give other patches and other labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from dicomsvc.ai.training.granularity.grading import Grades
from dicomsvc.ai.training.granularity.marks import Granularity, drawn, marks
from dicomsvc.ai.training.labelled import Labelled

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Patches of one picture: corners ``(n, 2)`` as (row, column), and their grades ``(n,)`` from 1 on."""

    side: int
    corners: npt.NDArray[np.int64]
    grades: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.grades)

    def chosen(self, which: npt.NDArray[np.int64]) -> "Grid":
        return Grid(self.side, self.corners[which], self.grades[which])


def grid(sample: Labelled, grades: Grades, granularity: Granularity, side: int) -> Grid:
    """Return the patches of a picture that have a label."""
    found = marks(sample.labels, granularity)
    rows, columns = sample.labels.shape
    picture = drawn(found, (rows, columns), grades)
    boxes = np.array(
        [(mark.row, mark.column, mark.row + mark.mask.shape[0], mark.column + mark.mask.shape[1]) for mark in found],
        np.int64,
    ).reshape(-1, 4)
    corners, labels = [], []
    for row in range(0, rows - side + 1, side // 2):
        for column in range(0, columns - side + 1, side // 2):
            complete = (boxes[:, :2] >= (row, column)).all(axis=1) & (boxes[:, 2:] <= (row + side, column + side)).all(
                axis=1
            )
            if complete.any():
                corners.append((row, column))
                labels.append(int(picture[row : row + side, column : column + side].max()))
    return Grid(side, np.array(corners, np.int64).reshape(-1, 2), np.array(labels, np.int64))


def balanced(grids: Sequence[Grid], each: int, chance: np.random.Generator) -> list[tuple[int, npt.NDArray[np.int64]]]:
    """Draw as many patches of every grade, at most ``each``: picture and which of its patches.

    A grade with fewer patches than the others limits all, as in the paper.
    """
    where = [(picture, at, grade) for picture, one in enumerate(grids) for at, grade in enumerate(one.grades)]
    table = np.array(where, np.int64).reshape(-1, 3)
    kinds, counts = np.unique(table[:, 2], return_counts=True)
    if not len(kinds):
        return []
    share = min(each, int(counts.min()))
    drawn_rows = np.concatenate(
        [chance.choice(np.flatnonzero(table[:, 2] == kind), share, replace=False) for kind in kinds]
    )
    taken = table[np.sort(drawn_rows)]
    return [(int(picture), taken[taken[:, 0] == picture, 1]) for picture in np.unique(taken[:, 0])]


def cut(sample: Labelled, patches: Grid, side: int) -> Pixels:
    """Return the pixels of patches, ``(n, side, side, 3)``, enlarged or reduced to ``side``."""
    pieces = np.empty((len(patches), side, side, 3), np.uint8)
    way = cv2.INTER_AREA if side < patches.side else cv2.INTER_LINEAR
    for at, (row, column) in enumerate(patches.corners):
        piece = sample.pixels[row : row + patches.side, column : column + patches.side]
        pieces[at] = cv2.resize(piece, (side, side), interpolation=way) if side != patches.side else piece
    return pieces
