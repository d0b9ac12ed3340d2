"""What is clicked on, at a model's resolution: a slide, a picture, or a tile of either."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dicomsvc.ai.catalogue.manifest import Manifest, OutputKind, Stain
from dicomsvc.ai.images import check_picture, to_plane
from dicomsvc.errors import BadRequest, UnfitSlide
from dicomsvc.wsi.plan import Rectangle, make_grid
from dicomsvc.wsi.resampling import Plane
from dicomsvc.wsi.slide import Slide
from dicomsvc.wsi.tissue import detect_tissue

Pixels = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """A plane of ``columns`` x ``rows`` pixels of ``mpp`` micrometres.

    ``scale`` is (x, y) plane pixels a slide pixel; ``origin`` is where the plane's corner lies, in plane pixels of the
    slide. ``read`` gives a rectangle that lies in the plane, ``(rows, columns, samples)``, from any thread.
    """

    columns: int
    rows: int
    mpp: float
    scale: tuple[float, float]
    read: Callable[[Rectangle], Pixels]
    origin: tuple[float, float] = (0, 0)

    def to_plane(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return plane pixels of slide pixels, ``(n, 2)``; of both the top left corner is (0, 0)."""
        placed: npt.NDArray[np.float64] = points * np.array(self.scale) - np.array(self.origin, np.float64)
        return placed

    def to_slide(self, points: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        return np.asarray((points + np.array(self.origin, np.float64)) / np.array(self.scale), np.float32)

    def holds(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Return which plane pixels lie in the plane."""
        return np.asarray(((points >= 0) & (points < (self.columns, self.rows))).all(axis=1))

    def crop(self, column: int, row: int, side: int) -> Pixels:
        """Return the square whose pixel ``side // 2`` is this one; beyond the edge it is the mirror image."""
        x = mirrored(np.arange(side) + column - side // 2, self.columns)
        y = mirrored(np.arange(side) + row - side // 2, self.rows)
        left, top = int(x.min()), int(y.min())
        pixels = self.read(Rectangle(left, top, int(x.max()) - left + 1, int(y.max()) - top + 1))
        if pixels.shape[:2] == (side, side):
            return pixels
        return pixels[np.ix_(y - top, x - left)]


def mirrored(at: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    """Return where the mirror images of places outside of 0 to ``size`` lie; the edge itself is not doubled."""
    period = max(1, 2 * (size - 1))
    folded = np.abs(at) % period
    return np.asarray(np.minimum(folded, period - folded), np.int64)


def require_clicks(manifest: Manifest) -> None:
    """Refuse a model that does not answer clicks.

    Raises
    ------
    BadRequest
        When it is of another kind.
    """
    if manifest.output.kind is not OutputKind.CLICKS:
        raise BadRequest(
            f"{manifest.name} gives {manifest.output.kind} and answers no clicks; take one such as nuclick"
        )


def ground_of_slide(slide: Slide, manifest: Manifest) -> Ground:
    """Return a stored slide as a click model sees it.

    Raises
    ------
    UnfitSlide
        When the slide is too coarse or of another stain than the model was made for.
    """
    spec = manifest.input
    plane = Plane(slide, spec.mpp, spec.channels, coarsest_mpp=max(spec.coarsest_mpp, spec.mpp))
    if detect_tissue(slide).dark != (spec.stain is Stain.FLUORESCENCE):
        raise UnfitSlide(f"{manifest.name} is for {spec.stain}; the slide is of another kind")
    return Ground(plane.columns, plane.rows, float(np.sqrt(np.prod(plane.mpp))), plane.scale, plane.read)


def ground_of_picture(picture: npt.NDArray[np.uint8], mpp: float, manifest: Manifest) -> Ground:
    """Return a picture ``(rows, columns, 3)`` of ``mpp`` micrometres a pixel; it takes the slide's part.

    Raises
    ------
    UnfitSlide
        When it is too coarse, or the model is not for colour.
    """
    check_picture(manifest, mpp)
    grid = make_grid(picture.shape[1], picture.shape[0], (mpp, mpp), manifest.input.mpp)
    plane = to_plane(picture, grid)
    return ground_of_pixels(plane, mpp * float(grid.step[0]), grid.scale)


def ground_of_pixels(
    plane: Pixels, mpp: float, scale: tuple[float, float], origin: tuple[float, float] = (0, 0)
) -> Ground:
    """Return pixels that have the model's resolution already."""

    def read(area: Rectangle) -> Pixels:
        return plane[area.y : area.bottom, area.x : area.right]

    return Ground(plane.shape[1], plane.shape[0], mpp, scale, read, origin)
