"""Parts to train on, to choose by and to measure on, that share no patient, or at least no place."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from dicomsvc.ai.training.patches.recipe import Recipe
from dicomsvc.ai.training.patches.sources import Patch

_LEAST_GROUPS: Final = 3


class Part(StrEnum):
    TRAINING = "training"
    VALIDATION = "validation"
    TEST = "test"


def split(patches: Sequence[Patch], recipe: Recipe) -> dict[Part, list[Patch]]:
    """Return the patches of each part: by group where there are three or more, else by blocks of each slide.

    Between blocks of different parts lies the recipe's gap; what is nearer than that is in no part.
    """
    groups = Counter(each.group for each in patches)
    found: dict[Part, list[Patch]] = {part: [] for part in Part}
    if len(groups) >= _LEAST_GROUPS:
        parts = _by_group(groups, recipe)
        for each in patches:
            found[parts[each.group]].append(each)
        return found
    reach = recipe.side * recipe.mpp / 2 + recipe.gap_um
    for each in patches:
        corners = [(each.x + x, each.y + y) for x in (-reach, reach) for y in (-reach, reach)]
        touched = {_part_of(block_of(each, x, y, recipe), recipe) for x, y in (*corners, (each.x, each.y))}
        if len(touched) == 1:
            found[touched.pop()].append(each)
    return found


def block_of(patch: Patch, x: float, y: float, recipe: Recipe) -> str:
    """Return the name of the block of a patch's slide that a place lies in."""
    return f"{patch.group}:{int(x // recipe.block_um)}:{int(y // recipe.block_um)}"


def unit_of(patch: Patch, recipe: Recipe, groups: int) -> str:
    """Return what is drawn again for intervals: the group, or the block where there are too few groups."""
    return patch.group if groups >= _LEAST_GROUPS else block_of(patch, patch.x, patch.y, recipe)


def _by_group(groups: Counter[str], recipe: Recipe) -> dict[str, Part]:
    """Fill test, then validation, with groups in the order of their digests; each part gets one at least."""
    left = sorted(groups, key=lambda name: _share(name, recipe))
    total = sum(groups.values())
    found: dict[str, Part] = {}
    for part, share in ((Part.TEST, recipe.test_share), (Part.VALIDATION, recipe.validation_share)):
        taken = 0
        while share > 0 and len(left) > 1 and (not taken or taken + groups[left[0]] / 2 <= share * total):
            taken += groups[left[0]]
            found[left.pop(0)] = part
    return found | dict.fromkeys(left, Part.TRAINING)


def _part_of(block: str, recipe: Recipe) -> Part:
    share = _share(block, recipe)
    if share < recipe.test_share:
        return Part.TEST
    return Part.VALIDATION if share < recipe.test_share + recipe.validation_share else Part.TRAINING


def _share(name: str, recipe: Recipe) -> float:
    """Return a number from 0 to 1 that is always the same for a name and a seed."""
    digest = hashlib.sha256(f"{recipe.seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / (1 << 64)
