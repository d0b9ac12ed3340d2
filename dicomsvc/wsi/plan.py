"""Which tiles of a slide a model looks at, in which order, and what of each tile counts.

*Plane pixels* are those of the slide resampled to a model's resolution: ``(column, row)``, top left corner (0, 0).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rectangle:
    """``x``, ``y``: top left corner; half open at the right and at the bottom."""

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        return self.x + self.width

    @property
    def bottom(self) -> int:
        return self.y + self.height


@dataclass(frozen=True, slots=True)
class Tile:
    """``context`` is what the model sees (may reach over the slide's edge), ``core`` what counts of its answer."""

    number: int
    core: Rectangle
    context: Rectangle


@dataclass(frozen=True, slots=True)
class Chunk:
    """Neighbouring tiles that are done together; after each chunk its findings are kept. ``area``: of all cores."""

    number: int
    area: Rectangle
    tiles: tuple[Tile, ...]


@dataclass(frozen=True, slots=True)
class TilePlan:
    """All of the work on one slide, in plane pixels.

    ``columns`` and ``rows`` are the plane's; ``scale`` is (x, y) plane pixels per slide pixel.
    """

    mpp: float
    columns: int
    rows: int
    scale: tuple[float, float]
    tile_size: int
    overlap: int
    chunks: tuple[Chunk, ...]

    @property
    def tiles(self) -> int:
        """How many tiles there are in all."""
        return sum(len(chunk.tiles) for chunk in self.chunks)
