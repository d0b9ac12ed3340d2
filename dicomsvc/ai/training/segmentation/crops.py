"""The stream of training crops: crop ``i`` of a seed is always the same, whoever makes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from dicomsvc.ai.training.augmentation import photographed
from dicomsvc.ai.training.sampling import Balanced
from dicomsvc.ai.training.segmentation.pictures import UNKNOWN_CLASS, Classes, Picture
from dicomsvc.ai.training.segmentation.recipe import Described, Recipe
from dicomsvc.ai.training.task import Example
from dicomsvc.errors import BadRequest

_PLACES: Final = 400
_OFF_MIDDLE: Final = 0.35

Chance = np.random.Generator
Pixels = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Crops(Dataset[Example]):
    """``length`` crops from number ``first`` on: image ``(3, side, side)`` UINT8 and classes ``(side, side)`` UINT8.

    A class is drawn first, then a picture that has it, then one of its pixels, which lies near the crop's middle.
    """

    recipe: Recipe
    pictures: Sequence[Picture]
    balanced: Balanced
    places: Sequence[tuple[int, npt.NDArray[np.intp]]]
    """Picture, and ``(row, column)`` of some pixels of one class of it."""
    first: int
    length: int

    @classmethod
    def of(cls, recipe: Recipe, pictures: Sequence[Picture], first: int, length: int) -> "Crops":
        classes, places = [], []
        chance = np.random.default_rng(recipe.seed)
        for number, picture in enumerate(pictures):
            for value in np.unique(picture.classes[picture.classes != UNKNOWN_CLASS]).tolist():
                pixels = np.argwhere(picture.classes == value)
                kept = chance.choice(len(pixels), min(_PLACES, len(pixels)), replace=False)
                classes.append(value)
                places.append((number, pixels[kept]))
        if not places:
            raise BadRequest("no labelled picture is left to train on; all are held out or unknown")
        return cls(recipe, pictures, Balanced.of(classes, recipe.evenness), places, first, length)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        cv2.setNumThreads(1)
        chance = np.random.default_rng((self.recipe.seed, self.first + index))
        number, places = self.places[self.balanced.draw(chance)]
        picture = self.pictures[number]
        row, column = places[int(chance.integers(len(places)))]
        moved = Moved.drawn(self.recipe, (float(column), float(row)), chance)
        pixels = moved.image(picture.pixels)
        if self.recipe.recoloured:
            pixels = photographed(pixels, chance)
        return example(pixels, moved.numbers(picture.classes, UNKNOWN_CLASS).astype(np.uint8))


@dataclass(frozen=True, slots=True, eq=False)
class Moved:
    """A turned, mirrored and scaled piece of ``side`` pixels of a picture."""

    matrix: npt.NDArray[np.float64]
    side: int

    @classmethod
    def drawn(cls, recipe: Described, middle: tuple[float, float], chance: Chance) -> "Moved":
        """Return one whose middle is about at ``(column, row)``."""
        scale = float(np.exp(chance.uniform(-1, 1) * np.log(recipe.zoom)))
        matrix = cv2.getRotationMatrix2D((0.0, 0.0), chance.uniform(0, 360), scale)
        if chance.random() < 0.5:
            matrix[0] *= -1
        off = chance.uniform(-_OFF_MIDDLE, _OFF_MIDDLE, 2) * recipe.side
        matrix[:, 2] = recipe.side / 2 + off - matrix[:, :2] @ np.array(middle)
        return cls(np.asarray(matrix, np.float64), recipe.side)

    def image(self, pixels: Pixels) -> Pixels:
        """Return the piece of a picture; outside of it lies its mirror image."""
        size = (self.side, self.side)
        return np.asarray(
            cv2.warpAffine(pixels, self.matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101),
            np.uint8,
        )

    def numbers(self, plane: npt.NDArray[np.integer[Any]], outside: int) -> Numbers:
        """Return the piece of a plane of numbers (below 2^24, so that float32 holds them)."""
        moved = cv2.warpAffine(
            plane.astype(np.float32),
            self.matrix,
            (self.side, self.side),
            flags=cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=float(outside),
        )
        return np.asarray(moved).astype(np.int32)


def example(pixels: Pixels, classes: Classes) -> Example:
    """Return a picture and its classes as tensors."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))), torch.from_numpy(classes)


def trimmed(shape: tuple[int, ...], multiple: int) -> tuple[slice, slice]:
    """Return which rows and columns are left when both are cut to a multiple."""
    rows, columns = (size // multiple * multiple for size in shape[:2])
    return slice(rows), slice(columns)
