"""Everything that is settled before the first tile: what is looked at, how, and with which numbers of the slide."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import dicomsvc
from dicomsvc.ai.analysis.checkpoint import Checkpoint
from dicomsvc.ai.analysis.marker_scores import check_colours, colour_numbers
from dicomsvc.ai.analysis.request import AnalysisRequest
from dicomsvc.ai.analysis.subject import Subject
from dicomsvc.ai.catalogue.manifest import InputSpec, Manifest, Stain
from dicomsvc.ai.ihc.assessment import gives_scores
from dicomsvc.ai.inference.backend import Tensor
from dicomsvc.ai.loop import TileSource
from dicomsvc.ai.statistics import compute
from dicomsvc.ai.tensors import image_tensor
from dicomsvc.errors import BadRequest, UnfitSlide
from dicomsvc.wsi.plan import TilePlan, make_plan
from dicomsvc.wsi.resampling import Plane
from dicomsvc.wsi.stain import Parameters, apply_steps, fit_steps, sample_tissue
from dicomsvc.wsi.tissue import TissueMask, detect_tissue

Pixels = npt.NDArray[Any]
_SAMPLES: Final = 200_000
_CHUNK_PIXELS: Final = 3072
"""Width of a chunk, about: what is lost at most when a process dies, and what rasters take in memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Preparation:
    """``created`` and ``numbers`` (statistics, fitted steps) are the same in every attempt.

    ``drawing`` is the model that draws the outlines, where that is another one.
    """

    request: AnalysisRequest
    manifest: Manifest
    subject: Subject
    plane: Plane
    plan: TilePlan
    tissue: TissueMask | None
    created: datetime
    numbers: Mapping[str, Any]
    source: TileSource
    checkpoint: Checkpoint
    drawing: Manifest | None = None


def prepare(
    request: AnalysisRequest,
    manifest: Manifest,
    subject: Subject,
    checkpoint: Checkpoint,
    drawing: Manifest | None = None,
) -> Preparation:
    """Settle an analysis; what an earlier attempt settled stays.

    Raises
    ------
    UnfitSlide
        When the slide is not what the model was made for, or there is nothing on it to look at.
    BadRequest
        When a region lies outside of the slide.
    """
    spec = manifest.input
    plane = Plane(subject.slide, spec.mpp, spec.channels, coarsest_mpp=max(spec.coarsest_mpp, spec.mpp))
    found = detect_tissue(subject.slide)
    if found.dark != (spec.stain is Stain.FLUORESCENCE):
        raise UnfitSlide(
            f"{manifest.name} is for {spec.stain}; the slide is "
            + ("dark, as fluorescence is" if found.dark else "bright, as stained slides are")
        )
    tissue = found if spec.only_tissue else None
    plan = _plan(request, manifest, subject, tissue)
    key = {
        "request": request.model_dump(mode="json"),
        "weights_sha256": manifest.weights_sha256,
        "manifest": manifest.version,
        "software": dicomsvc.__version__,
        "plan": plan.digest(),
        "drawing": None if drawing is None else [drawing.version, drawing.weights_sha256],
    }
    numbers = checkpoint.agree(key, lambda: _numbers(manifest, plane, found))
    check_colours(manifest, numbers)
    created = datetime.fromisoformat(numbers["created"])
    source = TileSource(plane.read, _preparer(spec, numbers["steps"]), numbers["statistics"])
    return Preparation(request, manifest, subject, plane, plan, tissue, created, numbers, source, checkpoint, drawing)


def _plan(request: AnalysisRequest, manifest: Manifest, subject: Subject, tissue: TissueMask | None) -> TilePlan:
    for region in request.regions:
        if region.x + region.width > subject.columns or region.y + region.height > subject.rows:
            raise BadRequest(f"a region reaches beyond the slide, which has {subject.columns} x {subject.rows} pixels")
    spec = manifest.input
    if tissue is not None and not tissue.area_mm2:
        raise UnfitSlide("no tissue was found on the slide")
    core = spec.tile_size - 2 * spec.overlap
    plan = make_plan(
        subject.columns,
        subject.rows,
        subject.mpp,
        spec.mpp,
        spec.tile_size,
        spec.overlap,
        regions=[region.rectangle() for region in request.regions],
        tissue=tissue,
        chunk_tiles=max(1, round(_CHUNK_PIXELS / core)),
    )
    if not plan.tiles:
        raise UnfitSlide("there is no tissue in what was asked for")
    return plan


def _numbers(manifest: Manifest, plane: Plane, tissue: TissueMask) -> dict[str, Any]:
    spec = manifest.input
    sample = np.empty((0, len(spec.channels)), np.uint8)
    if spec.steps or spec.statistics or gives_scores(manifest):
        sample = sample_tissue(plane, tissue, _SAMPLES)
    colours = colour_numbers(manifest, sample)
    steps = fit_steps([(step.name, step.settings) for step in spec.steps], sample)
    if steps:
        sample = apply_steps(sample[None], steps)[0]
    return {
        "created": datetime.now(UTC).isoformat(),
        "steps": steps,
        **colours,
        "statistics": compute(spec.statistics, sample),
    }


def _preparer(spec: InputSpec, steps: Sequence[Parameters]) -> Callable[[Pixels], Tensor]:
    return lambda pixels: image_tensor(apply_steps(pixels, steps), spec)
