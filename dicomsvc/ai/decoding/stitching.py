"""Makes one set of findings of many tiles: each thing once, whatever tile border it lies on.

Tiles overlap, so that a thing on a border is whole in both of its tiles. It counts for the tile whose core holds its
centroid. Two tiles may see it a little differently, so that both count it or neither does: then `resolve` decides by
how their outlines overlap, within a chunk as soon as it is finished, over the borders of chunks in `join_instances`.
Nothing here depends on the order in which tiles or chunks come.
"""

import threading
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from dicomsvc.ai.catalogue.manifest import Manifest, OutputKind
from dicomsvc.ai.decoding.chunks import Array, ChunkFindings, Raster, Seam
from dicomsvc.ai.decoding.placing import depth
from dicomsvc.ai.decoding.seams import Views, boxes, resolve
from dicomsvc.ai.decoding.settings import check_settings
from dicomsvc.ai.decoding.tiles import TileFindings
from dicomsvc.ai.findings import Instances
from dicomsvc.wsi.plan import Chunk, Rectangle, TilePlan


class Stitcher:
    """Collects the tiles of one chunk, in any order and from any thread."""

    def __init__(self, plan: TilePlan, manifest: Manifest, chunk: Chunk) -> None:
        self._plan = plan
        self._chunk = chunk
        self._step = plan.tile_size - 2 * plan.overlap
        self._across = -(-plan.columns // self._step)
        self._apart = _apart(plan, manifest)
        self._tiles: list[tuple[int, Views]] = []
        self._rasters: dict[str, Raster] = {}
        self._lock = threading.Lock()

    def add(self, findings: TileFindings) -> None:
        """Take what was found in one tile of the chunk."""
        with self._lock:
            if findings.instances is not None:
                self._tiles.append((findings.tile.number, self._views(findings, findings.instances)))
            for name, values in findings.rasters.items():
                self._paint(name, values, findings)

    def finish_chunk(self) -> ChunkFindings:
        """Return all that was found."""
        rasters = {name: self._cut(raster) for name, raster in self._rasters.items()}
        instances, seam = None, None
        if self._tiles:
            instances, seam = self._joined()
        return ChunkFindings(self._chunk.number, self._chunk.area, instances, seam, rasters)

    def _views(self, findings: TileFindings, instances: Instances) -> Views:
        at = instances.centroids.astype(np.float64) * self._plan.scale
        wanted = _wanted(at, self._plan)
        column, row = np.floor(at[wanted] / self._step).astype(np.int64).T
        core = findings.tile.core
        tile = (core.y // self._step) * self._across + core.x // self._step
        count = int(wanted.sum())
        return Views(
            instances.chosen(wanted),
            np.full(count, tile, np.int64),
            row * self._across + column,
            findings.depth[wanted],
            self._apart,
        )

    def _joined(self) -> tuple[Instances, Seam]:
        self._tiles.sort(key=lambda entry: entry[0])
        views = _concatenated([view for _, view in self._tiles], self._apart)
        step = self._step
        own = np.array([(t.core.y // step) * self._across + t.core.x // step for t in self._chunk.tiles], np.int64)
        inner = np.isin(views.home, own)
        counts = views.tile == views.home
        # What lies deeper than the overlap in its core can meet nothing that another tile sees.
        band = np.flatnonzero(inner & (self._depth(views, None) < self._plan.overlap))
        kept = inner & counts
        kept[band] = resolve(views.chosen(band))
        rows = np.flatnonzero(kept)
        outer = np.flatnonzero(~inner)
        at_border = np.flatnonzero(self._depth(views.chosen(rows), self._chunk.area) < self._plan.overlap)
        both = np.concatenate([rows[at_border], outer])
        seam = Seam(
            at_border.astype(np.int64),
            views.instances.chosen(outer),
            views.tile[both],
            views.home[both],
            views.depth[both],
            self._apart,
        )
        return views.instances.chosen(rows), seam

    def _depth(self, views: Views, area: Rectangle | None) -> npt.NDArray[np.float64]:
        """Return how deep each thing's nearest side lies in an area, or in the core of the tile that saw it."""
        box = boxes(views.instances).astype(np.float64) * (*self._plan.scale, *self._plan.scale)
        if area is not None:
            return np.minimum(depth(box[:, :2], area), depth(box[:, 2:], area))
        corner = np.stack([views.tile % self._across, views.tile // self._across], axis=1) * self._step
        low, high = box[:, :2] - corner, corner + self._step - box[:, 2:]
        return np.asarray(np.minimum(low, high).min(axis=1), np.float64)

    def _paint(self, name: str, values: Array, findings: TileFindings) -> None:
        raster = self._rasters.get(name)
        if raster is None:
            area, cell = self._chunk.area, findings.cell
            left, top = area.x // cell, area.y // cell
            place = Rectangle(left, top, -(-area.right // cell) - left, -(-area.bottom // cell) - top)
            shape = (place.height, place.width, *values.shape[2:])
            raster = Raster(place, cell, np.full(shape, _nothing(name, values), values.dtype))
            self._rasters[name] = raster
        column, row = findings.corner[0] - raster.place.x, findings.corner[1] - raster.place.y
        raster.values[row : row + values.shape[0], column : column + values.shape[1]] = values

    def _cut(self, raster: Raster) -> Raster:
        """Clear the cells whose centre lies in none of the regions that were asked for."""
        if not self._plan.regions:
            return raster
        place, cell = raster.place, raster.cell
        x = (np.arange(place.x, place.right) + 0.5) * cell
        y = (np.arange(place.y, place.bottom) + 0.5) * cell
        wanted = np.zeros((place.height, place.width), np.bool_)
        for area in self._plan.regions:
            inside = np.outer((y >= area.y) & (y < area.bottom), (x >= area.x) & (x < area.right))
            wanted |= inside
        name = next(name for name, other in self._rasters.items() if other is raster)
        raster.values[~wanted] = _nothing(name, raster.values)
        return raster


def join_instances(chunks: Iterable[ChunkFindings]) -> Instances:
    """Return the things of all chunks of a plan, in the order of the chunks' numbers, each of them once.

    Rasters are not held: the chunks may be read one by one from their files.
    """
    found = sorted(
        ((chunk.number, chunk.instances, chunk.seam) for chunk in chunks if chunk.instances is not None),
        key=lambda entry: entry[0],
    )
    parts = [instances for _, instances, _ in found]
    starts = np.cumsum([0, *(len(part) for part in parts)])
    rows: list[npt.NDArray[np.int64]] = []
    views: list[Views] = []
    for start, (_, instances, seam) in zip(starts.tolist(), found, strict=False):
        if seam is not None:
            candidates = seam.candidates
            joined = Instances.joined([instances.chosen(seam.rows), candidates])
            rows += [seam.rows + start, np.full(len(candidates), -1)]
            views.append(Views(joined, seam.tile, seam.home, seam.depth, seam.apart))
    if not views:
        return Instances.joined(parts)
    del found
    dropped, added = _settled(np.concatenate(rows), _concatenated(views, max(view.apart for view in views)))
    for number in range(len(parts)):
        low, high = np.searchsorted(dropped, starts[number : number + 2])
        if high > low:
            wanted = np.ones(len(parts[number]), np.bool_)
            wanted[dropped[low:high] - starts[number]] = False
            parts[number] = parts[number].chosen(wanted)
    return Instances.joined([*parts, added])


def _settled(row: npt.NDArray[np.int64], views: Views) -> tuple[npt.NDArray[np.int64], Instances]:
    """Return which things (by ``row``, -1 for candidates) are dropped, in order, and the candidates that are added."""
    counts = row >= 0
    # What a chunk has settled counts, even where its centroid lies in the neighbour tile's core.
    home = np.where(counts, views.tile, views.home)
    kept = resolve(Views(views.instances, views.tile, home, views.depth, views.apart))
    return np.sort(row[counts & ~kept]), views.instances.chosen(kept & ~counts)


def _concatenated(views: Sequence[Views], apart: float) -> Views:
    return Views(
        Instances.joined([view.instances for view in views]),
        np.concatenate([view.tile for view in views]),
        np.concatenate([view.home for view in views]),
        np.concatenate([view.depth for view in views]),
        apart,
    )


def _wanted(points: npt.NDArray[np.float64], plan: TilePlan) -> npt.NDArray[np.bool_]:
    """Say which points of the plane count; see `TilePlan.wants`."""
    wanted = np.zeros(len(points), np.bool_)
    x, y = points[:, 0], points[:, 1]
    for area in plan.regions or (Rectangle(0, 0, plan.columns, plan.rows),):
        wanted |= (x >= area.x) & (x < area.right) & (y >= area.y) & (y < area.bottom)
    return wanted


def _apart(plan: TilePlan, manifest: Manifest) -> float:
    if manifest.output.kind is not OutputKind.POINTS:
        return 0.0
    um = check_settings(OutputKind.POINTS, manifest.output.settings)["min_distance_um"]
    return um / plan.mpp / min(plan.scale)


def _nothing(name: str, values: Array) -> float:
    """Return what stands where no tile was looked at."""
    if values.dtype.kind == "f":
        return float("nan")
    return 255 if name == "image" else 0
