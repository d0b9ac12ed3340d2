"""The pictures of a study with their grades, and what networks see of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from dicomsvc.ai.training.granularity.grading import Grades, folder_grades, size_grades, size_limits
from dicomsvc.ai.training.granularity.marks import Granularity, drawn, marks
from dicomsvc.ai.training.granularity.patches import Pixels, balanced, cut, grid
from dicomsvc.ai.training.granularity.plan import Plan
from dicomsvc.ai.training.labelled import Labelled, folds_of, labelled_files, read_labelled, resized
from dicomsvc.errors import BadRequest

Folds = tuple[int, ...]
TRAINING: Final[Folds] = (0, 1, 2)
VALIDATION: Final[Folds] = (3,)
TEST: Final[Folds] = (4,)
_TESTED_EACH: Final = 250
_VALIDATED_EACH: Final = 40
_LARGEST: Final = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Graded:
    """A picture as it is used, and the grade of each nucleus."""

    sample: Labelled
    grades: Grades


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """Patches ``(n, side, side, 3)``, their grades from 0 on, and which picture each is of."""

    pixels: Pixels
    grades: npt.NDArray[np.int64]
    pictures: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """Pictures by their part of the study; a picture is in one part only."""

    training: tuple[Graded, ...]
    validation: tuple[Graded, ...]
    test: tuple[Graded, ...]
    graded_by: str

    @property
    def classes(self) -> int:
        return max(max(each.grades.values(), default=1) for each in (*self.training, *self.validation, *self.test))


def read_material(folder: Path, plan: Plan) -> Material:
    """Read a labelled folder, split by picture.

    Raises
    ------
    BadRequest
        When there are no labelled pictures, or none for one of the parts.
    """
    files = labelled_files(folder, plan.groups)
    folds = folds_of(folder, files)
    parts = {"training": TRAINING, "validation": VALIDATION, "test": TEST}
    read: dict[Folds, list[tuple[Labelled, float]]] = {}
    for word, part in parts.items():
        found = [_read(name, *files[name], plan) for name in files if folds[name] in part]
        # What is not known everywhere tells neither what is background nor which nuclei are complete.
        read[part] = [each for each in found if each[0].unknown is None or not each[0].unknown.any()]
        if not read[part]:
            raise BadRequest(f"{folder} has too few pictures that are known everywhere: none falls to {word}")
    limits = size_limits([sample for sample, _ in read[TRAINING]])
    given = [folder_grades(sample, folder, factor) for each in read.values() for sample, factor in each]
    by_folder = all(each is not None for each in given)

    def graded(fold: Folds) -> tuple[Graded, ...]:
        return tuple(
            Graded(
                sample, (folder_grades(sample, folder, factor) if by_folder else None) or size_grades(sample, limits)
            )
            for sample, factor in read[fold]
        )

    graded_by = (
        "the folder's classes" if by_folder else f"area, cut at {', '.join(f'{each:.0f}' for each in limits)} px"
    )
    return Material(graded(TRAINING), graded(VALIDATION), graded(TEST), graded_by)


def _read(name: str, image: Path, labels: Path, plan: Plan) -> tuple[Labelled, float]:
    sample = read_labelled(name, image, labels)
    usual = sample.diameter()
    factor = plan.diameter / usual if plan.diameter is not None and usual else 1.0
    largest = max(sample.labels.shape) * factor
    # A picture whose nuclei are few pixels large would become one that no memory holds.
    factor *= min(1.0, 4 * _LARGEST / largest)
    if sample.unknown is not None and sample.unknown.any():
        return sample, factor
    sample = resized(sample, factor) if factor != 1 else sample
    top, left = (max(0, (size - _LARGEST) // 2) for size in sample.labels.shape)
    inner = slice(top, top + _LARGEST), slice(left, left + _LARGEST)
    if sample.labels[inner].shape != sample.labels.shape:
        sample = Labelled(name, np.ascontiguousarray(sample.pixels[inner]), np.ascontiguousarray(sample.labels[inner]))
    return sample, factor


def pieces(
    pictures: Sequence[Graded], granularity: Granularity, patch: int, plan: Plan, each: int, seed: int
) -> Pieces:
    """Return as many patches of every grade, at most ``each``, labelled by one kind of marks."""
    grids = [grid(one.sample, one.grades, granularity, patch) for one in pictures]
    pixels, grades, names = [np.empty((0, plan.side, plan.side, 3), np.uint8)], [np.empty(0, np.int64)], []
    for number, which in balanced(grids, each, np.random.default_rng([seed, patch])):
        chosen = grids[number].chosen(which)
        pixels.append(cut(pictures[number].sample, chosen, plan.side))
        grades.append(chosen.grades - 1)
        names += [pictures[number].sample.name] * len(chosen)
    return Pieces(np.concatenate(pixels), np.concatenate(grades), tuple(names))


@dataclass(frozen=True, slots=True, eq=False)
class TestPatches:
    """Patches that the pixels give a label, with the label that another kind of marks gives them; -1 for none."""

    __test__ = False

    pieces: Pieces
    own: npt.NDArray[np.int64]


def test_patches(material: Material, granularity: Granularity, patch: int, plan: Plan) -> TestPatches:
    """Return up to 250 patches of each grade from the test pictures: the same ones for every kind of marks."""
    grids = [grid(one.sample, one.grades, Granularity.PIXEL, patch) for one in material.test]
    table = [(number, at, grade) for number, one in enumerate(grids) for at, grade in enumerate(one.grades)]
    rows = np.array(table, np.int64).reshape(-1, 3)
    chance = np.random.default_rng(patch)
    taken: list[npt.NDArray[np.int64]] = []
    for grade in np.unique(rows[:, 2]):
        there = np.flatnonzero(rows[:, 2] == grade)
        taken.append(chance.choice(there, min(_TESTED_EACH, len(there)), replace=False))
    chosen = rows[np.sort(np.concatenate(taken))] if taken else rows
    pixels, own, names = [np.empty((0, plan.side, plan.side, 3), np.uint8)], [], []
    for number in np.unique(chosen[:, 0]):
        one, of = material.test[number], grids[number].chosen(chosen[chosen[:, 0] == number, 1])
        known = _labels(one, granularity, patch)
        own += [known.get((int(row), int(column)), 0) - 1 for row, column in of.corners]
        pixels.append(cut(one.sample, of, plan.side))
        names += [one.sample.name] * len(of)
    whole = Pieces(np.concatenate(pixels), chosen[:, 2] - 1, tuple(names))
    return TestPatches(whole, np.array(own, np.int64))


def masks(pictures: Sequence[Graded], granularity: Granularity) -> list[npt.NDArray[np.bool_]]:
    """Return what is marked in each picture."""
    return [drawn(marks(one.sample.labels, granularity), one.sample.labels.shape) > 0 for one in pictures]


def fit_of_marks(
    material: Material, granularities: Sequence[Granularity]
) -> Mapping[Granularity, Mapping[str, Sequence[Sequence[int]]]]:
    """Return how the marks themselves fit the pixels of the test pictures: what a perfect student of them would get."""
    truth = masks(material.test, Granularity.PIXEL)
    return {
        granularity: {
            one.sample.name: confusion(real, marked)
            for one, real, marked in zip(material.test, truth, masks(material.test, granularity), strict=True)
        }
        for granularity in granularities
    }


def label_changes(material: Material, plan: Plan) -> dict[str, dict[str, list[int]]]:
    """Count test patches by size and marks: those the pixels label, how many are lost, how many get another label."""
    found: dict[str, dict[str, list[int]]] = {}
    for patch in plan.patches:
        truth = [_labels(one, Granularity.PIXEL, patch) for one in material.test]
        found[str(patch)] = {}
        for kind in plan.granularities:
            own = [_labels(one, kind, patch) for one in material.test]
            lost = sum(len(real.keys() - other.keys()) for real, other in zip(truth, own, strict=True))
            pairs = [
                (real[at], other[at]) for real, other in zip(truth, own, strict=True) for at in real if at in other
            ]
            found[str(patch)][str(kind)] = [sum(map(len, truth)), lost, sum(one != other for one, other in pairs)]
    return found


def _labels(one: Graded, granularity: Granularity, patch: int) -> dict[tuple[int, int], int]:
    of = grid(one.sample, one.grades, granularity, patch)
    return {(int(row), int(column)): int(grade) for (row, column), grade in zip(of.corners, of.grades, strict=True)}


def confusion(
    true: npt.NDArray[np.integer | np.bool_], found: npt.NDArray[np.integer | np.bool_], classes: int = 2
) -> list[list[int]]:
    """Return counts by true and by found class."""
    joint = np.bincount(true.ravel().astype(np.int64) * classes + found.ravel(), minlength=classes * classes)
    counts: list[list[int]] = joint.reshape(classes, classes).tolist()
    return counts


def validation_pieces(material: Material, granularity: Granularity, patch: int, plan: Plan) -> Pieces:
    """Return a few patches that choose the weights; labelled as those of training are."""
    return pieces(material.validation, granularity, patch, plan, _VALIDATED_EACH, 0)
