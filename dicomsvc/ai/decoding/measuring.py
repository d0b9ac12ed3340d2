"""Numbers of labelled things, all at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dicomsvc.ai.catalogue.manifest import InputSpec, Stain
from dicomsvc.ai.decoding.stains import stain_density

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """The pixels of all things of a label image ``(rows, columns)``: where they are, and whose.

    ``index``, ``row``, ``column`` and ``owner`` are by pixel, ``area`` and ``centroids`` by thing. Centroids are means
    of pixel centres, (x, y); the image's top left corner is (0, 0).
    """

    labels: npt.NDArray[np.int32]
    index: npt.NDArray[np.intp]
    row: npt.NDArray[np.intp]
    column: npt.NDArray[np.intp]
    owner: npt.NDArray[np.int32]
    area: npt.NDArray[np.int64]
    centroids: Doubles

    @classmethod
    def of(cls, labels: npt.NDArray[np.int32]) -> "Pixels":
        index = np.flatnonzero(labels != 0)
        row, column = np.divmod(index, labels.shape[1])
        owner = labels.ravel()[index] - 1
        area = np.bincount(owner)
        sums = [np.bincount(owner, values) for values in (column, row)]
        return cls(labels, index, row, column, owner, area, np.stack(sums, axis=1) / np.maximum(area, 1)[:, None] + 0.5)

    def __len__(self) -> int:
        return len(self.area)

    def kept(self, wanted: npt.NDArray[np.bool_]) -> "Pixels":
        """Return those of some things, numbered anew in their order."""
        owner = np.where(wanted, np.cumsum(wanted) - 1, -1).astype(np.int32)[self.owner]
        inside = np.flatnonzero(owner >= 0)
        index, owner = self.index[inside], owner[inside]
        labels = np.zeros(self.labels.shape, np.int32)
        labels.reshape(-1)[index] = owner + 1
        area, centroids = self.area[wanted], self.centroids[wanted]
        return Pixels(labels, index, self.row[inside], self.column[inside], owner, area, centroids)

    def mean(self, values: npt.NDArray[Any]) -> Doubles:
        """Return each thing's mean of a value per pixel (in the order of `index`)."""
        return np.bincount(self.owner, values, len(self)) / np.maximum(self.area, 1)

    def mean_of(self, plane: npt.NDArray[Any]) -> Doubles:
        return self.mean(plane.ravel()[self.index])

    def middles(self, plane: npt.NDArray[Any]) -> Doubles:
        """Return centroids in which a pixel counts as much as a plane says; where it says nothing, all count alike."""
        weights = plane.ravel()[self.index].astype(np.float64) + 1e-6
        return (
            np.stack([self.mean(values * weights) for values in (self.column, self.row)], axis=1)
            / self.mean(weights).reshape(-1, 1)
            + 0.5
        )


def ellipses(pixels: Pixels) -> dict[str, Doubles]:
    """Return full axes (pixels) and eccentricity of the ellipse with each thing's second moments."""
    x, y = pixels.centroids.T - 0.5
    dx, dy = pixels.column - x[pixels.owner], pixels.row - y[pixels.owner]
    # A pixel is a square, not a point: its own second moment is 1/12.
    xx, yy, xy = pixels.mean(dx * dx) + 1 / 12, pixels.mean(dy * dy) + 1 / 12, pixels.mean(dx * dy)
    spread = np.sqrt(((xx - yy) / 2) ** 2 + xy * xy)
    large, small = (xx + yy) / 2 + spread, np.maximum((xx + yy) / 2 - spread, 0)
    return {
        "major_axis": 4 * np.sqrt(large),
        "minor_axis": 4 * np.sqrt(small),
        "eccentricity": np.sqrt(1 - small / large),
    }


def colour_names(spec: InputSpec) -> tuple[str, ...]:
    """Return the names of the measurements of `colours`."""
    if len(spec.channels) != 3 or spec.stain is Stain.FLUORESCENCE:
        return tuple(f"intensity_{number}" for number in range(1, len(spec.channels) + 1))
    other = "dab" if spec.stain is Stain.IHC else "eosin"
    return ("mean_hematoxylin_od", f"mean_{other}_od")


def colours(pixels: Pixels, image: npt.NDArray[Any], spec: InputSpec) -> Mapping[str, Doubles]:
    """Return mean optical densities of the stains, or of other images the mean of each channel."""
    rows, columns = pixels.labels.shape
    if image.shape[:2] != (rows, columns):
        image = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA).reshape(rows, columns, -1)
    values = image.reshape(rows * columns, -1)[pixels.index]
    names = colour_names(spec)
    if names[0].endswith("_od") and values.dtype == np.uint8:
        stains = {name: name.removeprefix("mean_").removesuffix("_od") for name in names}
        return {name: pixels.mean(stain_density(values, stain)) for name, stain in stains.items()}
    return {name: pixels.mean(values[:, min(at, values.shape[1] - 1)]) for at, name in enumerate(names)}
