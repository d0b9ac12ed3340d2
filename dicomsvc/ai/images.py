"""Runs a model over plain pictures of known resolution, by the same tiles, decoders and stitching as slides.

Places in the findings are slide pixels, as everywhere: the picture takes the slide's part. `describe` gives them in the
convention of pictures, where whole numbers are pixel centres.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from dicomsvc.ai.catalogue.manifest import Manifest, OutputKind, Stain
from dicomsvc.ai.decoding import ChunkFindings, Decoder, Raster, TileFindings, decoder, join_instances
from dicomsvc.ai.findings import Instances
from dicomsvc.ai.inference.backend import Backend, Tensor
from dicomsvc.ai.loop import TileLoop, TileSource
from dicomsvc.ai.statistics import compute, tissue_pixels
from dicomsvc.ai.tensors import image_tensor
from dicomsvc.errors import ServerUnavailable, UnfitSlide
from dicomsvc.wsi.plan import Grid, Rectangle, Tile, TilePlan, make_grid, make_plan
from dicomsvc.wsi.stain import apply_steps, fit_steps

Picture = npt.NDArray[np.uint8]
_CHUNK_TILES: Final = 4
_COARSER_BY: Final = 1.01


@dataclass(frozen=True, slots=True, eq=False)
class PictureFindings:
    """What was found in a picture of ``columns`` x ``rows`` pixels; ``rasters`` cover the plan's plane."""

    columns: int
    rows: int
    mpp: float
    plan: TilePlan
    instances: Instances | None
    rasters: Mapping[str, Raster]


def analyse_picture(
    picture: Picture,
    mpp: float,
    manifest: Manifest,
    backend: Backend,
    *,
    threads: int = 2,
    patience_seconds: float = 60,
    channels: bool = False,
    around: Callable[[Decoder, float, TilePlan], Decoder] = lambda decode, mpp, plan: decode,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> PictureFindings:
    """Run a model over a picture ``(rows, columns, 3)`` of ``mpp`` micrometres a pixel.

    With ``channels`` the named channels that a model for things has beside them are kept. ``around`` may put a decoder
    around the model's, given the plane's resolution and the plan (`dicomsvc.ai.clicks.redrawing`).

    ``tell`` gets the number of finished tiles and of all; it may raise to stop. A model server that stays away for
    longer than ``patience_seconds`` ends it.

    Raises
    ------
    UnfitSlide
        When the picture is too coarse for the model, or the model is not for colour.
    ModelFailure, ServerUnavailable
        When the model fails, or its server is gone.
    """
    check_picture(manifest, mpp)
    rows, columns = picture.shape[:2]
    spec = manifest.input
    plan = make_plan(columns, rows, (mpp, mpp), spec.mpp, spec.tile_size, spec.overlap, chunk_tiles=_CHUNK_TILES)
    grid = make_grid(columns, rows, (mpp, mpp), spec.mpp)
    plane = to_plane(picture, grid)
    source = _source(manifest, plane)
    real_mpp = mpp * float(grid.step[0])
    inner = around(decoder(manifest, channels=channels, mpp=real_mpp), real_mpp, plan)
    decode = InsideDecoder(inner, manifest, plan)
    patience = _Patience(patience_seconds, lambda done: tell(done, plan.tiles))
    loop = TileLoop(manifest, backend, source, decode, threads=threads, tell=patience.hear)
    chunks = list(loop.findings(plan, plan.chunks))
    found = join_instances(chunks) if manifest.output.kind in (OutputKind.INSTANCES, OutputKind.POINTS) else None
    return PictureFindings(columns, rows, mpp, plan, found, _whole(chunks))


@dataclass(frozen=True, slots=True, eq=False)
class InsideDecoder:
    """Decodes what a model says of the picture itself, not of its mirror image around it."""

    inner: Decoder
    manifest: Manifest
    plan: TilePlan

    def decode(
        self, outputs: Mapping[str, Any], image: npt.NDArray[Any], tile: Tile, scale: tuple[float, float]
    ) -> TileFindings:
        if self.manifest.output.kind in (OutputKind.INSTANCES, OutputKind.POINTS):
            role = "mask" if self.manifest.output.kind is OutputKind.INSTANCES else "heat"
            name = self.manifest.output.tensors[role]
            if name in outputs and outputs[name].ndim >= 2:
                outputs = {**outputs, name: self._cleared(outputs[name], tile)}
        return self.inner.decode(outputs, image, tile, scale)

    def _cleared(self, values: npt.NDArray[Any], tile: Tile) -> npt.NDArray[Any]:
        stride, context = self.manifest.output.stride, tile.context
        left, top = max(0, -context.x) // stride, max(0, -context.y) // stride
        right = -(-(self.plan.columns - context.x) // stride)
        bottom = -(-(self.plan.rows - context.y) // stride)
        cleared = np.zeros_like(values)
        cleared[top:bottom, left:right] = values[top:bottom, left:right]
        return cleared


class _Patience:
    """Hears how the tiles go, and gives up when the server stays away for too long."""

    def __init__(self, seconds: float, tell: Callable[[int], None]) -> None:
        self._seconds, self._tell = seconds, tell
        self._since: float | None = None

    def hear(self, done: int, trouble: str) -> None:
        now = time.monotonic()
        self._since = (self._since or now) if trouble else None
        if self._since is not None and now - self._since > self._seconds:
            raise ServerUnavailable(trouble)
        self._tell(done)


def to_plane(picture: Picture, grid: Grid) -> Picture:
    """Resample a picture: a mean over areas where it shrinks, cubic where it grows."""
    step = grid.step[0]
    if step == 1:
        return picture
    # A whole number of blocks, in which borders of the plane's pixels and of the picture's meet.
    across, down = (-(-count // step.denominator) for count in (grid.columns, grid.rows))
    rows, columns = picture.shape[:2]
    padded = cv2.copyMakeBorder(
        picture,
        0,
        max(0, down * step.numerator - rows),
        0,
        max(0, across * step.numerator - columns),
        cv2.BORDER_REPLICATE,
    )[: down * step.numerator, : across * step.numerator]
    size = (across * step.denominator, down * step.denominator)
    resized = cv2.resize(padded, size, interpolation=cv2.INTER_AREA if step > 1 else cv2.INTER_CUBIC)
    return np.ascontiguousarray(resized[: grid.rows, : grid.columns]).astype(np.uint8, copy=False)


def mirrored(plane: Picture, area: Rectangle) -> Picture:
    """Return a rectangle of a plane; what lies outside is its mirror image, so that a cut looks like no edge."""
    rows, columns = plane.shape[:2]
    y = _reflected(np.arange(area.y, area.bottom), rows)
    x = _reflected(np.arange(area.x, area.right), columns)
    return np.ascontiguousarray(plane[y[:, np.newaxis], x[np.newaxis]])


def _reflected(at: npt.NDArray[np.intp], size: int) -> npt.NDArray[np.intp]:
    at = at % (2 * size)
    return np.where(at < size, at, 2 * size - 1 - at)


def check_picture(manifest: Manifest, mpp: float) -> None:
    """Refuse pictures that a model was not made for.

    Raises
    ------
    UnfitSlide
        When they are too coarse, or the model is not for colour.
    """
    spec = manifest.input
    if mpp > max(spec.coarsest_mpp, spec.mpp) * _COARSER_BY:
        raise UnfitSlide(
            f"{manifest.name} needs {spec.mpp:g} um a pixel and takes up to {spec.coarsest_mpp:g}; "
            f"the picture has {mpp:g}"
        )
    if len(spec.channels) != 3 or spec.stain is Stain.FLUORESCENCE:
        raise UnfitSlide(f"{manifest.name} is for channels {', '.join(spec.channels)}, not for pictures in colour")


def _source(manifest: Manifest, plane: Picture) -> TileSource:
    """Return tiles that are prepared as those of a slide are, the picture taking the slide's part."""
    spec = manifest.input
    sample = tissue_pixels(plane)
    steps = fit_steps([(step.name, step.settings) for step in spec.steps], sample)
    if steps and len(sample):
        sample = apply_steps(sample[np.newaxis], steps)[0]

    def prepare(pixels: npt.NDArray[Any]) -> Tensor:
        return image_tensor(apply_steps(pixels, steps), spec)

    return TileSource(lambda area: mirrored(plane, area), prepare, compute(spec.statistics, sample))


def _whole(chunks: list[ChunkFindings]) -> dict[str, Raster]:
    """Return the rasters of all chunks as one each."""
    whole: dict[str, Raster] = {}
    for name in chunks[0].rasters if chunks else ():
        parts = [chunk.rasters[name] for chunk in chunks]
        columns = max(part.place.right for part in parts)
        rows = max(part.place.bottom for part in parts)
        like = parts[0].values
        values = np.zeros((rows, columns, *like.shape[2:]), like.dtype)
        for part in parts:
            values[part.place.y : part.place.bottom, part.place.x : part.place.right] = part.values
        whole[name] = Raster(Rectangle(0, 0, columns, rows), parts[0].cell, values)
    return whole


def describe(found: PictureFindings, manifest: Manifest) -> dict[str, Any]:
    """Return what was found as JSON; whole numbers are pixel centres."""
    document: dict[str, Any] = {"width": found.columns, "height": found.rows, "mpp": found.mpp}
    if found.instances is not None:
        document["instances"] = _instances(found.instances, manifest)
    if "class_map" in found.rasters:
        document["areas"] = _areas(found.rasters["class_map"].values, manifest)
    if "map" in found.rasters:
        values = found.rasters["map"].values
        document["map"] = {"mean": float(values.mean()), "min": float(values.min()), "max": float(values.max())}
    if "channels" in found.rasters:
        means = found.rasters["channels"].values.mean(axis=(0, 1)) / 255
        document["channels"] = {
            channel.name: {"label": channel.label, "mean": round(float(mean), 4)}
            for channel, mean in zip(manifest.output.channels, means, strict=True)
        }
    return document


def _instances(instances: Instances, manifest: Manifest) -> list[dict[str, Any]]:
    centroids = np.round(instances.centroids.astype(np.float64) - 0.5, 2).tolist()
    outline = np.round(instances.outline.astype(np.float64) - 0.5, 2).tolist()
    columns = {name: np.round(values, 4).astype(np.float64) for name, values in instances.measurements.items()}
    return [
        {
            "centroid": centroids[row],
            "contour": outline[instances.offsets[row] : instances.offsets[row + 1]],
            "class": manifest.classes[int(instances.class_index[row])].label,
            "probability": round(float(instances.probability[row]), 4),
            "measurements": {name: round(float(values[row]), 4) for name, values in columns.items()},
        }
        for row in range(len(instances))
    ]


def _areas(class_map: npt.NDArray[np.uint8], manifest: Manifest) -> dict[str, float]:
    """Return each class's part of the picture."""
    counts = np.bincount(class_map.ravel(), minlength=len(manifest.classes) + 1) / max(class_map.size, 1)
    return {each.label: round(float(counts[at]), 6) for at, each in enumerate(manifest.classes, 1)}


def class_picture(found: PictureFindings) -> Picture | None:
    """Return the class map (0 is none) or the image that the model made, as large as the picture; None without."""
    for name in ("class_map", "image"):
        if name in found.rasters:
            return _as_large(found, found.rasters[name])
    return None


def channel_pictures(found: PictureFindings, manifest: Manifest) -> dict[str, Picture]:
    """Return each named channel that was kept, in 255 steps ``(rows, columns)``, as large as the picture."""
    if "channels" not in found.rasters:
        return {}
    values = _as_large(found, found.rasters["channels"])
    return {
        channel.name: np.ascontiguousarray(values[:, :, number])
        for number, channel in enumerate(manifest.output.channels)
    }


def _as_large(found: PictureFindings, raster: Raster) -> Picture:
    """Resample a raster to the picture's pixels by nearest neighbour."""
    scale = found.plan.scale
    column = ((np.arange(found.columns) + 0.5) * scale[0] / raster.cell).astype(np.intp)
    row = ((np.arange(found.rows) + 0.5) * scale[1] / raster.cell).astype(np.intp)
    rows, columns = raster.values.shape[:2]
    return np.asarray(raster.values[np.minimum(row, rows - 1)][:, np.minimum(column, columns - 1)], np.uint8)
