"""What is drawn over a slide: segments, annotations, maps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from dicomsvc.ai.overlay.view import Canvas, Placing, View
from dicomsvc.errors import TooLarge
from dicomsvc.objects.annotations import AnnotationGroup, GraphicType
from dicomsvc.wsi.codecs import Pixels
from dicomsvc.wsi.image import StoredImage

Colour = tuple[int, int, int]
Values = npt.NDArray[np.float32]
MAX_SOURCE_PIXELS: Final = 1 << 28
HEAT: Final[tuple[Colour, ...]] = ((10, 8, 60), (110, 30, 130), (215, 60, 70), (250, 150, 40), (255, 245, 150))
_BAND_PIXELS: Final = 1 << 24
_FILL: Final = 0.4
_HEAT_FILL: Final = 0.55
_SHIFT: Final = 4
_FAR: Final = 1 << 20
_DOT_PIXELS: Final = 1.5
_ELLIPSE_POINTS: Final = 32
_AT_ONCE: Final = 1 << 16


class Layer(Protocol):
    """One thing of the legend."""

    @property
    def label(self) -> str: ...

    @property
    def colours(self) -> tuple[Colour, ...]:
        """One colour, or those of a scale from its lowest value to its highest."""
        ...

    def draw(self, canvas: Canvas, view: View) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class PlacedImage:
    image: StoredImage
    placing: Placing


@dataclass(frozen=True, slots=True, eq=False)
class Pyramid:
    """Levels of one image over the slide, the finest first; ``value`` makes numbers of its stored values."""

    levels: tuple[PlacedImage, ...]
    value: Callable[[Pixels], Values]
    channel: int = 0

    def read(self, view: View) -> Values:
        """Return the means over the picture's pixels, ``(rows, columns)``; outside of the image 0.

        Raises
        ------
        TooLarge
            When too many pixels would have to be read, as there is no coarser level.
        """
        chosen = self._level(view)
        (across, down), (left, top) = chosen.placing.factor, chosen.placing.corner
        x0 = (view.left - left) / across
        x1 = x0 + view.columns * view.step[0] / across
        each = view.step[1] / down
        if (x1 - x0) * view.rows * each > MAX_SOURCE_PIXELS:
            raise TooLarge("too many pixels would have to be read for this picture; ask for a smaller region")
        band = max(1, int(_BAND_PIXELS / ((x1 - x0 + 1) * max(each, 1e-6))))
        values = np.zeros((view.rows, view.columns), np.float32)
        for first in range(0, view.rows, band):
            end = min(first + band, view.rows)
            y0 = (view.top - top) / down + first * each
            values[first:end] = self._resized(chosen.image, (x0, y0, x1, y0 + (end - first) * each), view, end - first)
        return values

    def _level(self, view: View) -> PlacedImage:
        fine = [
            level
            for level in self.levels
            if level.placing.factor[0] <= view.step[0] * 1.01 and level.placing.factor[1] <= view.step[1] * 1.01
        ]
        return fine[-1] if fine else self.levels[0]

    def _resized(self, image: StoredImage, box: tuple[float, float, float, float], view: View, rows: int) -> Values:
        x, y = int(np.floor(box[0])), int(np.floor(box[1]))
        width, height = max(1, int(np.ceil(box[2])) - x), max(1, int(np.ceil(box[3])) - y)
        values = self.value(image.read_region(x, y, width, height, self.channel)[:, :, 0])
        inside = (box[0] - x, box[1] - y, box[2] - x, box[3] - y)
        resized = Image.fromarray(values).resize((view.columns, rows), Image.Resampling.BOX, inside)
        return np.asarray(resized, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class SegmentLayer:
    """A segment: filled half through, with its border."""

    label: str
    colour: Colour
    pyramid: Pyramid

    @property
    def colours(self) -> tuple[Colour, ...]:
        return (self.colour,)

    def draw(self, canvas: Canvas, view: View) -> None:
        # Somebody else's object may hold more than its own maximum.
        cover = np.clip(self.pyramid.read(view), 0, 1)
        _blend(canvas, np.array(self.colour, np.float32), cover * _FILL)
        inside = (cover >= 0.5).astype(np.uint8)
        border = inside - cv2.erode(inside, np.ones((3, 3), np.uint8), borderValue=1)
        canvas[border.astype(bool)] = self.colour


@dataclass(frozen=True, slots=True, eq=False)
class MapLayer:
    """A parametric map in false colours; ``lowest`` and ``highest`` are the ends of its scale."""

    label: str
    lowest: float
    highest: float
    pyramid: Pyramid
    """Of the values as they are, NaN where there is none."""

    @property
    def colours(self) -> tuple[Colour, ...]:
        return HEAT

    def draw(self, canvas: Canvas, view: View) -> None:
        known = Pyramid(self.pyramid.levels, lambda pixels: np.isfinite(self.pyramid.value(pixels)).astype(np.float32))
        filled = Pyramid(
            self.pyramid.levels, lambda pixels: np.nan_to_num(self.pyramid.value(pixels), posinf=0, neginf=0)
        )
        weight = known.read(view)
        values = filled.read(view) / np.maximum(weight, 1e-6)
        place = np.clip((values - self.lowest) / max(self.highest - self.lowest, 1e-12), 0, 1) * (len(HEAT) - 1)
        scale = np.array(HEAT, np.float32)
        colours = np.stack([np.interp(place, range(len(HEAT)), scale[:, part]) for part in range(3)], axis=2)
        _blend(canvas, colours.astype(np.float32), weight * _HEAT_FILL)


@dataclass(frozen=True, slots=True, eq=False)
class AnnotationLayer:
    """A group of annotations as outlines or dots; ``to_slide`` makes slide pixels of its points."""

    group: AnnotationGroup
    to_slide: Callable[[npt.NDArray[np.floating[Any]]], npt.NDArray[np.float64]]

    @property
    def label(self) -> str:
        return f"{self.group.label or self.group.finding.label}: {len(self.group):,}"

    @property
    def colours(self) -> tuple[Colour, ...]:
        return (self.group.finding.colour,)

    def draw(self, canvas: Canvas, view: View) -> None:
        for first in range(0, len(self.group), _AT_ONCE):
            self._draw_part(canvas, view, self.group.offsets[first : first + _AT_ONCE + 1])

    def _draw_part(self, canvas: Canvas, view: View, offsets: npt.NDArray[np.int64]) -> None:
        points, offsets = self.group.points[offsets[0] : offsets[-1]], offsets - offsets[0]
        places = np.clip(np.nan_to_num(view.to_picture(self.to_slide(points)), nan=_FAR), -_FAR, _FAR)
        if self.group.graphic_type is GraphicType.ELLIPSE:
            places, offsets = _round(places.reshape(-1, 4, 2))
        lowest, highest = np.minimum.reduceat(places, offsets[:-1]), np.maximum.reduceat(places, offsets[:-1])
        seen = np.all((highest >= 0) & (lowest < (view.columns, view.rows)), axis=1)
        dots = seen & (np.max(highest - lowest, axis=1) < _DOT_PIXELS)
        colour, fine = self.group.finding.colour, max(view.step) > 1
        _draw_dots(canvas, (lowest + highest)[dots] / 2, colour, 0 if self._has_outlines() else 2 if fine else 4)
        numbers = np.flatnonzero(seen & ~dots)
        scaled = np.rint(places * (1 << _SHIFT) - (1 << _SHIFT - 1)).astype(np.int32)
        shapes: Sequence[npt.NDArray[np.int32]] = [scaled[offsets[i] : offsets[i + 1]] for i in numbers]
        closed = self.group.graphic_type is not GraphicType.POLYLINE
        cv2.polylines(canvas, shapes, closed, colour, 1 if fine else 2, cv2.LINE_AA, _SHIFT)

    def _has_outlines(self) -> bool:
        return self.group.graphic_type is not GraphicType.POINT


def _round(ends: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Make polygons of ellipses given by the ends of their axes, ``(n, 4, 2)`` (PS3.3 C.10.5.1.2)."""
    angles = np.linspace(0, 2 * np.pi, _ELLIPSE_POINTS, endpoint=False)[:, np.newaxis]
    centre = ends.mean(axis=1, keepdims=True)
    major, minor = (ends[:, 1:2] - ends[:, 0:1]) / 2, (ends[:, 3:4] - ends[:, 2:3]) / 2
    points = centre + major * np.cos(angles) + minor * np.sin(angles)
    return points.reshape(-1, 2), np.arange(len(ends) + 1, dtype=np.int64) * _ELLIPSE_POINTS


def _draw_dots(canvas: Canvas, places: npt.NDArray[np.float64], colour: Colour, radius: int) -> None:
    whole = np.floor(places).astype(np.int64)
    if radius:
        for x, y in whole.tolist():
            cv2.circle(canvas, (x, y), radius, colour, -1, cv2.LINE_AA)
        return
    rows, columns = canvas.shape[:2]
    inside = np.all((whole >= 0) & (whole < (columns, rows)), axis=1)
    canvas[whole[inside, 1], whole[inside, 0]] = colour


def _blend(canvas: Canvas, colours: Values, opacity: Values) -> None:
    """Lay colours ``(3,)`` or ``(rows, columns, 3)`` over the picture, in bands to spare memory."""
    for first in range(0, len(canvas), 256):
        part = slice(first, first + 256)
        share = opacity[part, :, np.newaxis]
        own = colours if colours.ndim == 1 else colours[part]
        canvas[part] = np.rint(canvas[part] * (1 - share) + own * share).astype(np.uint8)
