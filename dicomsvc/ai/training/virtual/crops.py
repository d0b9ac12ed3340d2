"""The stream of training crops: crop ``i`` of a seed is always the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from dicomsvc.ai.training.augmentation import photographed
from dicomsvc.ai.training.backdrop import Chance
from dicomsvc.ai.training.networks.lite0 import MULTIPLE
from dicomsvc.ai.training.task import Example
from dicomsvc.ai.training.virtual.blocks import Block
from dicomsvc.ai.training.virtual.recipe import Recipe

_PHOTOGRAPHED: Final = 0.6
_BY_SIGNAL: Final = 0.6


@dataclass(frozen=True, slots=True, eq=False)
class Crops(Dataset[Example]):
    """Image ``(3, side, side)`` UINT8 and stains ``(channels, side, side)`` float32, 0 to 1.

    A part of the crops is drawn from blocks in proportion to their rarest stain, which most blocks hardly show.
    """

    recipe: Recipe
    blocks: Sequence[Block]
    signal: npt.NDArray[np.float64]
    first: int
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        cv2.setNumThreads(1)
        chance = np.random.default_rng((self.recipe.seed, self.first + index))
        by_signal = self.signal if chance.random() < _BY_SIGNAL else None
        block = self.blocks[int(chance.choice(len(self.blocks), p=by_signal))]
        return example(turned(cut(block, self.recipe.side, chance), chance), chance)


def signal_of(blocks: Sequence[Block]) -> npt.NDArray[np.float64]:
    """Return each block's share of the stain that is rarest over all blocks."""
    means = np.stack([block.stains.reshape(-1, block.stains.shape[2]).mean(axis=0) for block in blocks])
    rare = means[:, int(means.mean(axis=0).argmin())] + 1e-6
    return np.asarray(rare / rare.sum(), np.float64)


def cut(block: Block, side: int, chance: Chance) -> Block:
    """Return a square piece of a block."""
    rows, columns = block.image.shape[:2]
    y, x = int(chance.integers(0, rows - side + 1)), int(chance.integers(0, columns - side + 1))
    part = slice(y, y + side), slice(x, x + side)
    return Block((block.place[0] + x, block.place[1] + y), block.image[part], block.stains[part])


def turned(block: Block, chance: Chance) -> Block:
    """Turn a piece by quarters and mirror it."""
    quarters, mirror = int(chance.integers(4)), chance.random() < 0.5
    image, stains = (np.rot90(each, quarters) for each in (block.image, block.stains))
    if mirror:
        image, stains = image[:, ::-1], stains[:, ::-1]
    return Block(block.place, np.ascontiguousarray(image), np.ascontiguousarray(stains))


def example(block: Block, chance: Chance | None = None) -> Example:
    """Return a piece as tensors; with ``chance`` some as another scanner would have taken them."""
    image = block.image
    if chance is not None and chance.random() < _PHOTOGRAPHED:
        image = photographed(image, chance)
    stains = np.ascontiguousarray(block.stains.transpose(2, 0, 1)).astype(np.float32) / 255
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))), torch.from_numpy(stains)


def whole(block: Block, most: int) -> Example:
    """Return the middle of a block, at most so large, its sides a multiple of what the network takes."""
    rows, columns = (min(size, most) // MULTIPLE * MULTIPLE for size in block.image.shape[:2])
    y, x = (block.image.shape[0] - rows) // 2, (block.image.shape[1] - columns) // 2
    part = slice(y, y + rows), slice(x, x + columns)
    return example(Block(block.place, block.image[part], block.stains[part]))
