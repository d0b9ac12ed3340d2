"""The stream of training patches: patch ``i`` of a seed is always the same."""

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from dicomsvc.ai.training.augmentation import photographed
from dicomsvc.ai.training.backdrop import Chance
from dicomsvc.ai.training.patches.recipe import Recipe
from dicomsvc.ai.training.task import Example

Pixels = npt.NDArray[np.uint8]
_PHOTOGRAPHED: Final = 0.8
_SHIFT: Final = 0.08


@dataclass(frozen=True, slots=True, eq=False)
class Crops(Dataset[Example]):
    """Image ``(3, side, side)`` UINT8 and the number of its class; ``chances`` of each patch."""

    recipe: Recipe
    pixels: Pixels
    labels: npt.NDArray[np.int64]
    chances: npt.NDArray[np.float64]
    first: int
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        cv2.setNumThreads(1)
        chance = np.random.default_rng((self.recipe.seed, self.first + index))
        number = int(chance.choice(len(self.pixels), p=self.chances))
        return example(turned(self.pixels[number], chance), int(self.labels[number]), chance)


def balanced(labels: npt.NDArray[np.int64], balance: float) -> npt.NDArray[np.float64]:
    """Return the chance of each patch: 0 leaves classes as often as they are, 1 makes all equally often."""
    counts = np.bincount(labels)
    weights = counts[labels].astype(np.float64) ** -balance
    return np.asarray(weights / weights.sum(), np.float64)


def turned(pixels: Pixels, chance: Chance) -> Pixels:
    """Turn by quarters, mirror and shift a little."""
    pixels = np.rot90(pixels, int(chance.integers(4)))
    if chance.random() < 0.5:
        pixels = pixels[:, ::-1]
    side = len(pixels)
    x, y = chance.uniform(-_SHIFT * side, _SHIFT * side, 2)
    matrix = np.array([[1, 0, x], [0, 1, y]], np.float64)
    moved: Any = cv2.warpAffine(np.ascontiguousarray(pixels), matrix, (side, side), borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, np.uint8)


def example(pixels: Pixels, label: int, chance: Chance | None = None) -> Example:
    """Return a patch as tensors; with ``chance`` most as another laboratory and scanner would have made them."""
    if chance is not None and chance.random() < _PHOTOGRAPHED:
        pixels = photographed(pixels, chance)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))), torch.tensor(label)
