"""Cells as pictures, at any thresholds: filled by class, or as lines over the tissue."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from dicomsvc.ai.decoding.outlines import outlines
from dicomsvc.ai.ihc.cells import Answer, Bools, CellTable
from dicomsvc.ai.ihc.postprocess import Plane, Territories

Picture = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float32]
_NONE, _NEGATIVE, _POSITIVE = 0, 1, 2
POSITIVE_COLOUR: Final = (255, 0, 0)
NEGATIVE_COLOUR: Final = (0, 0, 255)
_BOUNDARY_COLOUR: Final = (0, 255, 0)
# What hematoxylin takes of red, green and blue at a density of 1 (Ruifrok and Johnston, of length 1).
_HEMATOXYLIN: Final = np.array([0.651, 0.701, 0.29])
_HIGHEST_DENSITY: Final = 2.0
_TOLERANCE_PIXELS: Final = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """``classes`` uint8 is 0, 1 (negative) or 2 (positive) by pixel; ``edge`` are the outermost pixels of cells."""

    classes: Plane
    edge: Bools

    def refined(self) -> Picture:
        """Return cells filled, red positive and blue negative, with green edges."""
        table = np.array([(0, 0, 0), NEGATIVE_COLOUR, POSITIVE_COLOUR], np.uint8)
        picture = table[self.classes]
        picture[self.edge] = _BOUNDARY_COLOUR
        return picture

    def overlaid(self, picture: Picture) -> Picture:
        """Return the edges over a picture, red positive and blue negative, two pixels wide."""
        drawn = np.where(self.edge, self.classes, 0).astype(np.uint8)
        grown = cv2.dilate(drawn, np.ones((2, 2), np.uint8))
        result = picture.copy()
        result[grown == _NEGATIVE] = NEGATIVE_COLOUR
        result[grown == _POSITIVE] = POSITIVE_COLOUR
        return result


def draw(found: Territories, answer: Answer) -> Drawing:
    """Return the cells that count."""
    lookup = np.zeros(found.count + 1, np.uint8)
    lookup[1:] = np.where(answer.counted, np.where(answer.positive, _POSITIVE, _NEGATIVE), _NONE)
    shown = found.value > answer.prob
    classes = np.multiply(lookup[found.labels], shown, dtype=np.uint8)
    labels = np.where(classes > 0, found.labels, 0).astype(np.float32)
    # An edge is where the smallest label of the neighbourhood is another one: outside, or a neighbour's.
    least, most = cv2.erode(labels, _CROSS, borderValue=0), cv2.dilate(labels, _CROSS)
    return Drawing(classes, (classes > 0) & ((least != labels) | (most != labels)))


_CROSS: Final = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


def cell_outlines(
    found: Territories, table: CellTable, prob: int, cells: Sequence[int]
) -> Iterator[tuple[int, Points]]:
    """Yield the outline of each cell above a value, of its largest piece, in pixels; (0, 0) is the top left corner."""
    for cell in cells:
        x, y, width, height = (int(each) for each in table.boxes[cell])
        place = (slice(y, y + height), slice(x, x + width))
        mask = (found.labels[place] == cell + 1) & (found.value[place] > prob)
        if mask.any():
            yield cell, mask_outline(mask, (x, y))


def mask_outline(mask: npt.NDArray[np.bool_], corner: tuple[int, int]) -> Points:
    """Return the outline of a mask's largest piece, the mask's top left corner lying at ``corner``."""
    whole = (slice(0, mask.shape[0]), slice(0, mask.shape[1]))
    found = next(outlines(mask.astype(np.int32), [whole], [1], _TOLERANCE_PIXELS))
    return np.asarray(found.points + np.array(corner, np.float32), np.float32)


def grey(plane: Plane) -> Picture:
    """Return a plane as a grey picture."""
    return np.asarray(cv2.cvtColor(plane, cv2.COLOR_GRAY2RGB), np.uint8)


def hematoxylin_picture(amount: Plane) -> Picture:
    """Return how hematoxylin alone would look; 255 is an optical density of 2 (base 10)."""
    density = np.arange(256) / 255 * _HIGHEST_DENSITY
    table = np.rint(255 * 10 ** (-density[:, np.newaxis] * _HEMATOXYLIN)).astype(np.uint8)
    shown: Picture = table[amount]
    return shown


def png(picture: npt.NDArray[Any], level: int = 1) -> bytes:
    """Return a grey or RGB picture as PNG; level 1 is some ten times faster than 9, and a little larger."""
    shown = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    done, data = cv2.imencode(".png", shown, [cv2.IMWRITE_PNG_COMPRESSION, level])
    if not done:
        raise ValueError("the picture cannot be written as PNG")
    return data.tobytes()
