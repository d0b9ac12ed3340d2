"""Draws examples so that rare classes are seen as often as common ones."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class Balanced:
    """Draws a class first, then one of its members: which depends on the generator alone."""

    members: tuple[tuple[int, ...], ...]
    shares: tuple[float, ...]

    @classmethod
    def of(cls, classes: Sequence[Hashable], evenness: float = 1.0) -> "Balanced":
        """Return it for the class of each example; ``evenness`` 1 draws all classes alike, 0 as often as they occur."""
        found: dict[Hashable, list[int]] = {}
        for number, name in enumerate(classes):
            found.setdefault(name, []).append(number)
        weights = [len(each) ** (1 - evenness) for each in found.values()]
        return cls(tuple(map(tuple, found.values())), tuple(weight / sum(weights) for weight in weights))

    def draw(self, chance: np.random.Generator) -> int:
        """Return the number of an example."""
        members = self.members[int(chance.choice(len(self.members), p=self.shares))]
        return members[int(chance.integers(len(members)))]
