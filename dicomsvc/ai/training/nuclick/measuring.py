"""Measures a click model on labelled pictures: one click a nucleus, at the centre, beside it, or at the border.

Beside it stands what needs no network: hematoxylin above Otsu's threshold around the click, cut between the clicks by a
watershed. Both are told the other nuclei's clicks, or both are not.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from dicomsvc.ai.catalogue.manifest import Manifest
from dicomsvc.ai.clicks.answering import Clicker
from dicomsvc.ai.clicks.ground import Ground, ground_of_picture
from dicomsvc.ai.clicks.things import filled
from dicomsvc.ai.decoding.stains import stain_density
from dicomsvc.ai.inference.backend import Backend
from dicomsvc.ai.training.labelled import Labelled
from dicomsvc.ai.training.nuclick.clicking import Aim, aimed
from dicomsvc.ai.training.scoring import painted

Points = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Draw = Callable[[Labelled, Points, bool], Sequence[Mask | None]]
"""Draws what is at clicks (pixel centres are at 0.5), telling them of each other or not."""
_LEAST_UM2: Final = 6.0
_HALF_UM: Final = 24.0
_SMOOTHING_UM: Final = 0.5
_RESAMPLES: Final = 2000


@dataclass(frozen=True, slots=True)
class Share:
    """A mean over nuclei, with the 95 % interval of drawing the pictures anew."""

    value: float
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class ClickFigures:
    """``dice`` counts 0 where nothing was answered; ``hits`` are the clicks with an IoU above 0.5."""

    nuclei: int
    pictures: int
    dice: Share
    hits: Share
    unanswered: float


def by_model(manifest: Manifest, backend: Backend, mpp: float) -> Draw:
    """Return what draws by a click model, on pictures of ``mpp`` micrometres a pixel."""

    def draw(sample: Labelled, points: Points, told: bool) -> Sequence[Mask | None]:
        clicker = Clicker(manifest, backend, ground_of_picture(sample.pixels, mpp, manifest))
        groups = [points] if told else [point[np.newaxis] for point in points]
        masks: list[Mask | None] = []
        for group in groups:
            rows, found = clicker.redraw(group)
            drawn: dict[int, Mask] = {}
            for at, row in enumerate(rows.tolist()):
                contour = (found.polygon(at).astype(np.float64) - 0.5).tolist()
                drawn[row] = painted([{"contour": contour}], sample.labels.shape) > 0
            masks += [drawn.get(number) for number in range(len(group))]
        return masks

    return draw


def by_watershed(mpp: float) -> Draw:
    """Return what draws without a network."""

    def draw(sample: Labelled, points: Points, told: bool) -> Sequence[Mask | None]:
        rows, columns = sample.labels.shape
        amount = stain_density(sample.pixels.reshape(-1, 3), "hematoxylin").reshape(rows, columns)
        smooth: Any = cv2.GaussianBlur(amount, (0, 0), _SMOOTHING_UM / mpp)
        masks: list[Mask | None] = []
        for number in range(len(points)):
            others = np.delete(points, number, axis=0) if told else np.empty((0, 2))
            masks.append(_grown(np.asarray(smooth, np.float32), points[number], others, round(_HALF_UM / mpp)))
        return masks

    return draw


def _grown(amount: npt.NDArray[np.float32], point: Points, others: Points, half: int) -> Mask | None:
    """Return the dark place at a click, up to half way to the other clicks' where they touch."""
    column, row = (int(each) for each in point)
    top, left = max(0, row - half), max(0, column - half)
    part = amount[top : row + half + 1, left : column + half + 1]
    low, high = float(part.min()), float(part.max())
    shown = ((part - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)
    _, dark = cv2.threshold(shown, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    if not dark[row - top, column - left]:
        return None
    markers = np.zeros(part.shape, np.int32)
    markers[dark == 0] = 1
    for number, (x, y) in enumerate([point, *others], 2):
        across, down = int(x) - left, int(y) - top
        if 0 <= down < part.shape[0] and 0 <= across < part.shape[1] and dark[down, across]:
            markers[down, across] = number
    depth: Any = cv2.distanceTransform(dark, cv2.DIST_L2, 5)
    relief = 255 - np.clip(depth * (255 / max(float(depth.max()), 1.0)), 0, 255).astype(np.uint8)
    basins: Any = cv2.watershed(np.repeat(relief[:, :, np.newaxis], 3, axis=2), markers)
    whole = np.zeros(amount.shape, np.bool_)
    whole[top : top + part.shape[0], left : left + part.shape[1]] = filled(basins == 2)
    return whole


def measure(
    draw: Draw, pictures: Sequence[Labelled], mpp: float, aim: Aim, *, told: bool, seed: int = 1
) -> ClickFigures:
    """Click each nucleus of labelled pictures once, and compare what is drawn with its label."""
    dice: list[list[float]] = []
    hits: list[list[bool]] = []
    unanswered = 0
    for sample in pictures:
        chance = np.random.default_rng(seed)
        areas = np.bincount(sample.labels.ravel())
        numbers = [int(each) for each in np.flatnonzero(areas * mpp**2 >= _LEAST_UM2) if each > 0]
        if not numbers:
            continue
        places = [aimed(sample.labels, number, aim, chance) for number in numbers]
        masks = draw(sample, np.array(places, np.float64) + 0.5, told)
        dice.append([])
        hits.append([])
        for number, mask in zip(numbers, masks, strict=True):
            own = sample.labels == number
            both = 0 if mask is None else int(np.count_nonzero(mask & own))
            total = int(np.count_nonzero(own)) + (0 if mask is None else int(np.count_nonzero(mask)))
            dice[-1].append(2 * both / total)
            hits[-1].append(both / (total - both) > 0.5)
            unanswered += mask is None
    nuclei = sum(map(len, dice))
    return ClickFigures(nuclei, len(dice), _share(dice), _share(hits), unanswered / max(nuclei, 1))


def _share(values: Sequence[Sequence[float]]) -> Share:
    sums = np.array([[sum(each), len(each)] for each in values], np.float64)
    drawn = np.random.default_rng(0).integers(0, len(sums), (_RESAMPLES, len(sums)))
    again = sums[drawn].sum(axis=1)
    low, high = np.percentile(again[:, 0] / again[:, 1], [2.5, 97.5])
    whole = sums.sum(axis=0)
    return Share(float(whole[0] / whole[1]), (float(low), float(high)))


def false_answers(
    manifest: Manifest, backend: Backend, pictures: Sequence[Labelled], mpp: float, clear_um: float = 3.0
) -> Mapping[str, float]:
    """Click tissue at least so far from any labelled nucleus, 50 times a picture, and count what is answered."""
    clicks = answered = 0
    for sample in pictures:
        away: Any = cv2.distanceTransform((sample.labels == 0).astype(np.uint8), cv2.DIST_L2, 5)
        rows, columns = np.nonzero(away * mpp > clear_um)
        if not len(rows):
            continue
        chosen = np.random.default_rng(1).integers(0, len(rows), 50)
        ground: Ground = ground_of_picture(sample.pixels, mpp, manifest)
        for at in chosen:
            answers = Clicker(manifest, backend, ground).answer(np.array([[columns[at] + 0.5, rows[at] + 0.5]]))
            clicks += 1
            answered += int(answers.things[0] >= 0)
    return {"clicks": clicks, "answered": answered / max(clicks, 1)}
