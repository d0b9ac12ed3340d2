"""From the mask that a model gives for a click to the thing there, or why there is none."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicomsvc.ai.catalogue.manifest import InputSpec
from dicomsvc.ai.decoding.measuring import Pixels, colour_names, colours, ellipses
from dicomsvc.ai.decoding.outlines import outlines

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
FINER: Final = 2
"""Masks are enlarged so many times before the threshold: outlines of a coarse mask's pixels are jagged."""
SHAPE: Final = ("area_um2", "perimeter_um", "major_axis_um", "minor_axis_um", "eccentricity", "solidity")
_GLASS_DENSITY: Final = 0.06
_GLASS_RADIUS_UM: Final = 1.5


class Nothing(StrEnum):
    """Why there is nothing at a click."""

    OUTSIDE = "outside"
    GLASS = "glass"
    NONE_SEEN = "none"
    SMALL = "too small"
    LARGE = "too large"
    UNSURE = "unsure"


REASONS: Final[Mapping[Nothing, str]] = {
    Nothing.OUTSIDE: "the point lies outside of the picture",
    Nothing.GLASS: "there is glass here, no tissue",
    Nothing.NONE_SEEN: "the model sees nothing of its kind here",
    Nothing.SMALL: "what the model sees here is smaller than what it was made for",
    Nothing.LARGE: "what the model sees here is larger than what it was made for",
    Nothing.UNSURE: "the model is too unsure of what it sees here",
}


@dataclass(frozen=True, slots=True, eq=False)
class Thing:
    """``mask`` is of the enlarged crop, `FINER` times as fine, ``(rows, columns)``."""

    mask: Mask
    probability: float


@dataclass(frozen=True, slots=True)
class Sight:
    """What a decoder of clicks must know: the model's settings, complete; the side of a crop and its resolution."""

    settings: Mapping[str, float]
    side: int
    mpp: float

    @property
    def cell_um(self) -> float:
        """Micrometres a pixel of an enlarged crop."""
        return self.mpp / FINER


def is_glass(crop: npt.NDArray[Any], mpp: float) -> bool:
    """Whether a crop of a bright slide is unstained at its click."""
    half, radius = len(crop) // 2, max(1, round(_GLASS_RADIUS_UM / mpp))
    around = crop[half - radius : half + radius + 1, half - radius : half + radius + 1].astype(np.float64)
    return bool(np.log10(256 / (around + 1)).mean() < _GLASS_DENSITY)


def thing_at(mask: Floats, click: tuple[float, float], inside: tuple[slice, slice], sight: Sight) -> Thing | Nothing:
    """Return the thing at a click.

    Parameters
    ----------
    mask
        What the model gave for the crop, 0 to 1; its size is the crop's divided by the model's stride.
    click
        (x, y) in crop pixels, the crop's top left corner being (0, 0).
    inside
        Rows and columns of the crop that lie on the slide; nothing counts beyond.
    """
    settings, size = sight.settings, sight.side * FINER
    fine = np.asarray(cv2.resize(mask, (size, size), interpolation=cv2.INTER_LINEAR), np.float32)
    foreground = np.zeros((size, size), np.uint8)
    rows, columns = (slice(each.start * FINER, each.stop * FINER) for each in inside)
    foreground[rows, columns] = fine[rows, columns] >= np.float32(settings["threshold"])
    pieces = np.asarray(cv2.connectedComponents(foreground, connectivity=4)[1], np.int32)
    number = _nearest(pieces, (click[0] * FINER, click[1] * FINER), settings["reach_um"] / sight.cell_um)
    if not number:
        return Nothing.NONE_SEEN
    own = filled(pieces == number)
    area_um2 = float(np.count_nonzero(own)) * sight.cell_um**2
    if area_um2 < settings["min_area_um2"]:
        return Nothing.SMALL
    if area_um2 > settings["max_area_um2"]:
        return Nothing.LARGE
    probability = float(np.clip(fine[own].mean(), 0, 1))
    return Thing(own, probability) if probability >= settings["min_probability"] else Nothing.UNSURE


def _nearest(pieces: npt.NDArray[np.int32], click: tuple[float, float], reach: float) -> int:
    """Return the number of the piece at a place, or of the nearest one within reach; 0 for none."""
    size = len(pieces)
    column, row = (min(max(int(each), 0), size - 1) for each in click)
    if pieces[row, column]:
        return int(pieces[row, column])
    span = int(np.ceil(reach)) + 1
    top, left = max(0, row - span), max(0, column - span)
    part = pieces[top : row + span + 1, left : column + span + 1]
    y, x = np.nonzero(part)
    if not len(y):
        return 0
    away = np.hypot(y + top + 0.5 - click[1], x + left + 0.5 - click[0])
    best = int(away.argmin())
    return int(part[y[best], x[best]]) if away[best] <= reach + 0.5 else 0


def filled(mask: Mask) -> Mask:
    """Return it without holes."""
    return np.asarray(ndimage.binary_fill_holes(mask), np.bool_)


def names_of(spec: InputSpec) -> tuple[str, ...]:
    """Return the names of the measurements that things have."""
    return (*SHAPE, *colour_names(spec))


def measured(
    thing: Thing, crop: npt.NDArray[Any], sight: Sight, spec: InputSpec
) -> tuple[dict[str, float], npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """Return measurements, centroid (x, y) and outline ``(n, 2)`` of a thing, in pixels of the crop."""
    um = sight.cell_um
    labels = thing.mask.astype(np.int32)
    pixels = Pixels.of(labels)
    tolerance = sight.settings["outline_tolerance_um"] / um
    [drawn] = outlines(labels, ndimage.find_objects(labels), (1,), tolerance)
    ellipse = ellipses(pixels)
    enlarged = crop.repeat(FINER, axis=0).repeat(FINER, axis=1)
    values: dict[str, Any] = {
        "area_um2": pixels.area[0] * um**2,
        "perimeter_um": drawn.perimeter * um,
        "major_axis_um": ellipse["major_axis"][0] * um,
        "minor_axis_um": ellipse["minor_axis"][0] * um,
        "eccentricity": ellipse["eccentricity"][0],
        "solidity": drawn.solidity,
        **{name: value[0] for name, value in colours(pixels, enlarged, spec).items()},
    }
    centroid: npt.NDArray[np.float64] = pixels.centroids[0] / FINER
    outline = (drawn.points / FINER).astype(np.float32)
    return {name: float(value) for name, value in values.items()}, centroid, outline
