"""Does the work item ``analyze``."""

import os
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
import psutil

import dicomsvc
from dicomsvc.ai.analysis.checkpoint import Checkpoint, sweep_checkpoints
from dicomsvc.ai.analysis.marker_scores import assessed, marked
from dicomsvc.ai.analysis.preparation import Preparation, prepare
from dicomsvc.ai.analysis.request import read_request
from dicomsvc.ai.analysis.results import Findings, ResultWriter
from dicomsvc.ai.analysis.strips import RasterStrips
from dicomsvc.ai.analysis.subject import open_subject
from dicomsvc.ai.analysis.submission import checked_options, chosen_version
from dicomsvc.ai.analysis.summary import Area, Summary, counted, map_numbers, measured
from dicomsvc.ai.catalogue.manifest import Manifest, OutputKind
from dicomsvc.ai.catalogue.repository import Catalogue
from dicomsvc.ai.clicks.redrawing import Redrawing
from dicomsvc.ai.decoding import Decoder, decoder, join_instances
from dicomsvc.ai.findings import Instances
from dicomsvc.ai.ihc.assessment import Assessment
from dicomsvc.ai.inference import Backend, open_backend
from dicomsvc.ai.loop import TileLoop
from dicomsvc.errors import Conflict, ModelFailure, UnfitSlide
from dicomsvc.jobs import Progress, Work
from dicomsvc.objects.provenance import Algorithm, Equipment, Provenance
from dicomsvc.store import Stored
from dicomsvc.wsi.plan import Rectangle
from dicomsvc.wsi.tissue import TissueMask

# Each holds a batch of tiles with its answer, some 20 MB.
_MOST_THREADS: Final = 16
_BACKGROUNDS: Final = {"map": float("nan"), "image": 255.0}


def analyze(work: Work) -> Mapping[str, Any]:
    """Run a model over a slide and store what it found.

    Raises
    ------
    BadRequest, NotFound, Conflict, UnfitSlide
        When the request, the model or the slide are not right, or the model is put out of use; nothing is stored then.
    ModelFailure
        When the model fails, or what it gives cannot be a result; nothing is stored then.
    """
    settings = work.store.settings
    sweep_checkpoints(work.store.layout, work.store.engine)
    checkpoint = Checkpoint(work.store.layout, work.uid)
    outputs = checkpoint.outputs()
    if outputs is not None:
        return outputs
    request = read_request(work.inputs)
    catalogue = Catalogue(settings)
    manifest = chosen_version(catalogue, request)
    # Another system's step asks without having been checked.
    outlines = checked_options(catalogue, manifest, request.options).outlines
    drawing = None if outlines is None else catalogue.find(outlines)
    repository = catalogue.stage() if settings.triton.in_process else None
    work.report(Progress(0, 0, "looking for tissue"))
    subject = open_subject(work.store, request.study_instance_uid, request.series_instance_uid)
    preparation = prepare(request, manifest, subject, checkpoint, drawing)
    with closing(open_backend(settings, repository)) as backend:
        outputs = _Analysis(work, catalogue, preparation, backend).run()
    checkpoint.conclude(outputs)
    return outputs


class _Analysis:
    """One attempt at an analysis that is settled."""

    def __init__(self, work: Work, catalogue: Catalogue, preparation: Preparation, backend: Backend) -> None:
        self._work = work
        self._catalogue = catalogue
        self._preparation = preparation
        self._backend = backend
        self._checkpoint = preparation.checkpoint
        self._kept = 0
        self._trouble = ""
        self._began = self._looked = time.monotonic()
        self._cpu = _cpu_seconds()

    def run(self) -> dict[str, Any]:
        """Return the work item's outputs, once all results are stored."""
        self._look()
        self._looked = time.monotonic()
        findings = self._findings()
        summary = self._summary(findings)
        provenance = self._provenance()
        with ResultWriter(self._work.store, self._preparation, provenance, self._writing) as writer:
            writer.write_all(findings, summary)
            # What was deleted meanwhile does not come back by its results.
            request = self._preparation.request
            self._work.store.instances.find(request.study_instance_uid, request.series_instance_uid)
            stored = writer.store_all(self._work.requested_by)
        return self._outputs(summary, stored)

    def _look(self) -> None:
        """Have every chunk's findings in the checkpoint."""
        plan, manifest = self._preparation.plan, self._preparation.manifest
        left = [chunk for chunk in plan.chunks if not self._checkpoint.has(chunk.number)]
        self._kept = plan.tiles - sum(len(chunk.tiles) for chunk in left)
        self._work.log(
            f"{manifest.name} {manifest.version}: {plan.tiles} tiles of {plan.tile_size} pixels at "
            f"{manifest.input.mpp:g} um, in {len(plan.chunks)} chunks"
            + (f", {len(plan.chunks) - len(left)} of them done before" if self._kept else "")
        )
        loop = TileLoop(
            manifest,
            self._backend,
            self._preparation.source,
            self._decoder(),
            threads=min(2 * len(os.sched_getaffinity(0)), _MOST_THREADS),
            tell=self._tell,
        )
        try:
            for model in self._models:
                loop.patiently(partial(self._backend.load, model.name))
            with closing(loop.findings(plan, left)) as chunks:
                for findings in chunks:
                    self._checkpoint.keep(findings)
        except ModelFailure:
            # The server may have let the model go because somebody put it out of use.
            self._require_model()
            raise
        self._require_model()

    @property
    def _models(self) -> tuple[Manifest, ...]:
        drawing = self._preparation.drawing
        return (self._preparation.manifest,) if drawing is None else (self._preparation.manifest, drawing)

    def _decoder(self) -> Decoder:
        preparation = self._preparation
        manifest, options, drawing = preparation.manifest, preparation.request.options, preparation.drawing
        real_mpp = float(np.sqrt(np.prod(preparation.plane.mpp)))
        channels = options.channels or "SM" in manifest.objects
        found = decoder(manifest, probability=options.probability, channels=channels, mpp=real_mpp)
        return found if drawing is None else Redrawing(found, drawing, self._backend, real_mpp, preparation.plan)

    def _require_model(self) -> None:
        """Raise an error when a model was disabled, removed or replaced meanwhile."""
        for manifest in self._models:
            now = self._catalogue.find(manifest.name, manifest.number)
            if now.weights_sha256 != manifest.weights_sha256:
                raise Conflict(f"model {manifest.name}:{manifest.number} was replaced while this ran; ask for it again")

    def _tell(self, done: int, trouble: str) -> None:
        if trouble:
            # The server may be without the model on purpose.
            self._require_model()
        if trouble != self._trouble:
            self._work.log(f"waiting: {trouble}" if trouble else "going on")
            self._trouble = trouble
        total = self._preparation.plan.tiles
        text = f"waiting: {trouble}" if trouble else "tiles"
        self._work.report(Progress(self._kept + done, total, text))

    def _writing(self, what: str) -> None:
        total = self._preparation.plan.tiles
        self._work.report(Progress(total, total, f"writing {what}"))

    def _findings(self) -> Findings:
        plan, load = self._preparation.plan, self._checkpoint.load
        first = load(plan.chunks[0].number)
        instances = None
        if first.instances is not None:
            instances = join_instances(load(chunk.number) for chunk in plan.chunks)
            instances = marked(instances, self._preparation.manifest, self._preparation.request.options.marker)
        smooth = self._preparation.manifest.output.settings.get("smoothing", 0) >= 1
        rasters = {
            name: RasterStrips(name, plan, load, _BACKGROUNDS.get(name, 0), smooth=smooth and name == "class_map")
            for name in first.rasters
        }
        return Findings(instances, rasters)

    def _summary(self, findings: Findings) -> Summary:
        classes = len(self._preparation.manifest.classes)
        areas = self._areas()
        if findings.instances is not None:
            found = counted(findings.instances, areas, classes)
            return replace(found, scores=self._scores(findings.instances, areas))
        if "class_map" in findings.rasters:
            raster = findings.rasters["class_map"]
            counts = {area.label: raster.counts(classes, area.place) for area in areas}
            if not any(count[1:].sum() for count in counts.values()):
                raise UnfitSlide(f"{self._preparation.manifest.name} found nothing that it knows on the slide")
            # A tile is a tile, whatever the tissue's edge cuts off: shares of tiles are of those that have a class.
            of_classes = self._preparation.manifest.output.kind is OutputKind.CLASSIFICATION
            return measured(counts, self._plane_mm2 * raster.cell**2, areas, of_classes=of_classes)
        if "map" in findings.rasters:
            return map_numbers(findings.rasters["map"], areas)
        return Summary(tuple(areas))

    def _scores(self, instances: Instances, areas: list[Area]) -> tuple[tuple[Area, Assessment], ...]:
        """Return the score of each area, where the model gives scores."""
        preparation = self._preparation
        found = [
            (
                area,
                assessed(
                    instances,
                    preparation.manifest,
                    preparation.request.options.marker,
                    preparation.numbers,
                    None if area.place is None else area.holds(instances.centroids),
                ),
            )
            for area in areas
        ]
        return tuple((area, each) for area, each in found if each is not None)

    @property
    def _plane_mm2(self) -> float:
        """Area of a pixel of the plane."""
        return float(np.prod(self._preparation.plane.mpp)) / 1e6

    def _areas(self) -> list[Area]:
        subject, tissue = self._preparation.subject, self._preparation.tissue
        pixel_mm2 = float(np.prod(subject.mpp)) / 1e6
        regions = [region.rectangle() for region in self._preparation.request.regions]
        if not regions:
            whole = subject.columns * subject.rows * pixel_mm2 if tissue is None else tissue.area_mm2
            return [Area("Whole slide", whole)]
        areas = []
        for number, place in enumerate(regions, 1):
            share = 1.0 if tissue is None else _tissue_share(tissue, place)
            areas.append(Area(f"Region {number}", place.width * place.height * pixel_mm2 * share, place))
        return areas

    def _provenance(self) -> Provenance:
        manifest, request = self._preparation.manifest, self._preparation.request
        spec = manifest.input
        parameters: dict[str, object] = {
            "backend": self._backend.description,
            "model_version_number": manifest.number,
            "mpp": f"{spec.mpp:g}",
            "tile_size": spec.tile_size,
            "overlap": spec.overlap,
            **{f"output.{name}": f"{value:g}" for name, value in manifest.output.settings.items()},
            **{
                name: f"{value:.6g}"
                for name, value in zip(spec.statistics, self._preparation.numbers["statistics"], strict=True)
            },
            **{f"step.{number}": step["step"] for number, step in enumerate(self._preparation.numbers["steps"], 1)},
        }
        if request.regions:
            parameters["regions"] = len(request.regions)
        drawing = self._preparation.drawing
        if drawing is not None:
            parameters["outlines"] = f"{drawing.name} {drawing.version}"
            parameters["outlines.weights_sha256"] = drawing.weights_sha256
        return Provenance(
            algorithm=Algorithm(
                name=manifest.title,
                version=manifest.version,
                family=manifest.family,
                weights_sha256=manifest.weights_sha256,
                source=f"dicomsvc model {manifest.name}",
                parameters={name: str(value) for name, value in parameters.items()},
            ),
            equipment=Equipment(
                manufacturer="dicomsvc",
                manufacturer_model_name="dicomsvc",
                device_serial_number=self._work.store.settings.dimse.ae_title,
                software_versions=(dicomsvc.__version__,),
            ),
            created=self._preparation.created,
            work_item_uid=self._work.uid,
            requested_by=self._work.requested_by,
        )

    def _outputs(self, summary: Summary, stored: list[Stored]) -> dict[str, Any]:
        manifest, plan = self._preparation.manifest, self._preparation.plan
        seconds = time.monotonic() - self._began
        return {
            "summary": summary.words(manifest) or f"{len(stored)} objects stored",
            "model": manifest.name,
            "number": manifest.number,
            "version": manifest.version,
            "weights_sha256": manifest.weights_sha256,
            "backend": self._backend.description,
            "numbers": summary.document(manifest),
            **(
                {"scores": [{"area": area.label, **each.document()} for area, each in summary.scores]}
                if summary.scores
                else {}
            ),
            "tiles": plan.tiles,
            "megapixels": round(plan.tiles * (plan.tile_size - 2 * plan.overlap) ** 2 / 1e6, 1),
            "seconds": round(seconds, 1),
            "tile_seconds": round(self._looked - self._began, 2),
            "worker_cpu_seconds": round(_cpu_seconds() - self._cpu, 1),
            "instances": [
                {
                    "study_instance_uid": each.study_instance_uid,
                    "series_instance_uid": each.series_instance_uid,
                    "sop_class_uid": each.sop_class_uid,
                    "sop_instance_uid": each.sop_instance_uid,
                }
                for each in stored
            ],
        }


def _tissue_share(tissue: TissueMask, place: Rectangle) -> float:
    """Return how much of a rectangle of slide pixels is tissue."""
    across, down = tissue.step
    left, top = int(place.x / across), int(place.y / down)
    right, bottom = max(left + 1, round(place.right / across)), max(top + 1, round(place.bottom / down))
    return float(np.mean(tissue.mask[top:bottom, left:right], dtype=np.float64))


def _cpu_seconds() -> float:
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)
