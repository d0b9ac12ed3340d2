"""Reads aligned pictures as blocks that fit into memory."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from dicomsvc.ai.training.unlabelled import Source, tissue_share
from dicomsvc.ai.training.virtual.recipe import Pair, Part, Recipe
from dicomsvc.errors import BadRequest

Pixels = npt.NDArray[np.uint8]
SIDE: Final = 1024
_LEAST_TISSUE: Final = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Pixels ``(rows, columns, 3)`` of H&E and ``(rows, columns, channels)`` of what is to be inferred."""

    place: tuple[int, int]
    image: Pixels
    stains: Pixels


def read_blocks(recipe: Recipe, parts: Sequence[Part | None], most: int) -> list[Block]:
    """Read blocks with tissue of a part of each pair, ``most`` of each, chosen by the recipe's seed.

    Raises
    ------
    BadRequest
        When a picture cannot be read, or those of a pair differ in size.
    """
    found: list[Block] = []
    for pair, part in zip(recipe.pair, parts, strict=True):
        if part is not None:
            found += _of_pair(recipe, pair, part, most)
    return found


def _of_pair(recipe: Recipe, pair: Pair, part: Part, most: int) -> list[Block]:
    with ExitStack() as stack:
        image = stack.enter_context(Source(pair.file))
        stains = [stack.enter_context(Source(pair.channels[each.name])) for each in recipe.channel]
        if any(each.size != image.size for each in stains):
            raise BadRequest(f"{pair.file} and its channels differ in size: they must lie on the same pixel grid")
        columns, rows = image.size
        left, right = round(part[0] * columns), round(part[1] * columns)
        places = [
            (x, y, min(SIDE, right - x), min(SIDE, rows - y))
            for y in range(0, rows, SIDE)
            for x in range(left, right, SIDE)
            if min(right - x, rows - y) >= max(recipe.side, min(SIDE, right - left, rows) // 2)
        ]
        chance = np.random.default_rng(recipe.seed)
        found: list[Block] = []
        for number in chance.permutation(len(places)).tolist():
            place = places[number]
            pixels = image.read(*place)
            if tissue_share(pixels) >= _LEAST_TISSUE:
                planes = np.stack([each.read(*place).max(axis=2) for each in stains], axis=2)
                found.append(Block((place[0], place[1]), pixels, planes))
            if len(found) == most:
                break
        return sorted(found, key=lambda block: block.place)
