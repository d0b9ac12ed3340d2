"""SEGMENTATION, CLASSIFICATION, MAP, IMAGE, named channels: the core of a tile as cells of a raster."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dicomsvc.ai.catalogue.manifest import Manifest
from dicomsvc.ai.decoding.placing import Placement
from dicomsvc.ai.decoding.tensors import TileTensors
from dicomsvc.ai.decoding.tiles import Array, Decoder, TileFindings
from dicomsvc.errors import InvalidModel, ModelFailure
from dicomsvc.wsi.plan import Tile


@dataclass(frozen=True, slots=True, eq=False)
class SegmentationDecoder:
    """One channel more than classes: the first is the background. One a class: none is where all are too low."""

    manifest: Manifest
    settings: Mapping[str, float]
    probability: bool

    def decode(
        self, outputs: Mapping[str, Array], image: Array, tile: Tile, scale: tuple[float, float]
    ) -> TileFindings:
        tensors = TileTensors(self.manifest, outputs, tile)
        place = Placement(tile, self.manifest.output.stride, scale)
        planes = place.core_of(tensors.planes("probability"))
        background = tensors.classes("probability", planes.shape[2])
        rasters: dict[str, Array] = {"class_map": _class_map(planes, background, self.settings["threshold"])}
        if self.probability:
            rasters["probability"] = _in_steps(planes[:, :, int(background) :])
        return _at(tile, place, rasters)


@dataclass(frozen=True, slots=True, eq=False)
class ClassificationDecoder:
    """One cell a tile: as large as a whole core, though those at the plane's edge are cut."""

    manifest: Manifest
    settings: Mapping[str, float]
    probability: bool

    def decode(
        self, outputs: Mapping[str, Array], image: Array, tile: Tile, scale: tuple[float, float]
    ) -> TileFindings:
        tensors = TileTensors(self.manifest, outputs, tile)
        values = tensors.vector("probability")[np.newaxis, np.newaxis]
        background = tensors.classes("probability", values.shape[2])
        rasters: dict[str, Array] = {"class_map": _class_map(values, background, self.settings["threshold"])}
        if self.probability:
            rasters["probability"] = _in_steps(values[:, :, int(background) :])
        cell = self.manifest.input.tile_size - 2 * self.manifest.input.overlap
        return TileFindings(tile, rasters=rasters, cell=cell, corner=(tile.core.x // cell, tile.core.y // cell))


@dataclass(frozen=True, slots=True, eq=False)
class MapDecoder:
    manifest: Manifest

    def decode(
        self, outputs: Mapping[str, Array], image: Array, tile: Tile, scale: tuple[float, float]
    ) -> TileFindings:
        tensors = TileTensors(self.manifest, outputs, tile)
        place = Placement(tile, self.manifest.output.stride, scale)
        values = np.ascontiguousarray(place.core_of(tensors.plane("value")))
        return _at(tile, place, {"map": values})


@dataclass(frozen=True, slots=True, eq=False)
class ImageDecoder:
    manifest: Manifest

    def decode(
        self, outputs: Mapping[str, Array], image: Array, tile: Tile, scale: tuple[float, float]
    ) -> TileFindings:
        tensors = TileTensors(self.manifest, outputs, tile)
        place = Placement(tile, self.manifest.output.stride, scale)
        planes = place.core_of(tensors.planes("image"))
        if planes.shape[2] != 3:
            raise ModelFailure(f"{self.manifest.name}: an image has 3 channels, not {planes.shape[2]}")
        return _at(tile, place, {"image": _in_steps(planes)})


@dataclass(frozen=True, slots=True, eq=False)
class ChannelDecoder:
    """The named pictures in grey, beside what ``inner`` finds; None for a model that makes nothing else."""

    manifest: Manifest
    inner: Decoder | None = None

    def decode(
        self, outputs: Mapping[str, Array], image: Array, tile: Tile, scale: tuple[float, float]
    ) -> TileFindings:
        place = Placement(tile, self.manifest.output.stride, scale)
        tensors = TileTensors(self.manifest, outputs, tile)
        planes = [tensors.channel(each) for each in self.manifest.output.channels]
        cells = np.stack([_in_steps(place.core_of(plane)) for plane in planes], axis=2)
        found = _at(tile, place, {"channels": cells})
        if self.inner is None:
            return found
        things = self.inner.decode(outputs, image, tile, scale)
        return replace(found, instances=things.instances, depth=things.depth)


def _class_map(planes: Array, background: bool, threshold: float) -> npt.NDArray[np.uint8]:
    if planes.shape[2] > 255:
        raise InvalidModel("a class map holds 254 classes at most")
    classes = planes.argmax(axis=2) if planes.shape[2] > 1 else np.zeros(planes.shape[:2], np.intp)
    if background:
        return classes.astype(np.uint8)
    limit = threshold * 255 if planes.dtype == np.uint8 else threshold
    highest = planes.max(axis=2)
    return np.where(highest >= limit, classes + 1, 0).astype(np.uint8)


def _in_steps(values: Array) -> npt.NDArray[np.uint8]:
    """Return 0 to 1 as 255 steps; UINT8 is that already."""
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    return np.asarray(np.rint(np.clip(values, 0, 1) * 255), np.uint8)


def _at(tile: Tile, place: Placement, rasters: Mapping[str, Array]) -> TileFindings:
    cells = place.cells
    return TileFindings(tile, rasters=rasters, cell=place.stride, corner=(cells.x, cells.y))
