"""Puts the slide, the layers and the legend together."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image

from dicomsvc.ai.overlay.legend import with_legend
from dicomsvc.ai.overlay.stored import stored_layers
from dicomsvc.ai.overlay.view import Canvas, View
from dicomsvc.errors import BadRequest, UnfitSlide
from dicomsvc.objects.common import NOT_VERIFIED
from dicomsvc.store import Store
from dicomsvc.wsi.attributes import items, text
from dicomsvc.wsi.levels import slide_mpp
from dicomsvc.wsi.optical_paths import RGB
from dicomsvc.wsi.plan import Rectangle
from dicomsvc.wsi.resampling import Plane
from dicomsvc.wsi.slide import Slide, open_slide

MAX_SIDE: Final = 4096
_LARGEST_MAGNIFICATION: Final = 4


def overlay_picture(
    store: Store,
    study_instance_uid: str,
    slide_series_uid: str,
    result_series_uids: Sequence[str],
    *,
    region: Rectangle | None = None,
    max_size: int = 1600,
    note: str = NOT_VERIFIED,
) -> Image.Image:
    """Return a picture of a slide with the results of some series drawn on it, and a legend below.

    ``region`` is in slide pixels, cut to the slide; without it the whole slide is shown. ``max_size`` is the longer
    side of the part that shows the slide; a small region is magnified up to four times. ``note`` stands under the
    legend. Objects that cannot be drawn (reports) are left out.

    Raises
    ------
    BadRequest
        When the region lies outside of the slide, or the size is not from 16 to `MAX_SIDE`.
    NotFound
        When a series is not stored.
    Conflict
        When a result is about another slide.
    UnfitSlide
        When the slide has no pixel spacing.
    TooLarge
        When a result has no level coarse enough for so large a region.
    """
    if not 16 <= max_size <= MAX_SIDE:
        raise BadRequest(f"a picture has from 16 to {MAX_SIDE} pixels a side")
    slide = open_slide(store, study_instance_uid, slide_series_uid)
    layers = stored_layers(store, slide, study_instance_uid, result_series_uids) if slide.levels else []
    canvas, view = slide_picture(slide, region, max_size)
    for layer in layers:
        layer.draw(canvas, view)
    um_per_pixel = slide_mpp(slide)[0] * view.step[0]
    return with_legend(Image.fromarray(canvas), layers, note, um_per_pixel)


def slide_picture(slide: Slide, region: Rectangle | None, max_size: int) -> tuple[Canvas, View]:
    """Return the slide alone and what of it is seen; see `overlay_picture`."""
    mpp = slide_mpp(slide)
    base = slide.levels[0]
    shown = _cut(region or Rectangle(0, 0, base.columns, base.rows), base.columns, base.rows)
    factor = max(max(shown.width, shown.height) / max_size, 1 / _LARGEST_MAGNIFICATION)
    plane = Plane(slide, max(mpp) * factor, _channels(slide))
    area = plane.grid.to_plane(shown)
    area = _cut(
        Rectangle(area.x, area.y, min(area.width, max_size), min(area.height, max_size)), plane.columns, plane.rows
    )
    step = (float(plane.grid.step[0]), float(plane.grid.step[1]))
    view = View(area.x * step[0], area.y * step[1], step, area.width, area.height)
    return _coloured(plane.read(area), slide), view


def _cut(area: Rectangle, columns: int, rows: int) -> Rectangle:
    left, top = max(area.x, 0), max(area.y, 0)
    right, bottom = min(area.right, columns), min(area.bottom, rows)
    if right <= left or bottom <= top:
        raise BadRequest(f"the region lies outside of the slide, which has {columns} x {rows} pixels")
    return Rectangle(left, top, right - left, bottom - top)


def _channels(slide: Slide) -> tuple[str, ...]:
    """Return how a picture's channels are called: colour, or the first three optical paths."""
    base = slide.levels[0]
    if base.reader.index.samples_per_pixel == 3:
        return RGB
    paths = [text(path, "00480106") for path in items(base.dataset, "00480105")]
    if not paths:
        raise UnfitSlide("the slide is no colour image and names no optical path")
    return tuple(paths[:3])


def _coloured(pixels: Canvas, slide: Slide) -> Canvas:
    """Return RGB: one optical path in grey; of several the first in blue, where nuclei mostly are, then green, red."""
    if slide.levels[0].reader.index.samples_per_pixel == 3:
        return np.ascontiguousarray(pixels)
    if pixels.shape[2] == 1:
        return np.repeat(pixels, 3, axis=2)
    canvas = np.zeros((*pixels.shape[:2], 3), np.uint8)
    for number in range(pixels.shape[2]):
        canvas[:, :, 2 - number] = pixels[:, :, number]
    return canvas
