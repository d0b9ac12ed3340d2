"""Stains a layout for immunohistochemistry: counterstain and chromogen, which nuclei are positive, and the truth.

Amounts are optical densities to base 10 along a dye's unit vector.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from dicomsvc.ai.training.backdrop import Chance, Floats, blurred, noise
from dicomsvc.ai.training.ihc.layout import Layout

_WEAK: Final = 0.09
"""Nuclear chromogen that is still negative."""
_LEAST_POSITIVE: Final = 0.17
_MOST_OVER_MARKER: Final = 1.6
_ABOVE_HAZE: Final = 0.8
"""A positive nucleus has at least so much more than the tissue around it, as a share of that."""


@dataclass(frozen=True, slots=True, eq=False)
class Stained:
    """Dyes in each pixel, which nuclei (by number, entry 0 is none) are positive, and ``other`` dyes with colours."""

    hematoxylin: Floats
    marker: Floats
    positive: npt.NDArray[np.bool_]
    other: tuple[tuple[Floats, npt.NDArray[np.float64]], ...]


def stained(layout: Layout, chance: Chance) -> Stained:
    """Stain a layout; the share of positive nuclei is anything from none to all."""
    count = len(layout.population) - 1 if len(layout.population) else 0
    haze = _haze(layout, chance)
    positive, amount = _nuclear(layout, float(haze[layout.labels > 0].mean()) if count else 0.0, chance)
    hematoxylin = _counterstain(layout, positive, amount, chance)
    marker = haze + _specific(layout, amount, chance)
    if count and chance.random() < 0.35:
        marker = marker + _outside_nuclei(layout, chance)
    marker = marker * _uneven(len(marker), chance, 0.25)
    hematoxylin = hematoxylin * _uneven(len(marker), chance, 0.15)
    hematoxylin = blurred(np.clip(hematoxylin, 0, 2), chance.uniform(0.2, 0.8))
    marker = blurred(np.clip(marker, 0, 2), chance.uniform(0.2, 0.8))
    return Stained(hematoxylin, marker, positive, tuple(_other(len(marker), chance)))


def _haze(layout: Layout, chance: Chance) -> Floats:
    """Return chromogen that binds anywhere: mostly next to none, sometimes a brown slide, more so at an edge."""
    level = float(
        chance.choice(
            [chance.uniform(0, 0.03), chance.uniform(0.02, 0.12), chance.uniform(0.1, 0.3)], p=[0.5, 0.32, 0.18]
        )
    )
    plane = layout.tissue * np.float32(level)
    if chance.random() < 0.15:
        side = len(plane)
        ramp = np.linspace(0, 1, side, dtype=np.float32) ** 2 * np.float32(chance.uniform(0.05, 0.35))
        plane = plane + np.rot90(np.tile(ramp, (side, 1)), int(chance.integers(4))) * layout.tissue
    return np.asarray(plane, np.float32)


def _nuclear(layout: Layout, haze: float, chance: Chance) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    """Draw which nuclei are positive, and how much chromogen each has above its surroundings."""
    size = len(layout.population)
    positive = chance.random(size) < _shares(chance)[layout.population]
    usual = float(np.exp(chance.uniform(np.log(0.25), np.log(1.2))))
    least = max(_LEAST_POSITIVE, _ABOVE_HAZE * haze)
    strong = np.clip(usual * np.exp(chance.normal(0, chance.uniform(0.1, 0.5), size)), least, 1.6)
    weak = np.zeros(size)
    if chance.random() < 0.5:
        weak = chance.uniform(0, max(_WEAK, 0.35 * haze), size) * (chance.random(size) < chance.uniform(0, 1))
    positive[:1] = False
    amount = np.where(positive, strong, weak)
    amount[:1] = 0
    return positive, amount.astype(np.float32)


def _shares(chance: Chance) -> npt.NDArray[np.float64]:
    """Return the share of positive nuclei of each population; all negative and all positive fields are frequent."""
    luck = chance.random()
    if luck < 0.13:
        return np.zeros(8)
    if luck < 0.22:
        return np.ones(8)
    if luck < 0.45:
        return np.full(8, chance.random())
    return np.asarray(chance.choice([0.0, 1.0, 0.05, chance.random()], 8, p=[0.25, 0.15, 0.15, 0.45]))


def _counterstain(
    layout: Layout, positive: npt.NDArray[np.bool_], amount: npt.NDArray[np.float32], chance: Chance
) -> Floats:
    """Return hematoxylin: pale to strong, less of it under the chromogen, and never so much that it hides that."""
    strength = float(np.exp(chance.uniform(np.log(0.13), np.log(1.0))))
    each = (strength * np.exp(chance.normal(0, 0.2, len(layout.population)))).astype(np.float32)
    under = np.minimum(each * chance.uniform(0.0, 1.0), _MOST_OVER_MARKER * amount)
    nuclei = layout.chromatin * _spread(np.where(positive, under, each).astype(np.float32), layout)
    around = layout.tissue * np.float32(chance.uniform(0.01, 0.2) * strength)
    grain = 1 + np.float32(0.3) * noise(len(nuclei), chance.uniform(2, 15), chance)
    hematoxylin = nuclei + around * np.clip(grain, 0, None)
    for _ in range(int(chance.integers(0, 10)) if chance.random() < 0.3 else 0):
        _add_disc(hematoxylin, chance, (4.0, 9.0), 2.5, strength * chance.uniform(0.1, 0.4))
    return np.asarray(hematoxylin, np.float32)


def _specific(layout: Layout, amount: npt.NDArray[np.float32], chance: Chance) -> Floats:
    """Return nuclear chromogen: smoother than chromatin, sometimes speckled."""
    shape = (layout.chromatin > 0).astype(np.float32)
    texture = chance.uniform(0.0, 0.8)
    plane = _spread(amount, layout) * (
        np.float32(texture) * layout.chromatin + np.float32(1 - texture) * blurred(shape, 0.5)
    )
    return np.asarray(plane, np.float32)


def _outside_nuclei(layout: Layout, chance: Chance) -> Floats:
    """Return chromogen of cytoplasm and membranes of some populations; their nuclei may be negative."""
    free = (layout.labels == 0).astype(np.uint8)
    if free.all() or not free.any():
        return np.zeros(layout.labels.shape, np.float32)
    away, nearest = cv2.distanceTransformWithLabels(free, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    owner_of = np.zeros(int(nearest.max()) + 1, np.int64)
    owner_of[nearest[free == 0]] = layout.labels[free == 0]
    owner = owner_of[nearest]
    reach = chance.uniform(2.5, 12.0)
    cell = (away < reach).astype(np.float32)
    shown = (chance.random(8) < 0.5)[layout.population]
    shown &= chance.random(len(shown)) < chance.uniform(0.4, 1.0)
    each = np.where(shown, np.exp(chance.normal(0, 0.25, len(shown))), 0).astype(np.float32)
    each[0] = 0
    strength = each[owner] * np.float32(np.exp(chance.uniform(np.log(0.08), np.log(0.9))))
    plane = np.zeros_like(cell)
    kind = chance.random()
    if kind < 0.7:
        grain = np.clip(1 + 0.3 * noise(len(cell), chance.uniform(1, 4), chance), 0, None)
        within = np.where(layout.labels > 0, np.float32(chance.uniform(0.05, 0.45)), cell)
        plane = plane + within * grain
    if kind > 0.4:
        border: Any = cv2.morphologyEx(owner.astype(np.float32), cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8))
        lines = ((border > 0) | (np.abs(away - reach) < 0.8)) & (away < reach + 1) & (away > 0)
        plane = plane + blurred(lines.astype(np.float32), 0.7) * np.float32(chance.uniform(0.8, 2.0))
    return np.asarray(plane * strength, np.float32)


def _other(side: int, chance: Chance) -> Iterator[tuple[Floats, npt.NDArray[np.float64]]]:
    """Yield what has a colour of its own: pigment, carbon, red cells."""
    if chance.random() < 0.18:
        colour = np.array([[0.45, 0.6, 0.66], [0.25, 0.5, 0.83], [0.58, 0.58, 0.57]][int(chance.integers(3))])
        plane = np.zeros((side, side), np.float32)
        for _ in range(int(chance.integers(2, 25))):
            _add_disc(plane, chance, (0.7, 2.5), 0.6, chance.uniform(0.3, 1.3))
        yield plane, colour
    if chance.random() < 0.08:
        plane = np.zeros((side, side), np.float32)
        for _ in range(int(chance.integers(2, 20))):
            # Pale: a smooth round disc of full brown is a nucleus.
            _add_disc(plane, chance, (4.5, 7.5), 0.8, chance.uniform(0.03, 0.12))
        yield plane, np.array([0.15, 0.5, 0.85]) if chance.random() < 0.4 else np.array([0.2, 0.85, 0.48])


def _add_disc(plane: Floats, chance: Chance, radius: tuple[float, float], sigma: float, amount: float) -> None:
    size = chance.uniform(*radius)
    reach = int(size + 3 * sigma) + 2
    row, column = (int(value) for value in chance.integers(0, len(plane), 2))
    top, left = max(0, row - reach), max(0, column - reach)
    part = plane[top : row + reach + 1, left : column + reach + 1]
    y, x = np.ogrid[top - row : top - row + part.shape[0], left - column : left - column + part.shape[1]]
    away = np.hypot(y * chance.uniform(0.8, 1.25), x)
    part += np.float32(amount) / (1 + np.exp(np.clip((away - size) / (0.5 * sigma), -20, 20))).astype(np.float32)


def _uneven(side: int, chance: Chance, most: float) -> Floats:
    return np.clip(1 + np.float32(chance.uniform(0, most)) * noise(side, side / 3, chance), 0.3, 2).astype(np.float32)


def _spread(each: npt.NDArray[np.float32], layout: Layout) -> Floats:
    """Return each nucleus' value in its pixels and a little around them, where its soft edge is."""
    plane = each[layout.labels]
    wide: Any = cv2.dilate(plane, np.ones((3, 3), np.uint8))
    return np.where(layout.labels > 0, plane, wide).astype(np.float32)
