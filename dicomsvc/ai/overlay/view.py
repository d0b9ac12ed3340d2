"""The part of a slide that a picture shows, and where stored images lie on the slide."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicomsvc.errors import UnfitSlide
from dicomsvc.wsi.attributes import item, number, numbers
from dicomsvc.wsi.image import StoredImage

Canvas = npt.NDArray[np.uint8]
"""The picture that is drawn on, ``(rows, columns, 3)``, RGB."""
_SAME_EXTENT_PIXELS = 2


@dataclass(frozen=True, slots=True)
class View:
    """``left``, ``top``: the picture's corner in slide pixels; ``step``: (x, y) slide pixels per picture pixel."""

    left: float
    top: float
    step: tuple[float, float]
    columns: int
    rows: int

    def to_picture(self, points: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Return places on the picture, ``(n, 2)``, of slide pixels; (0, 0) is the picture's top left corner."""
        return (np.asarray(points, np.float64) - (self.left, self.top)) / self.step


@dataclass(frozen=True, slots=True)
class Placing:
    """``factor``: (x, y) slide pixels per pixel of an image; ``corner``: its top left corner in slide pixels."""

    factor: tuple[float, float]
    corner: tuple[float, float]


class SlidePlane:
    """The finest level's pixels in the slide's frame of reference (PS3.3 C.8.12.6.1.1)."""

    def __init__(self, base: StoredImage) -> None:
        row_mm, column_mm = base.pixel_spacing_mm
        orientation = numbers(base.dataset, "00480102")
        if len(orientation) != 6 or not (row_mm > 0 and column_mm > 0):
            raise UnfitSlide("the slide does not say how its pixels lie on the glass (spacing and orientation)")
        self.columns, self.rows = base.columns, base.rows
        self.spacing_mm = (column_mm, row_mm)
        self._axes = np.array([orientation[0:2], orientation[3:5]])
        self._origin = _origin_mm(base)

    def from_mm(self, points: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Return slide pixels ``(n, 2)`` of slide coordinates (x, y[, z]) in mm."""
        offsets = np.asarray(points, np.float64)[:, :2] - self._origin
        placed: npt.NDArray[np.float64] = offsets @ self._axes.T / self.spacing_mm + 0.5
        return placed

    def placing(self, image: StoredImage) -> Placing:
        """Return where an image of the same slide lies.

        One that covers the slide is taken to begin at the slide's corner: writers give all levels of a pyramid one
        origin for the centre of the first pixel, which cannot be true of pixels that differ in size.
        """
        row_mm, column_mm = image.pixel_spacing_mm
        if not (row_mm > 0 and column_mm > 0):
            return Placing((self.columns / image.columns, self.rows / image.rows), (0.0, 0.0))
        factor = (column_mm / self.spacing_mm[0], row_mm / self.spacing_mm[1])
        beyond = (image.columns * factor[0] - self.columns, image.rows * factor[1] - self.rows)
        if all(abs(rest) <= _SAME_EXTENT_PIXELS * max(each, 1) for rest, each in zip(beyond, factor, strict=True)):
            return Placing(factor, (0.0, 0.0))
        centre = self.from_mm(_origin_mm(image)[np.newaxis])[0]
        return Placing(factor, (float(centre[0] - factor[0] / 2), float(centre[1] - factor[1] / 2)))


def _origin_mm(image: StoredImage) -> npt.NDArray[np.float64]:
    origin = item(image.dataset, "00480008")
    return np.array([number(origin, "0040072A", 0.0), number(origin, "0040073A", 0.0)])
