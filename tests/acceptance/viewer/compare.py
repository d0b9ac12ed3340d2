"""What a picture of the window says, compared with what should be there."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from tests.acceptance.viewer.browser import Page

Picture = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
_CHANGED = 40


@dataclass(frozen=True)
class Screen:
    """Where the window's pixels lie: ``columns``, ``rows`` of their centres on the slide, each ``(height, width)``."""

    columns: npt.NDArray[np.float64]
    rows: npt.NDArray[np.float64]
    matrix: npt.NDArray[np.float64]
    origin: npt.NDArray[np.float64]

    def to_screen(self, points: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Return screen coordinates (x, y) of pixels of the finest level."""
        return points @ self.matrix.T + self.origin

    def shows(self, point: npt.NDArray[np.floating]) -> bool:
        x, y = self.to_screen(point)
        return bool(0 <= x < self.columns.shape[1] and 0 <= y < self.columns.shape[0])

    def on_slide(self, columns: int, rows: int) -> Mask:
        return (self.columns >= 0) & (self.columns < columns) & (self.rows >= 0) & (self.rows < rows)


def screen(page: Page, width: int, height: int) -> Screen:
    """Ask the page where three places of the slide are; the rest follows."""
    origin, right, down = np.array(page.call("slidePage.place", [[0, 0], [1000, 0], [0, 1000]]), np.float64)
    matrix = np.stack([(right - origin) / 1000, (down - origin) / 1000], axis=1)
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    places = (np.stack([x, y], axis=-1).reshape(-1, 2) - origin) @ np.linalg.inv(matrix).T
    return Screen(places[:, 0].reshape(height, width), places[:, 1].reshape(height, width), matrix, origin)


def changed(before: Picture, after: Picture) -> Mask:
    """Whether a pixel has clearly another colour."""
    return np.abs(before.astype(np.int16) - after).sum(axis=2) > _CHANGED


def overlap(one: Mask, other: Mask) -> float:
    """Return intersection over union."""
    union = np.count_nonzero(one | other)
    return float(np.count_nonzero(one & other) / union) if union else 1.0


def distance_to(mask: Mask) -> npt.NDArray[np.float32]:
    """Return how far each pixel is from a mask."""
    return cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)


def outlines(view: Screen, shapes: list[npt.NDArray[np.floating]]) -> Mask:
    """Return the pixels on the outlines of polygons given in pixels of the finest level."""
    drawn = np.zeros(view.columns.shape, np.uint8)
    for shape in shapes:
        cv2.polylines(drawn, [np.floor(view.to_screen(shape)).astype(np.int32)], True, 1)
    return drawn.astype(bool)
