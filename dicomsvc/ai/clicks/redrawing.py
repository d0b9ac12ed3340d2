"""Draws another model's things anew: that model finds where they are, a click model draws their outlines.

This is the automatic annotation of the NuClick and W-Net papers: a decoder around the finding model's own, so that
tiles, stitching, checkpoints and results stay as they are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dicomsvc.ai.catalogue.manifest import Manifest, OutputKind
from dicomsvc.ai.clicks.answering import Clicker
from dicomsvc.ai.clicks.ground import Ground, ground_of_pixels, require_clicks
from dicomsvc.ai.decoding import Decoder, TileFindings
from dicomsvc.ai.findings import Instances
from dicomsvc.ai.inference.backend import Backend
from dicomsvc.errors import BadRequest
from dicomsvc.wsi.plan import Rectangle, Tile, TilePlan

_SAME_MPP = 0.01
_MOST_FINER = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class Redrawing:
    """Decodes by ``inner``, then has ``manifest``'s model draw each thing again; ``mpp`` is that of the plan's plane.

    A thing that the click model does not see keeps the outline that it had.
    """

    inner: Decoder
    manifest: Manifest
    backend: Backend
    mpp: float
    plan: TilePlan

    def decode(
        self, outputs: Mapping[str, Any], image: npt.NDArray[Any], tile: Tile, scale: tuple[float, float]
    ) -> TileFindings:
        findings = self.inner.decode(outputs, image, tile, scale)
        found = findings.instances
        if found is None or not len(found):
            return findings
        context = tile.context
        seen = context.overlap(Rectangle(0, 0, self.plan.columns, self.plan.rows))
        left, top = seen.x - context.x, seen.y - context.y
        pixels = image[top : top + seen.height, left : left + seen.width]
        ground = _ground(pixels, self.mpp, self.manifest.input.mpp, scale, (seen.x, seen.y))
        drawn, fresh = Clicker(self.manifest, self.backend, ground).redraw(found.centroids.astype(np.float64))
        return replace(findings, instances=_exchanged(found, drawn, fresh))


def redrawn_by(manifest: Manifest, backend: Backend) -> Callable[[Decoder, float, TilePlan], Decoder]:
    """Return what puts the model around another one's decoder, as `dicomsvc.ai.images.analyse_picture` takes it."""
    return lambda inner, mpp, plan: Redrawing(inner, manifest, backend, mpp, plan)


def check_pair(finding: Manifest, drawing: Manifest) -> None:
    """Refuse two models that do not go together.

    Raises
    ------
    BadRequest
        When the first finds no things, the second answers no clicks, they look at other stains, or the first
        looks at coarser pixels than the second or at ones more than four times finer.
    """
    require_clicks(drawing)
    if finding.output.kind is not OutputKind.INSTANCES:
        raise BadRequest(f"{finding.name} gives {finding.output.kind}; only outlines of instances can be drawn anew")
    step = drawing.input.mpp / finding.input.mpp
    if not 1 - _SAME_MPP <= step <= _MOST_FINER or finding.input.stain is not drawing.input.stain:
        raise BadRequest(
            f"{drawing.name} is for {drawing.input.stain} at {drawing.input.mpp:g} um a pixel, "
            f"{finding.name} for {finding.input.stain} at {finding.input.mpp:g}"
        )
    if finding.input.steps or drawing.input.channels != finding.input.channels:
        raise BadRequest(f"{drawing.name} does not see what {finding.name} sees")


def _ground(
    pixels: npt.NDArray[Any], mpp: float, wanted: float, scale: tuple[float, float], corner: tuple[int, int]
) -> Ground:
    """Return a tile's pixels as the click model sees them: made coarser where the other model sees finer ones."""
    if wanted / mpp <= 1 + _SAME_MPP:
        return ground_of_pixels(pixels, mpp, scale, corner)
    rows, columns = pixels.shape[:2]
    size = max(1, round(columns * mpp / wanted)), max(1, round(rows * mpp / wanted))
    plane = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    across, down = size[0] / columns, size[1] / rows
    return ground_of_pixels(plane, wanted, (scale[0] * across, scale[1] * down), (corner[0] * across, corner[1] * down))


def _exchanged(found: Instances, drawn: npt.NDArray[np.int64], fresh: Instances) -> Instances:
    """Return things in their order with the outlines and measurements of those that were drawn anew.

    Where a thing is, what it is and how sure that is, stays as it was found.
    """
    kept = np.setdiff1d(np.arange(len(found)), drawn)
    names = [name for name in found.measurements if name in fresh.measurements]
    both = Instances.joined(
        [
            replace(each, measurements={name: each.measurements[name] for name in names})
            for each in (found.chosen(kept), fresh)
            if len(each)
        ]
    )
    order = np.argsort(np.concatenate([kept, drawn]), kind="stable")
    changed = both.chosen(order)
    return replace(
        changed,
        class_index=found.class_index,
        centroids=found.centroids,
        probability=found.probability,
        measurements={**found.measurements, **changed.measurements},
    )
