"""The stream of training crops of a HoVer-Net: crop ``i`` of a seed is always the same."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from dicomsvc.ai.training.augmentation import photographed
from dicomsvc.ai.training.hover.recipe import Recipe
from dicomsvc.ai.training.hover.targets import targets
from dicomsvc.ai.training.labelled import Labelled, folds_of, labelled_files, read_labelled
from dicomsvc.ai.training.recipe import LabelledFolder
from dicomsvc.ai.training.sampling import Balanced
from dicomsvc.ai.training.segmentation.crops import Moved, Pixels, trimmed
from dicomsvc.ai.training.segmentation.pictures import UNKNOWN_CLASS, class_file, read_numbers
from dicomsvc.ai.training.task import Example
from dicomsvc.errors import BadRequest

_MULTIPLE: Final = 32


@dataclass(frozen=True, slots=True, eq=False)
class Typed:
    """A picture with its things, and the type of each pixel: 0 background, 255 unknown."""

    picture: Labelled
    types: npt.NDArray[np.uint8]

    @property
    def known(self) -> npt.NDArray[np.uint8]:
        unknown = self.picture.unknown
        shape = self.picture.labels.shape
        return np.ones(shape, np.uint8) if unknown is None else (~unknown).astype(np.uint8)


def read_typed(recipe: Recipe, source: LabelledFolder, folds: Collection[int]) -> list[Typed]:
    """Read the pictures of some folds.

    Raises
    ------
    BadRequest
        When there is none in the folder, sizes differ, or a type is no class of the recipe.
    """
    found = []
    files = labelled_files(source.folder, source.groups)
    parts = folds_of(source.folder, files)
    for name, (image, labels) in files.items():
        if parts[name] not in folds:
            continue
        picture = read_labelled(name, image, labels)
        types = (picture.labels > 0).astype(np.int32)
        if recipe.channels:
            file = class_file(labels)
            types = read_numbers(file, picture.labels.shape)
            if (types[types != UNKNOWN_CLASS] > len(recipe.classes)).any():
                raise BadRequest(f"{file} has a type above {len(recipe.classes)}, the number of classes")
        found.append(Typed(picture, types.astype(np.uint8)))
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Crops(Dataset[Example]):
    """``length`` crops from number ``first`` on: image ``(3, side, side)`` UINT8 and targets as float32.

    A type is drawn first, then one of its things, which lies near the crop's middle.
    """

    recipe: Recipe
    pictures: Sequence[Typed]
    balanced: Balanced
    things: Sequence[tuple[int, float, float]]
    """Picture, column and row of a pixel of each thing."""
    first: int
    length: int

    @classmethod
    def of(cls, recipe: Recipe, pictures: Sequence[Typed], first: int, length: int) -> "Crops":
        types, things = [], []
        for number, typed in enumerate(pictures):
            columns = typed.picture.labels.shape[1]
            _, at = np.unique(typed.picture.labels, return_index=True)
            for place in at[typed.picture.labels.ravel()[at] > 0].tolist():
                types.append(int(typed.types.flat[place]))
                things.append((number, float(place % columns), float(place // columns)))
        if not things:
            raise BadRequest("no labelled thing is left to train on; all are held out or unknown")
        return cls(recipe, pictures, Balanced.of(types, 0.5), things, first, length)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        cv2.setNumThreads(1)
        chance = np.random.default_rng((self.recipe.seed, self.first + index))
        number, column, row = self.things[self.balanced.draw(chance)]
        typed = self.pictures[number]
        moved = Moved.drawn(self.recipe, (column, row), chance)
        pixels = moved.image(typed.picture.pixels)
        if self.recipe.recoloured:
            pixels = photographed(pixels, chance)
        types = moved.numbers(typed.types, UNKNOWN_CLASS).astype(np.uint8)
        return _pair(pixels, moved.numbers(typed.picture.labels, 0), types, moved.numbers(typed.known, 0))


def whole(typed: Typed) -> Example:
    """Return a picture, cut to what the network takes, with its targets."""
    part = trimmed(typed.types.shape, _MULTIPLE)
    return _pair(
        typed.picture.pixels[part],
        typed.picture.labels[part].copy(),
        typed.types[part],
        typed.known[part].astype(np.int32),
    )


def _pair(
    pixels: Pixels, labels: npt.NDArray[np.int32], types: npt.NDArray[np.uint8], known: npt.NDArray[np.int32]
) -> Example:
    image = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    return torch.from_numpy(image), torch.from_numpy(targets(labels, types, known > 0))
