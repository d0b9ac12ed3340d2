"""POINTS: the peaks of a heat map."""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from dicomsvc.ai.catalogue.manifest import Manifest
from dicomsvc.ai.decoding.instances import smoothed
from dicomsvc.ai.decoding.placing import Placement
from dicomsvc.ai.decoding.tensors import Floats, TileTensors, scaled
from dicomsvc.ai.decoding.tiles import Array, TileFindings
from dicomsvc.ai.findings import Instances
from dicomsvc.wsi.plan import Tile


@dataclass(frozen=True, slots=True, eq=False)
class PointDecoder:
    """``settings`` are complete; ``mpp`` is that of the plane."""

    manifest: Manifest
    settings: Mapping[str, float]
    mpp: float

    def decode(
        self, outputs: Mapping[str, Array], image: Array, tile: Tile, scale: tuple[float, float]
    ) -> TileFindings:
        tensors = TileTensors(self.manifest, outputs, tile)
        planes = tensors.planes("heat")
        if planes.shape[2] > 1:
            planes = planes[:, :, int(tensors.classes("heat", planes.shape[2])) :]
        cell_um = self.mpp * self.manifest.output.stride
        sigma = self.settings["smoothing_um"] / cell_um
        heat = np.stack([smoothed(scaled(planes[:, :, k]), sigma) for k in range(planes.shape[2])], axis=2)
        highest = heat.max(axis=2)
        at = self._peaks(highest, self.settings["min_distance_um"] / cell_um)
        rows, columns = at[:, 1], at[:, 0]
        place = Placement(tile, self.manifest.output.stride, scale)
        near = place.near_core(at + 0.5)
        rows, columns = rows[near], columns[near]
        found = Instances(
            heat[rows, columns].argmax(axis=1).astype(np.int16),
            place.to_slide(at[near] + 0.5),
            np.clip(highest[rows, columns], 0, 1),
            np.zeros(len(rows) + 1, np.int64),
            np.empty((0, 2), np.float32),
        )
        return TileFindings(tile, found, place.depth_of(found.centroids))

    def _peaks(self, heat: Floats, distance: float) -> npt.NDArray[np.intp]:
        """Return (column, row) of local maxima above the threshold, the higher one where two are too near."""
        highest = cv2.dilate(heat, np.ones((3, 3), np.uint8))
        peak = (heat >= highest) & (heat >= np.float32(self.settings["threshold"]))
        # Neighbours of equal height are one peak: the pixel of it that comes first.
        _, labels = cv2.connectedComponents(peak.astype(np.uint8), connectivity=8)
        pixels = np.flatnonzero(labels)
        _, first = np.unique(labels.ravel()[pixels], return_index=True)
        rows, columns = np.divmod(pixels[first], heat.shape[1])
        order = np.lexsort((columns, rows, -heat[rows, columns]))
        at = np.stack([columns, rows], axis=1)[order]
        if len(at) < 2:
            return at
        tree, kept, near = cKDTree(at), [], np.zeros(len(at), np.bool_)
        for number in range(len(at)):
            if not near[number]:
                kept.append(number)
                near[tree.query_ball_point(at[number], distance)] = True
        return at[kept]
