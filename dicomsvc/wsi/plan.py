"""Which tiles of a slide a model looks at, in which order, and what of each tile counts.

*Plane pixels* are those of the slide resampled to a model's resolution: ``(column, row)``, top left corner (0, 0).

The cores of all tiles of a plane cover it exactly once, on one grid that begins at (0, 0) whatever is asked for: a tile
of a region is the same tile as that of the whole slide. Regions and tissue only choose among the tiles. So a core may
reach beyond a region: what was found there is left out by its centroid, and maps are cut to `TilePlan.regions`.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, Protocol

from dicomsvc.errors import BadRequest, InvalidModel, UnfitSlide

STEP_TOLERANCE: Final = 0.01
MAX_TILES: Final = 4_000_000
_LEAST_UM: Final = 1e-4
_MOST_UM: Final = 1e5


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

    def overlap(self, other: "Rectangle") -> "Rectangle":
        """Return what two rectangles share; of no width or height where they share nothing."""
        x, y = max(self.x, other.x), max(self.y, other.y)
        return Rectangle(x, y, max(0, min(self.right, other.right) - x), max(0, min(self.bottom, other.bottom) - y))

    def touches(self, other: "Rectangle") -> bool:
        """Whether they share a part that is not empty."""
        shared = self.overlap(other)
        return shared.width > 0 and shared.height > 0


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

    ``columns`` and ``rows`` are the plane's; ``scale`` is (x, y) plane pixels per slide pixel. ``regions`` are what was
    asked for, cut to the plane and grown to whole plane pixels; none means all of it. A part that lies in no region
    counts for nothing, though a tile reaches there.
    """

    mpp: float
    columns: int
    rows: int
    scale: tuple[float, float]
    tile_size: int
    overlap: int
    chunks: tuple[Chunk, ...]
    regions: tuple[Rectangle, ...] = field(default=())

    @property
    def tiles(self) -> int:
        """How many tiles there are in all."""
        return sum(len(chunk.tiles) for chunk in self.chunks)

    def wants(self, column: float, row: float) -> bool:
        """Whether a point of the plane counts: it lies on the slide and, where regions were asked for, in one."""
        areas = self.regions or (Rectangle(0, 0, self.columns, self.rows),)
        return any(area.x <= column < area.right and area.y <= row < area.bottom for area in areas)

    def digest(self) -> str:
        """Return a SHA-256 in hex of all that makes the plan; a checkpoint of another plan is of no use."""
        head = [
            *(self.mpp, self.columns, self.rows, self.scale, self.tile_size, self.overlap),
            [(area.x, area.y, area.width, area.height) for area in self.regions],
        ]
        digest = hashlib.sha256(json.dumps(head).encode())
        for chunk in self.chunks:
            cores = [(tile.number, tile.core.x, tile.core.y) for tile in chunk.tiles]
            digest.update(json.dumps([chunk.number, cores]).encode())
        return digest.hexdigest()


class Mask(Protocol):
    """What says where to look; `dicomsvc.wsi.tissue.TissueMask` is one."""

    def touches(self, area: Rectangle) -> bool:
        """Whether there is anything in a rectangle of slide pixels."""
        ...


@dataclass(frozen=True, slots=True)
class Grid:
    """The plane of a slide at a resolution, before any tile is chosen.

    ``step`` is (x, y) slide pixels per plane pixel, as exact fractions: both the plan and the resampling use them, so a
    place in the plane is one place on the slide, without rounding.
    """

    columns: int
    rows: int
    step: tuple[Fraction, Fraction]

    @property
    def scale(self) -> tuple[float, float]:
        return float(1 / self.step[0]), float(1 / self.step[1])

    def to_slide(self, area: Rectangle) -> Rectangle:
        """Return the smallest rectangle of whole slide pixels that holds a rectangle of the plane."""
        return _scaled(area, *self.step)

    def to_plane(self, area: Rectangle) -> Rectangle:
        """Return the smallest rectangle of whole plane pixels that holds a rectangle of the slide."""
        return _scaled(area, 1 / self.step[0], 1 / self.step[1])


def make_grid(slide_columns: int, slide_rows: int, slide_mpp: tuple[float, float], mpp: float) -> Grid:
    """Lay a plane over a slide.

    The step is the simplest fraction within 1 % of ``mpp / slide_mpp``: scanners are no more exact, and a 0.499 um
    slide goes to a 0.5 um model without being resampled. The real resolution is ``slide_mpp * step``.

    Raises
    ------
    UnfitSlide
        When the slide has no size or no pixel spacing.
    InvalidModel
        When the resolution asked for is no positive number.
    """
    if slide_columns < 1 or slide_rows < 1 or not all(each > 0 for each in slide_mpp):
        raise UnfitSlide("the slide has no pixel spacing; give mpp, its micrometres a pixel")
    if not all(_LEAST_UM < each < _MOST_UM for each in slide_mpp):
        raise UnfitSlide(
            f"the slide's pixel spacing of {slide_mpp[0]:g} x {slide_mpp[1]:g} um cannot be right; give mpp"
        )
    if not _LEAST_UM < mpp < _MOST_UM:
        raise InvalidModel(f"mpp must be a number of micrometres above 0, not {mpp:g}")
    step = (_simplest(mpp / slide_mpp[0]), _simplest(mpp / slide_mpp[1]))
    return Grid(math.ceil(slide_columns / step[0]), math.ceil(slide_rows / step[1]), step)


def make_plan(
    slide_columns: int,
    slide_rows: int,
    slide_mpp: tuple[float, float],
    mpp: float,
    tile_size: int,
    overlap: int,
    regions: Sequence[Rectangle] = (),
    tissue: Mask | None = None,
    chunk_tiles: int = 8,
) -> TilePlan:
    """Plan the tiles of a slide; the same arguments give the same plan.

    Parameters
    ----------
    slide_mpp
        Micrometres per slide pixel, (x, y).
    regions
        In slide pixels; none means the whole slide. Only tiles whose core touches one are done.
    tissue
        Only tiles whose core touches it are done; none means everywhere.
    chunk_tiles
        A chunk is a block of so many tiles each way, on a grid that begins at (0, 0).

    Raises
    ------
    UnfitSlide
        When the slide has no pixel spacing, or would make too many tiles.
    InvalidModel
        When the overlap leaves nothing of a tile.
    BadRequest
        When a region is empty or lies outside of the slide.
    """
    size = tile_size - 2 * overlap
    if overlap < 0 or size < 1:
        raise InvalidModel(f"an overlap of {overlap} pixels leaves nothing of a tile of {tile_size}")
    if chunk_tiles < 1:
        raise BadRequest("a chunk has at least one tile")
    grid = make_grid(slide_columns, slide_rows, slide_mpp, mpp)
    if -(-grid.columns // size) * -(-grid.rows // size) > MAX_TILES:
        raise UnfitSlide(f"at {mpp:g} um a pixel the slide has more than {MAX_TILES} tiles")
    areas = _plane_regions(grid, Rectangle(0, 0, slide_columns, slide_rows), regions)
    chunks: list[Chunk] = []
    number = 0
    for cores in _blocks(grid, size, chunk_tiles, areas):
        wanted = [core for core in cores if tissue is None or tissue.touches(grid.to_slide(core))]
        if wanted:
            tiles = [Tile(number + i, core, _context(core, tile_size, overlap)) for i, core in enumerate(wanted)]
            chunks.append(Chunk(len(chunks), _bounds(wanted), tuple(tiles)))
            number += len(tiles)
    return TilePlan(
        float(mpp), grid.columns, grid.rows, grid.scale, tile_size, overlap, tuple(chunks), areas if regions else ()
    )


def _simplest(value: float) -> Fraction:
    """Return the fraction of the smallest denominator (of numerator, below 1) within the tolerance, nearest first."""
    if value < 1:
        return 1 / _simplest(1 / value)
    denominator = 1
    while abs(round(value * denominator) / (value * denominator) - 1) > STEP_TOLERANCE:
        denominator += 1
    return Fraction(round(value * denominator), denominator)


def _scaled(area: Rectangle, x: Fraction, y: Fraction) -> Rectangle:
    left, top = math.floor(area.x * x), math.floor(area.y * y)
    return Rectangle(left, top, math.ceil(area.right * x) - left, math.ceil(area.bottom * y) - top)


def _plane_regions(grid: Grid, slide: Rectangle, regions: Sequence[Rectangle]) -> tuple[Rectangle, ...]:
    plane = Rectangle(0, 0, grid.columns, grid.rows)
    if not regions:
        return (plane,)
    for region in regions:
        if region.width < 1 or region.height < 1 or not region.touches(slide):
            raise BadRequest(
                f"region {region.x},{region.y},{region.width},{region.height} is empty or lies outside of the slide "
                f"of {slide.width} x {slide.height} pixels"
            )
    return tuple(grid.to_plane(region.overlap(slide)).overlap(plane) for region in regions)


def _blocks(grid: Grid, size: int, chunk_tiles: int, areas: Sequence[Rectangle]) -> Iterator[list[Rectangle]]:
    """Yield the cores of each block that touch an area, blocks and cores row by row."""
    side = size * chunk_tiles
    for top in range(0, grid.rows, side):
        for left in range(0, grid.columns, side):
            block = Rectangle(left, top, min(side, grid.columns - left), min(side, grid.rows - top))
            touched = [area for area in areas if area.touches(block)]
            if touched:
                yield [core for core in _cores(block, size) if any(area.touches(core) for area in touched)]


def _cores(block: Rectangle, size: int) -> Iterator[Rectangle]:
    for y in range(block.y, block.bottom, size):
        for x in range(block.x, block.right, size):
            yield Rectangle(x, y, min(size, block.right - x), min(size, block.bottom - y))


def _context(core: Rectangle, tile_size: int, overlap: int) -> Rectangle:
    return Rectangle(core.x - overlap, core.y - overlap, tile_size, tile_size)


def _bounds(cores: Sequence[Rectangle]) -> Rectangle:
    left, top = min(core.x for core in cores), min(core.y for core in cores)
    return Rectangle(left, top, max(core.right for core in cores) - left, max(core.bottom for core in cores) - top)
