"""Renders H&E with known nuclei: those of fluorescence over a backdrop, by Beer-Lambert with drawn stain colours."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from dicomsvc.ai.training.backdrop import Backdrop, Chance, Floats, blurred, cut, made, noise
from dicomsvc.ai.training.bank import DIAMETER, SIDE, NucleusBank
from dicomsvc.ai.training.labelled import Labelled
from dicomsvc.wsi.stain.density import intensity, unit

_MOST_OVERLAP: Final = 0.18
_GLASS: Final = 254.0


@dataclass(frozen=True, slots=True)
class _Kind:
    """Diameters in pixels of the network's resolution; ``stretch`` is how much longer than wide."""

    diameter: tuple[float, float]
    stretch: tuple[float, float]
    vesicular: float


_KINDS: Final = (
    _Kind((7.0, 10.5), (1.0, 1.2), 0.0),
    _Kind((9.0, 18.0), (1.0, 1.6), 0.3),
    _Kind((7.5, 13.0), (2.2, 4.0), 0.1),
    _Kind((14.0, 24.0), (1.0, 1.4), 0.8),
    _Kind((22.0, 34.0), (1.0, 1.4), 0.7),
)
_KIND_WEIGHTS: Final = (0.28, 0.33, 0.15, 0.17, 0.07)


@dataclass(frozen=True, slots=True)
class _Population:
    kind: _Kind
    diameter: float
    amplitude: float
    gamma: float
    share: float
    clumps: int
    clump_size: float
    angle: float


@dataclass(frozen=True, slots=True, eq=False)
class Renderer:
    """``backdrops`` may be empty: then all of them are made."""

    bank: NucleusBank
    backdrops: Sequence[Backdrop]
    side: int

    def render(self, chance: Chance) -> Labelled:
        """Return a crop ``(side, side)``; its labels number the nuclei in the order they were laid down."""
        real = bool(self.backdrops) and chance.random() < 0.7
        backdrop = cut(self.backdrops, self.side, chance) if real else made(self.side, chance)
        strength = chance.uniform(0.6, 1.5, 2) if real else (1.0, 1.0)
        canvas = _Canvas(
            backdrop.hematoxylin * np.float32(strength[0]),
            backdrop.eosin * np.float32(strength[1]),
            np.zeros((self.side, self.side), np.int32),
        )
        _litter(canvas, chance)
        area = 10 ** chance.uniform(np.log10(0.03), np.log10(0.42)) * self.side**2
        for population in _populations(chance):
            self._lay(canvas, population, area, chance)
        _surround(canvas, chance)
        return Labelled("rendered", _developed(canvas, chance), canvas.labels)

    def _lay(self, canvas: "_Canvas", population: _Population, area: float, chance: Chance) -> None:
        centres = chance.uniform(-4, self.side + 4, (population.clumps, 2))
        laid, wanted = 0.0, area * population.share
        for _ in range(int(4 * wanted / (0.785 * population.diameter**2)) + 1):
            if laid >= wanted:
                return
            if population.clumps and chance.random() < 0.85:
                place = chance.normal(centres[int(chance.integers(population.clumps))], population.clump_size)
            else:
                place = chance.uniform(-4, self.side + 4, 2)
            laid += self._place(canvas, population, place, chance)

    def _place(
        self, canvas: "_Canvas", population: _Population, place: npt.NDArray[np.float64], chance: Chance
    ) -> float:
        """Lay down a nucleus unless too much of it would lie on others; return its area."""
        nucleus = self.bank.nucleus(int(chance.integers(len(self.bank))))
        diameter = population.diameter * float(np.exp(chance.normal(0, 0.13)))
        stretch = float(chance.uniform(*population.kind.stretch))
        angle = population.angle + chance.normal(0, 0.3) if stretch > 2 else chance.uniform(0, 2 * np.pi)
        span = int(np.ceil(diameter * np.sqrt(stretch) * SIDE / DIAMETER)) + 3
        corner = np.floor(place - span / 2).astype(int)
        window = canvas.window(corner, span)
        if window is None:
            return 0.0
        matrix = _matrix(diameter / DIAMETER, stretch, angle, place - corner)
        mask: Any = cv2.warpAffine(nucleus.mask, matrix, (span, span), flags=cv2.INTER_AREA)
        texture: Any = cv2.warpAffine(nucleus.texture, matrix, (span, span), flags=cv2.INTER_AREA, borderValue=1.0)
        texture = np.power(np.maximum(texture, 0.05), np.float32(population.gamma))
        if chance.random() < population.kind.vesicular:
            texture = _vesicular(texture, mask, chance)
        amplitude = population.amplitude * float(np.exp(chance.normal(0, 0.18)))
        return canvas.add(window, mask, texture * np.float32(amplitude))


@dataclass(frozen=True, slots=True, eq=False)
class _Canvas:
    hematoxylin: Floats
    eosin: Floats
    labels: npt.NDArray[np.int32]

    def window(self, corner: npt.NDArray[np.int_], span: int) -> tuple[Any, Any] | None:
        """Return where a square lies on the canvas and what part of the square that is; None when outside."""
        side = len(self.labels)
        first, last = np.maximum(corner, 0), np.minimum(corner + span, side)
        if (last - first < 2).any():
            return None
        on_canvas = np.s_[first[1] : last[1], first[0] : last[0]]
        in_square = np.s_[first[1] - corner[1] : last[1] - corner[1], first[0] - corner[0] : last[0] - corner[0]]
        return on_canvas, in_square

    def add(self, window: tuple[Any, Any], mask: Floats, amount: Floats) -> float:
        on_canvas, in_square = window
        mask, amount = mask[in_square], amount[in_square]
        inside = mask >= 0.5
        area, there = int(np.count_nonzero(inside)), self.labels[on_canvas]
        if area < 12 or np.count_nonzero(inside & (there > 0)) > _MOST_OVERLAP * area:
            return 0.0
        there[inside & (there == 0)] = int(self.labels.max()) + 1
        # Chromatin takes the place of cytoplasm; where nuclei overlap, both absorb.
        self.hematoxylin[on_canvas] += mask * amount
        self.eosin[on_canvas] *= 1 - np.float32(0.45) * mask
        return float(area)


def _populations(chance: Chance) -> list[_Population]:
    count = int(chance.integers(1, 4))
    shares = chance.dirichlet(np.ones(count) * 1.5)
    strength = float(np.exp(chance.uniform(np.log(0.35), np.log(1.5))))
    found = []
    for share in shares:
        kind = _KINDS[int(chance.choice(len(_KINDS), p=_KIND_WEIGHTS))]
        clumps = int(chance.integers(1, 9)) if chance.random() < 0.5 else 0
        diameter = float(chance.uniform(*kind.diameter))
        found.append(
            _Population(
                kind,
                diameter,
                strength * float(np.exp(chance.normal(0, 0.25))) * (0.7 if kind.vesicular > 0.5 else 1.0),
                float(chance.uniform(0.4, 1.4)),
                float(share),
                clumps,
                float(chance.uniform(1.0, 3.5)) * diameter,
                float(chance.uniform(0, np.pi)),
            )
        )
    return found


def _matrix(scale: float, stretch: float, angle: float, place: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    along, across = scale * np.sqrt(stretch), scale / np.sqrt(stretch)
    cosine, sine = np.cos(angle), np.sin(angle)
    linear = np.array([[cosine * along, -sine * across], [sine * along, cosine * across]])
    middle = np.full(2, (SIDE - 1) / 2)
    return np.concatenate([linear, (place - linear @ middle)[:, np.newaxis]], axis=1)


def _vesicular(texture: Floats, mask: Floats, chance: Chance) -> Floats:
    """Return open chromatin: a pale middle, a dark rim, and nucleoli."""
    inside = (mask > 0.5).astype(np.uint8)
    depth: Any = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
    rim = np.exp(-depth / chance.uniform(0.8, 1.6))
    shown = texture * np.float32(chance.uniform(0.3, 0.6)) + np.float32(chance.uniform(0.4, 0.9)) * rim
    rows, columns = np.nonzero(depth > max(1.0, float(depth.max()) * 0.35))
    for _ in range(int(chance.integers(0, 4)) if len(rows) else 0):
        at = int(chance.integers(len(rows)))
        spot = np.zeros_like(texture)
        spot[rows[at], columns[at]] = 1.0
        sigma = chance.uniform(0.7, 1.5)
        shown = shown + blurred(spot, sigma) * np.float32(2 * np.pi * sigma**2 * chance.uniform(0.4, 1.0))
    result: Floats = np.asarray(shown, np.float32)
    return result


def _litter(canvas: _Canvas, chance: Chance) -> None:
    """Add what is no nucleus in focus: blurred shadows of nuclei, specks of pigment, red cells."""
    side = len(canvas.labels)
    for _ in range(int(chance.integers(0, 12)) if chance.random() < 0.4 else 0):
        _disc(canvas.hematoxylin, chance, (4.0, 9.0), chance.uniform(2.5, 5), chance.uniform(0.05, 0.25))
    for _ in range(int(chance.integers(0, 25)) if chance.random() < 0.4 else 0):
        _disc(canvas.hematoxylin, chance, (0.6, 1.8), 0.5, chance.uniform(0.2, 0.9))
    for _ in range(int(chance.integers(3, 30)) if chance.random() < 0.25 else 0):
        _disc(canvas.eosin, chance, (4.5, 8.0), 0.8, chance.uniform(0.3, 0.9))
    if chance.random() < 0.3:
        blue = np.clip(noise(side, chance.uniform(6, 25), chance), 0, None)
        canvas.hematoxylin[:] += np.float32(chance.uniform(0.03, 0.2)) * blue


def _disc(plane: Floats, chance: Chance, radius: tuple[float, float], sigma: float, amount: float) -> None:
    size, reach = chance.uniform(*radius), 0
    reach = int(size + 3 * sigma) + 2
    row, column = (int(value) for value in chance.integers(0, len(plane), 2))
    top, left = max(0, row - reach), max(0, column - reach)
    part = plane[top : row + reach + 1, left : column + reach + 1]
    y, x = np.ogrid[top - row : top - row + part.shape[0], left - column : left - column + part.shape[1]]
    away = np.hypot(y * chance.uniform(0.8, 1.25), x)
    part += np.float32(amount) / (1 + np.exp(np.clip((away - size) / (0.5 * sigma), -20, 20))).astype(np.float32)


def _surround(canvas: _Canvas, chance: Chance) -> None:
    """Add what goes with nuclei: cytoplasm, membranes between cells, the gap of shrinkage around a nucleus."""
    free = (canvas.labels == 0).astype(np.uint8)
    if free.all():
        return
    away, nearest = cv2.distanceTransformWithLabels(free, cv2.DIST_L2, 5)
    if chance.random() < 0.4:
        cytoplasm = np.exp(-away / chance.uniform(2.0, 8.0)) * free
        canvas.eosin[:] += np.float32(chance.uniform(0.05, 0.4)) * cytoplasm
        canvas.hematoxylin[:] += np.float32(chance.choice([0.0, 0.0, chance.uniform(0.05, 0.3)])) * cytoplasm
    if chance.random() < 0.25:
        border: Any = cv2.morphologyEx(nearest.astype(np.float32), cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8))
        lines = blurred(((border > 0) & (away > 2) & (away < 14)).astype(np.float32), 0.7)
        canvas.eosin[:] += np.float32(chance.uniform(0.1, 0.4)) * lines
    if chance.random() < 0.25:
        gap = np.exp(-(((away - chance.uniform(1.5, 3)) / chance.uniform(0.7, 1.5)) ** 2)) * free
        share = np.float32(chance.uniform(0.3, 0.9)) * gap
        canvas.eosin[:] *= 1 - share
        canvas.hematoxylin[:] *= 1 - share


def stain_vectors(chance: Chance) -> npt.NDArray[np.float64]:
    """Return unit densities of a hematoxylin and an eosin, as slides of many laboratories have them.

    From blue to magenta: Macenko's vectors of a TCGA slide are (0.35, 0.78, 0.51) and (0.00, 0.92, 0.40).
    """
    red = chance.uniform(0.3, 0.78)
    hematoxylin = np.array([red, chance.uniform(0.55, 0.82), chance.uniform(0.15, 0.55)])
    eosin = np.array([chance.uniform(0, min(0.3, red - 0.25)), chance.uniform(0.8, 1.0), chance.uniform(0.1, 0.5)])
    return unit(np.stack([hematoxylin, eosin]))


def _developed(canvas: _Canvas, chance: Chance) -> npt.NDArray[np.uint8]:
    hematoxylin = blurred(canvas.hematoxylin, chance.uniform(0.2, 0.9))
    eosin = blurred(canvas.eosin, chance.uniform(0.2, 0.7))
    amounts = np.stack([np.clip(hematoxylin, 0, 4), np.clip(eosin, 0, 4)], axis=-1)
    return intensity((amounts @ stain_vectors(chance)).astype(np.float32), _GLASS)
