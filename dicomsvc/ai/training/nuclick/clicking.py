"""Clicks as people make them on a labelled picture, and what the network is to answer for each."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from dicomsvc.ai.clicks.ground import mirrored
from dicomsvc.ai.clicks.guides import Maps, guiding_maps
from dicomsvc.ai.training.backdrop import Chance
from dicomsvc.ai.training.labelled import Labelled, Labels

Point = tuple[int, int]
SIGMA: Final = 2.0
"""Of the Gaussians of guiding maps, in pixels of the network's resolution."""
_LEAST_AREA: Final = 20
_CLEAR_OF_NUCLEI: Final = 4.0
_EDGE: Final = 1.6
_JITTER: Final = 0.25


class Aim(StrEnum):
    """Where in a nucleus a click is."""

    CENTRE = "centre"
    """The pixel deepest inside."""
    JITTERED = "jittered"
    """Around the centre, by a quarter of the diameter, still inside."""
    ANYWHERE = "anywhere"
    EDGE = "edge"
    """Within 1.6 pixels of the border."""


@dataclass(frozen=True, slots=True, eq=False)
class Click:
    """A click on nucleus ``number`` (0: on none) at ``place`` (x, y), with the clicks on others."""

    number: int
    place: Point
    others: npt.NDArray[np.float64]


def drawn_click(sample: Labelled, nothing: float, chance: Chance) -> Click:
    """Draw a click, of which a share hits no nucleus, and some of the other nuclei's clicks or none."""
    numbers = large_enough(sample.labels)
    place = _beside(sample.labels, chance) if chance.random() < nothing or not len(numbers) else None
    if place is not None or not len(numbers):
        number = 0
        place = place or (sample.labels.shape[1] // 2, sample.labels.shape[0] // 2)
    else:
        number = int(chance.choice(numbers))
        aim = (Aim.JITTERED, Aim.ANYWHERE, Aim.ANYWHERE, Aim.EDGE)[int(chance.integers(4))]
        place = aimed(sample.labels, number, aim, chance)
    share = (0.0, 1.0, float(chance.random()))[int(chance.integers(3))]
    others = [each for each in numbers if each != number and chance.random() < share]
    points = [aimed(sample.labels, int(each), Aim.JITTERED, chance) for each in others]
    return Click(number, place, np.array(points, np.float64).reshape(-1, 2))


def large_enough(labels: Labels) -> npt.NDArray[np.int64]:
    """Return the numbers of the nuclei that are more than a sliver at the picture's edge."""
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    return np.flatnonzero(areas >= _LEAST_AREA)


def aimed(labels: Labels, number: int, aim: Aim, chance: Chance) -> Point:
    """Return a pixel (x, y) of a nucleus."""
    rows, columns = np.nonzero(labels == number)
    top, left = int(rows.min()), int(columns.min())
    own = np.zeros((int(rows.max()) - top + 3, int(columns.max()) - left + 3), np.uint8)
    own[rows - top + 1, columns - left + 1] = 1
    depth: Any = cv2.distanceTransform(own, cv2.DIST_L2, 5)
    deep = depth[rows - top + 1, columns - left + 1]
    middle = int(deep.argmax())
    if aim is Aim.CENTRE:
        at = middle
    elif aim is Aim.JITTERED:
        spread = _JITTER * 2 * np.sqrt(len(rows) / np.pi)
        down, across = chance.normal(0, spread / 2, 2)
        at = int(np.hypot(rows - rows[middle] - down, columns - columns[middle] - across).argmin())
    else:
        among = np.flatnonzero(deep <= _EDGE) if aim is Aim.EDGE else np.arange(len(rows))
        at = int(chance.choice(among))
    return int(columns[at]), int(rows[at])


def _beside(labels: Labels, chance: Chance) -> Point | None:
    """Return a pixel clear of all nuclei, None where there is none."""
    away: Any = cv2.distanceTransform((labels == 0).astype(np.uint8), cv2.DIST_L2, 5)
    rows, columns = np.nonzero(away > _CLEAR_OF_NUCLEI)
    if not len(rows):
        return None
    at = int(chance.integers(len(rows)))
    return int(columns[at]), int(rows[at])


def crop_at(sample: Labelled, click: Click, side: int) -> tuple[npt.NDArray[np.uint8], Maps, npt.NDArray[np.bool_]]:
    """Return the picture around a click ``(side, side, 3)``, the guiding maps, and the nucleus ``(side, side)``.

    The click is at pixel ``side // 2``; beyond the picture's edge it goes on as its mirror image.
    """
    half = side // 2
    x, y = click.place
    rows, columns = (
        mirrored(np.arange(side) + at - half, size) for at, size in zip((y, x), sample.labels.shape, strict=True)
    )
    window = np.ix_(rows, columns)
    middle = np.array([[half, half]], np.float64)
    maps = guiding_maps(side, middle, click.others - (x - half, y - half), SIGMA)
    wanted = np.zeros((side, side), np.bool_)
    if click.number > 0:
        # Mirror images of it that lie apart are other nuclei.
        _, pieces = cv2.connectedComponents((sample.labels[window] == click.number).astype(np.uint8))
        wanted = pieces == pieces[half, half]
    return sample.pixels[window], maps, wanted
