"""What a model of immunohistochemistry says of a picture or of a part of a slide, as planes of the same size.

Tiles go through the usual loop; each one's core is put into its place, so that memory holds the planes and a few tiles.
A plane has at most `MAX_PLANE_PIXELS` at the model's resolution, a picture at most `MAX_PICTURE_PIXELS`: a whole slide
is work for an analysis, which keeps cells and no planes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from dicomsvc.ai.catalogue.manifest import Manifest, OutputKind, Stain
from dicomsvc.ai.decoding.placing import Placement
from dicomsvc.ai.decoding.tensors import TileTensors
from dicomsvc.ai.decoding.tiles import TileFindings
from dicomsvc.ai.ihc.postprocess import Plane, SegPlanes
from dicomsvc.ai.ihc.segments import draw_segmentation
from dicomsvc.ai.images import Picture, mirrored, to_plane
from dicomsvc.ai.inference.backend import Backend, Tensor
from dicomsvc.ai.loop import TileLoop, TileSource
from dicomsvc.ai.statistics import compute, tissue_pixels
from dicomsvc.ai.tensors import image_tensor
from dicomsvc.errors import TooLarge, UnfitSlide
from dicomsvc.wsi.plan import Rectangle, Tile, TilePlan, make_grid, make_plan
from dicomsvc.wsi.resampling import Plane as SlidePlane
from dicomsvc.wsi.slide import Slide
from dicomsvc.wsi.stain import apply_steps, fit_steps, sample_tissue
from dicomsvc.wsi.tissue import detect_tissue

MAX_PICTURE_PIXELS: Final = 36_000_000
MAX_PLANE_PIXELS: Final = 36_000_000
_CHUNK_TILES: Final = 4
_SAMPLES: Final = 200_000
_COARSEST_UM: Final = 1.1
_FINEST_UM: Final = 0.05
Tell = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Maps:
    """Planes of ``mpp`` micrometres a pixel over ``picture`` ``(rows, columns, 3)``.

    ``hematoxylin`` and ``marker`` are amounts of dye, 255 an optical density of 2 (base 10); ``dapi`` and ``lap2`` look
    as fluorescence would.
    """

    picture: Picture
    mpp: float
    segmentation: SegPlanes
    hematoxylin: Plane
    marker: Plane
    dapi: Plane
    lap2: Plane


def map_picture(
    picture: Picture, mpp: float, manifest: Manifest, backend: Backend, *, threads: int = 2, tell: Tell | None = None
) -> Maps:
    """Return the maps of a picture, in its own pixels; ``tell`` gets finished and all tiles, and may raise to stop.

    Raises
    ------
    TooLarge
        When the picture has too many pixels.
    UnfitSlide
        When the resolution is none that cells can be seen at, or the model is not for immunohistochemistry.
    ModelFailure, ServerUnavailable
        When the model fails, or its server is gone.
    """
    rows, columns = picture.shape[:2]
    if rows * columns > MAX_PICTURE_PIXELS:
        raise TooLarge(f"the picture has more than {MAX_PICTURE_PIXELS // 1_000_000} megapixels; import it as a slide")
    if not _FINEST_UM <= mpp <= _COARSEST_UM:
        raise UnfitSlide(f"cells are looked at from {_FINEST_UM:g} to {_COARSEST_UM:g} um a pixel, not at {mpp:g}")
    spec = manifest.input
    plan = make_plan(columns, rows, (mpp, mpp), spec.mpp, spec.tile_size, spec.overlap, chunk_tiles=_CHUNK_TILES)
    grid = make_grid(columns, rows, (mpp, mpp), spec.mpp)
    plane = to_plane(picture, grid)
    source = _source(manifest, lambda area: mirrored(plane, area), tissue_pixels(plane))
    whole = Rectangle(0, 0, grid.columns, grid.rows)
    planes = _planes(manifest, backend, plan, source, whole, threads, tell)
    segmentation = draw_segmentation(planes, manifest.output.settings, mpp * float(grid.step[0]))
    step = float(grid.step[0])

    def fitted(values: Plane) -> Plane:
        return _resized(values, step, columns, rows)

    return Maps(
        picture,
        mpp,
        SegPlanes(*(fitted(each) for each in (segmentation.positive, segmentation.negative, segmentation.boundary))),
        *(fitted(each) for each in _channels(planes)),
    )


def map_region(
    slide: Slide, region: Rectangle, manifest: Manifest, backend: Backend, *, threads: int = 2, tell: Tell | None = None
) -> tuple[Maps, Rectangle, tuple[float, float]]:
    """Return the maps of a region (slide pixels) at the model's resolution, where they lie, and the plane's scale.

    The second is in plane pixels, the third (x, y) plane pixels per slide pixel.

    Raises
    ------
    TooLarge
        When the region is too large.
    BadRequest, UnfitSlide
        When the region lies outside of the slide, or the slide is not what the model was made for.
    ModelFailure, ServerUnavailable
        When the model fails, or its server is gone.
    """
    spec = manifest.input
    plane = SlidePlane(slide, spec.mpp, spec.channels, coarsest_mpp=max(spec.coarsest_mpp, spec.mpp))
    base = slide.levels[0]
    arguments = (base.columns, base.rows, plane.slide_mpp, spec.mpp, spec.tile_size, spec.overlap)
    plan = make_plan(*arguments, regions=[region], chunk_tiles=_CHUNK_TILES)
    [area] = plan.regions
    if area.width * area.height > MAX_PLANE_PIXELS:
        raise TooLarge(
            f"the region has more than {MAX_PLANE_PIXELS // 1_000_000} megapixels at {spec.mpp:g} um a pixel; "
            "take a smaller one, or analyse the slide"
        )
    tissue = detect_tissue(slide)
    if tissue.dark:
        raise UnfitSlide(f"{manifest.name} is for {spec.stain}; the slide is dark, as fluorescence is")
    source = _source(manifest, plane.read, sample_tissue(plane, tissue, _SAMPLES))
    planes = _planes(manifest, backend, plan, source, area, threads, tell)
    mpp = float(np.sqrt(np.prod(plane.mpp)))
    segmentation = draw_segmentation(planes, manifest.output.settings, mpp)
    return Maps(plane.read(area), mpp, segmentation, *_channels(planes)), area, plane.scale


@dataclass(frozen=True, slots=True, eq=False)
class _MapDecoder:
    """Takes each tensor's core as it is."""

    manifest: Manifest

    def decode(
        self, outputs: Mapping[str, Any], image: npt.NDArray[Any], tile: Tile, scale: tuple[float, float]
    ) -> TileFindings:
        tensors = TileTensors(self.manifest, outputs, tile)
        place = Placement(tile, self.manifest.output.stride, scale)
        rasters = {role: place.core_of(_bytes(tensors.planes(role))) for role in self.manifest.output.tensors}
        return TileFindings(tile, rasters=rasters, corner=(place.cells.x, place.cells.y))


def _bytes(values: npt.NDArray[Any]) -> Plane:
    plane = values[:, :, 0]
    return plane if plane.dtype == np.uint8 else np.rint(np.clip(plane, 0, 1) * 255).astype(np.uint8)


def _planes(
    manifest: Manifest,
    backend: Backend,
    plan: TilePlan,
    source: TileSource,
    area: Rectangle,
    threads: int,
    tell: Tell | None,
) -> dict[str, Plane]:
    """Return a plane of the area for each role and channel that the model has."""
    manifest = _all_tensors(manifest)
    planes = {role: np.zeros((area.height, area.width), np.uint8) for role in manifest.output.tensors}

    def heard(done: int, trouble: str) -> None:
        if tell is not None:
            tell(done, plan.tiles)

    loop = TileLoop(manifest, backend, source, _MapDecoder(manifest), threads=threads, tell=heard)
    for chunk in loop.findings(plan, plan.chunks):
        for role, raster in chunk.rasters.items():
            shared = raster.place.overlap(area)
            planes[role][shared.y - area.y : shared.bottom - area.y, shared.x - area.x : shared.right - area.x] = (
                raster.values[
                    shared.y - raster.place.y : shared.bottom - raster.place.y,
                    shared.x - raster.place.x : shared.right - raster.place.x,
                ]
            )
    return planes


def _all_tensors(manifest: Manifest) -> Manifest:
    """Return the manifest with the tensors of its channels among its roles."""
    output = manifest.output
    fit = output.kind is OutputKind.INSTANCES and manifest.input.stain is Stain.IHC
    if not fit or output.stride != 1 or "positive" not in output.tensors:
        raise UnfitSlide(f"{manifest.name} does not tell positive cells of immunohistochemistry from negative ones")
    channels = {each.name: each.tensor for each in output.channels}
    return replace(manifest, output=replace(output, tensors={**output.tensors, **channels}))


def _channels(planes: Mapping[str, Plane]) -> tuple[Plane, Plane, Plane, Plane]:
    """Return hematoxylin, marker, DAPI and Lap2; what a model does not make of the last two is drawn from its mask."""
    mask = planes["mask"]
    hematoxylin = planes.get("hematoxylin", planes.get("counterstain", mask))
    marker = planes.get("marker", cv2.multiply(mask, planes["positive"], scale=1 / 255))
    rim = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)), np.uint8)
    return hematoxylin, np.asarray(marker, np.uint8), planes.get("dapi", mask), planes.get("lap2", rim)


def _source(manifest: Manifest, read: Callable[[Rectangle], Picture], sample: npt.NDArray[np.uint8]) -> TileSource:
    spec = manifest.input
    steps = fit_steps([(step.name, step.settings) for step in spec.steps], sample)
    if steps and len(sample):
        sample = apply_steps(sample[np.newaxis], steps)[0]

    def prepare(pixels: npt.NDArray[Any]) -> Tensor:
        return image_tensor(apply_steps(pixels, steps), spec)

    return TileSource(read, prepare, compute(spec.statistics, sample))


def _resized(values: Plane, step: float, columns: int, rows: int) -> Plane:
    """Return a plane in the pixels of the picture; ``step`` is picture pixels per plane pixel."""
    if step == 1:
        return values
    size = (max(columns, round(values.shape[1] * step)), max(rows, round(values.shape[0] * step)))
    way = cv2.INTER_LINEAR if step > 1 else cv2.INTER_AREA
    return np.ascontiguousarray(cv2.resize(values, size, interpolation=way)[:rows, :columns]).astype(
        np.uint8, copy=False
    )
