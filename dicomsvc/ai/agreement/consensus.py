"""What most annotators say: of classes, of pixels, of things.

More than half of those who looked must have drawn a thing; it has the pixels that more than half of those who drew it
have, and the class that most of those say. A tie is no majority: half of the annotators do not make a thing, a pixel
that half of them have is left out, and classes with as many votes leave the class undecided. Who gave no vote does not
count.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dicomsvc.ai.agreement.kappa import NONE, Ratings, category_counts
from dicomsvc.ai.agreement.things import Group, Thing
from dicomsvc.errors import BadRequest

UNDECIDED: Final = -2
"""Between categories with as many votes."""


@dataclass(frozen=True, slots=True)
class Vote:
    """The class with most votes, None at a tie or without votes; how many there were, and how many were for it."""

    label: str | None
    votes: int
    of: int


def vote(labels: Sequence[str | None]) -> Vote:
    """Return what most say; None is no vote."""
    given = Counter(label for label in labels if label is not None)
    ranked = given.most_common()
    total = given.total()
    if not ranked:
        return Vote(None, 0, 0)
    if len(ranked) > 1 and ranked[0][1] == ranked[1][1]:
        return Vote(None, ranked[0][1], total)
    return Vote(ranked[0][0], ranked[0][1], total)


def majority(ratings: Ratings) -> Ratings:
    """Return the category with most votes for each unit; `UNDECIDED` at a tie, `kappa.NONE` without votes."""
    counts = category_counts(ratings)
    best = counts.max(axis=1)
    tied = (counts == best[:, np.newaxis]).sum(axis=1) > 1
    chosen = counts.argmax(axis=1).astype(np.int64)
    return np.where(best == 0, NONE, np.where(tied, UNDECIDED, chosen))


def majority_mask(
    pictures: Sequence[npt.NDArray[np.integer[Any]]], unknown: int | None = None, undecided: int = 0
) -> npt.NDArray[np.uint8]:
    """Return the class of each pixel that most pictures have, background (0) among them.

    ``unknown`` is the value of pixels that an annotator did not look at. ``undecided`` is written at a tie, and where
    nobody looked.

    Raises
    ------
    BadRequest
        When the pictures differ in size, or a class does not fit into 8 bits.
    """
    if len({picture.shape for picture in pictures}) != 1 or any(picture.max(initial=0) > 255 for picture in pictures):
        raise BadRequest("masks of one size and with 8 bits can be voted on")
    best = np.zeros(pictures[0].shape, np.uint8)
    chosen = np.full(pictures[0].shape, undecided, np.uint8)
    for category in sorted(set(np.unique(np.concatenate([np.unique(each) for each in pictures])).tolist())):
        if category == unknown:
            continue
        votes = np.sum([picture == category for picture in pictures], axis=0, dtype=np.uint8)
        chosen[votes > best] = category
        chosen[(votes == best) & (votes > 0)] = undecided
        best = np.maximum(best, votes)
    return chosen


def consensus_things(groups: Sequence[Group], annotators: int) -> list[Thing]:
    """Return the things that more than half of the annotators drew; an undecided class is an empty label."""
    return [_voted(group) for group in groups if 2 * len(group.drawn) > annotators]


def _voted(group: Group) -> Thing:
    drawn = list(group.drawn.values())
    top, left = min(thing.row for thing in drawn), min(thing.column for thing in drawn)
    bottom = max(thing.row + thing.mask.shape[0] for thing in drawn)
    right = max(thing.column + thing.mask.shape[1] for thing in drawn)
    votes = np.zeros((bottom - top, right - left), np.uint8)
    for thing in drawn:
        rows, columns = thing.mask.shape
        votes[thing.row - top : thing.row - top + rows, thing.column - left : thing.column - left + columns] += (
            thing.mask
        )
    mask = votes * 2 > len(drawn)
    if not mask.any():
        # Three drawings that overlap in pairs may have no pixel in common with any majority.
        mask = votes == votes.max()
    return Thing(top, left, mask, vote([thing.label for thing in drawn]).label or "")
