"""Where nuclei lie and how their chromatin looks, before any dye: of fluorescence over a backdrop, or of a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from dicomsvc.ai.training.backdrop import Backdrop, Chance, Floats, blurred, cut, made
from dicomsvc.ai.training.bank import DIAMETER, SIDE, NucleusBank
from dicomsvc.ai.training.labelled import Labelled
from dicomsvc.wsi.stain.density import HED, density, unit, unmix

Labels = npt.NDArray[np.int32]
_GLASS: Final = 254.0
_MOST_OVERLAP: Final = 0.18
_LEAST_AREA: Final = 12


@dataclass(frozen=True, slots=True)
class _Kind:
    """Diameters in pixels of the network's resolution; ``stretch`` is how much longer than wide."""

    diameter: tuple[float, float]
    stretch: tuple[float, float]
    open_chromatin: float


_KINDS: Final = (
    _Kind((7.0, 11.0), (1.0, 1.25), 0.0),
    _Kind((9.0, 18.0), (1.0, 1.7), 0.3),
    _Kind((7.5, 13.0), (2.0, 4.0), 0.1),
    _Kind((14.0, 26.0), (1.0, 1.5), 0.8),
)
_KIND_WEIGHTS: Final = (0.27, 0.38, 0.17, 0.18)


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """``labels`` number nuclei from 1, ``population`` is by number (entry 0 is the background).

    ``chromatin`` is 0 outside of nuclei and 1 on the mean of one; ``tissue`` is what lies between them, about 1 where
    it is usual and 0 on glass.
    """

    labels: Labels
    population: npt.NDArray[np.int64]
    chromatin: Floats
    tissue: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Layouts:
    """Makes layouts of ``side`` pixels; ``backdrops`` may be empty."""

    bank: NucleusBank
    backdrops: Sequence[Backdrop]
    side: int

    def made(self, chance: Chance) -> Layout:
        """Lay nuclei of one to three populations over a backdrop; one field in ten has few."""
        real = bool(self.backdrops) and chance.random() < 0.7
        backdrop = cut(self.backdrops, self.side, chance) if real else made(self.side, chance)
        canvas = _Canvas(np.zeros((self.side, self.side), np.int32), np.zeros((self.side, self.side), np.float32), [0])
        low = 0.004 if chance.random() < 0.1 else 0.04
        area = 10 ** chance.uniform(np.log10(low), np.log10(0.42)) * self.side**2
        count = int(chance.integers(1, 4))
        for number, share in enumerate(chance.dirichlet(np.ones(count) * 1.5), 1):
            self._lay(canvas, number, area * float(share), chance)
        tissue = _evened(backdrop.eosin + np.float32(0.5) * backdrop.hematoxylin)
        return Layout(canvas.labels, np.array(canvas.population), canvas.chromatin, tissue)

    def _lay(self, canvas: "_Canvas", number: int, area: float, chance: Chance) -> None:
        kind = _KINDS[int(chance.choice(len(_KINDS), p=_KIND_WEIGHTS))]
        diameter, gamma = float(chance.uniform(*kind.diameter)), float(chance.uniform(0.3, 1.3))
        direction = chance.uniform(0, np.pi)
        clumps = chance.uniform(-4, self.side + 4, (int(chance.integers(1, 9)), 2)) if chance.random() < 0.5 else None
        spread = float(chance.uniform(1.0, 3.5)) * diameter
        laid = 0.0
        for _ in range(int(4 * area / (0.785 * diameter**2)) + 1):
            if laid >= area:
                return
            place = chance.uniform(-4, self.side + 4, 2)
            if clumps is not None and chance.random() < 0.85:
                place = chance.normal(clumps[int(chance.integers(len(clumps)))], spread)
            nucleus = self.bank.nucleus(int(chance.integers(len(self.bank))))
            size = diameter * float(np.exp(chance.normal(0, 0.13)))
            stretch = float(chance.uniform(*kind.stretch))
            angle = direction + chance.normal(0, 0.3) if stretch > 2 else chance.uniform(0, 2 * np.pi)
            span = int(np.ceil(size * np.sqrt(stretch) * SIDE / DIAMETER)) + 3
            corner = np.floor(place - span / 2).astype(int)
            matrix = _matrix(size / DIAMETER, stretch, angle, place - corner)
            mask: Any = cv2.warpAffine(nucleus.mask, matrix, (span, span), flags=cv2.INTER_AREA)
            texture: Any = cv2.warpAffine(nucleus.texture, matrix, (span, span), flags=cv2.INTER_AREA, borderValue=1.0)
            texture = np.power(np.maximum(texture, 0.05), np.float32(gamma))
            if chance.random() < kind.open_chromatin:
                texture = _opened(texture, mask, chance)
            laid += canvas.add(corner, mask, texture, number)


def of_picture(sample: Labelled, chance: Chance) -> Layout:
    """Return the layout of a coloured picture: its nuclei with their real chromatin, its tissue without them.

    Every nucleus belongs to one of two populations, drawn by place, as cells of one kind lie together.
    """
    amounts = unmix(density(sample.pixels, _GLASS), unit(HED[:2])).reshape(*sample.labels.shape, 2)
    total = np.asarray(np.clip(amounts, 0, None).sum(axis=2), np.float32)
    inside = sample.labels > 0
    floor = float(np.median(total[~inside])) if not inside.all() else 0.0
    chromatin = np.clip(total - np.float32(floor * chance.uniform(0.3, 0.9)), 0.02, None) * inside
    count = int(sample.labels.max())
    areas = np.maximum(np.bincount(sample.labels.ravel(), minlength=count + 1), 1)
    means = np.bincount(sample.labels.ravel(), chromatin.ravel(), count + 1) / areas
    # Half of what nuclei differ by in darkness stays: it is partly real.
    usual = float(means[1:].mean()) if count else 0.0
    chromatin = chromatin / np.sqrt(np.maximum(means, 0.05) * max(usual, 0.05))[sample.labels]
    free = blurred(1 - inside.astype(np.float32), 1.0)
    around = blurred(total * free, 6.0) / (blurred(free, 6.0) + np.float32(1e-3))
    tissue = _evened(np.where(inside, around, np.minimum(total, around * np.float32(1.5))))
    side = len(sample.labels)
    parts = cv2.resize(chance.random((4, 4)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    first = np.bincount(sample.labels.ravel(), parts.ravel(), count + 1) / areas > 0.5
    soft = np.asarray(chromatin * blurred(inside.astype(np.float32), 0.6), np.float32)
    return Layout(sample.labels, np.where(first, 1, 2), soft, tissue)


@dataclass(frozen=True, slots=True, eq=False)
class _Canvas:
    labels: Labels
    chromatin: Floats
    population: list[int]

    def add(self, corner: npt.NDArray[np.int_], mask: Floats, texture: Floats, population: int) -> float:
        """Lay a nucleus down unless too much of it would lie on others, or outside; return its area."""
        first, last = np.maximum(corner, 0), np.minimum(corner + len(mask), len(self.labels))
        if (last - first < 2).any():
            return 0.0
        on_canvas = np.s_[first[1] : last[1], first[0] : last[0]]
        own = np.s_[first[1] - corner[1] : last[1] - corner[1], first[0] - corner[0] : last[0] - corner[0]]
        mask, texture = mask[own], texture[own]
        inside, there = mask >= 0.5, self.labels[on_canvas]
        area = int(np.count_nonzero(inside))
        if area < _LEAST_AREA or np.count_nonzero(inside & (there > 0)) > _MOST_OVERLAP * area:
            return 0.0
        there[inside & (there == 0)] = len(self.population)
        self.population.append(population)
        self.chromatin[on_canvas] += mask * texture / max(float(texture[inside].mean()), 0.05)
        return float(area)


def _matrix(scale: float, stretch: float, angle: float, place: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    along, across = scale * np.sqrt(stretch), scale / np.sqrt(stretch)
    cosine, sine = np.cos(angle), np.sin(angle)
    linear = np.array([[cosine * along, -sine * across], [sine * along, cosine * across]])
    return np.concatenate([linear, (place - linear @ np.full(2, (SIDE - 1) / 2))[:, np.newaxis]], axis=1)


def _opened(texture: Floats, mask: Floats, chance: Chance) -> Floats:
    """Return open chromatin: pale, with a dark rim and nucleoli."""
    depth: Any = cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
    shown = texture * np.float32(chance.uniform(0.3, 0.6))
    shown = shown + np.float32(chance.uniform(0.4, 0.9)) * np.exp(-depth / chance.uniform(0.8, 1.6))
    rows, columns = np.nonzero(depth > max(1.0, float(depth.max()) * 0.35))
    for _ in range(int(chance.integers(0, 4)) if len(rows) else 0):
        at, sigma = int(chance.integers(len(rows))), chance.uniform(0.7, 1.5)
        spot = np.zeros_like(texture)
        spot[rows[at], columns[at]] = 1.0
        shown = shown + blurred(spot, sigma) * np.float32(2 * np.pi * sigma**2 * chance.uniform(0.3, 0.8))
    return np.asarray(shown, np.float32)


def _evened(plane: Floats) -> Floats:
    """Return the plane such that usual tissue is 1."""
    usual = float(np.percentile(plane, 75))
    return np.clip(plane / np.float32(max(usual, 0.1)), 0, 2.5).astype(np.float32)
