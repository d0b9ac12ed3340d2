"""``/api/ihc/slides``: the score of a whole slide at other thresholds, from the annotations that an analysis stored.

An analysis keeps of each cell its area, how probably it is positive, and its optical densities. Thresholds on these are
answered at once; where a cell ends cannot be asked again, as no pixel is kept.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Final

import numpy as np
from fastapi import APIRouter, Path, Query
from pydicom.uid import MicroscopyBulkSimpleAnnotationsStorage

from dicomsvc.ai.catalogue.repository import Catalogue
from dicomsvc.ai.findings import Instances
from dicomsvc.ai.ihc.assessment import assess, gives_scores, reclassed
from dicomsvc.ai.ihc.cells import scoring
from dicomsvc.ai.ihc.presets import DEFAULT, preset_named
from dicomsvc.errors import Conflict, NotFound
from dicomsvc.jobs import Jobs, State, WorkItem
from dicomsvc.objects.annotations import read_annotations
from dicomsvc.store import Store

_KIND: Final = "analyze"
_MOST: Final = 1000
Series = Annotated[str, Path(max_length=64, pattern=r"^[0-9.]+$", description="Series Instance UID of the slide")]
Um2 = Annotated[float | None, Query(ge=0, le=1e6)]


@dataclass(frozen=True, slots=True)
class CellLimits:
    """None leaves a limit out. A cell above ``marker_od`` is positive, whatever its probability."""

    min_area_um2: float | None = None
    max_area_um2: float | None = None
    positive_threshold: float | None = None
    marker_od: float | None = None


def slide_routes(store: Store, jobs: Jobs, catalogue: Catalogue) -> APIRouter:
    """Return the routes over stored analyses."""
    router = APIRouter(prefix="/api/ihc/slides", tags=["immunohistochemistry"])

    @router.get("/{series}/scoring", summary="Score of a whole slide, from its latest analysis by an IHC model")
    def score_slide(
        series: Series,
        min_area_um2: Um2 = None,
        max_area_um2: Um2 = None,
        positive_threshold: Annotated[float | None, Query(ge=0, le=1)] = None,
        marker_od: Annotated[float | None, Query(ge=0, le=4)] = None,
        marker: Annotated[str | None, Query(max_length=32)] = None,
        prob_thresh: Annotated[str | None, Query(max_length=20)] = None,
    ) -> dict[str, Any]:
        if prob_thresh is not None:
            raise Conflict(
                "prob_thresh needs pixels, and a slide's are not kept: make a region of the part in question"
            )
        item = _latest(store, jobs, catalogue, series)
        preset = preset_named(marker or item.inputs.get("options", {}).get("marker") or DEFAULT)
        manifest = catalogue.get(item.outputs["model"]).version(item.outputs["number"])
        limits = CellLimits(min_area_um2, max_area_um2, positive_threshold, marker_od)
        cells = limited(reclassed(stored_cells(store, item), preset), limits)
        found = assess(cells, preset, manifest, None)
        document = found.document()
        refused = found.refused
        numbers = {} if refused else {"scoring": scoring(found.score.total, found.score.positive)}
        return {**numbers, "score": document, "analysis": item.uid, "model": manifest.name, "version": manifest.version}

    return router


def stored_cells(store: Store, item: WorkItem) -> Instances:
    """Return the cells that an analysis stored, without outlines; class 1 is positive.

    Raises
    ------
    NotFound
        When they are not stored any more.
    """
    uids = {
        each["sop_instance_uid"]
        for each in item.outputs["instances"]
        if each["sop_class_uid"] == MicroscopyBulkSimpleAnnotationsStorage
    }
    study = item.inputs["study_instance_uid"]
    records = [each for each in store.instances.find(study) if each.sop_instance_uid in uids]
    if not records:
        raise NotFound(f"the annotations of analysis {item.uid} are not stored any more")
    parts = []
    for group in (group for record in records for group in read_annotations(record.readable_path())):
        positive = group.finding.label.lower().startswith("positive")
        count = len(group)
        columns = {name: np.asarray(values, np.float32) for name, values in group.measurements.items()}
        parts.append(
            Instances(
                np.full(count, int(positive), np.int16),
                np.zeros((count, 2), np.float32),
                np.ones(count, np.float32),
                np.zeros(count + 1, np.int64),
                np.empty((0, 2), np.float32),
                columns,
            )
        )
    return Instances.joined(parts)


def limited(cells: Instances, limits: CellLimits) -> Instances:
    """Return the cells within limits, in the classes that limits give them.

    Raises
    ------
    Conflict
        When the analysis kept no such measurement.
    """
    wanted = np.ones(len(cells), np.bool_)
    if limits.min_area_um2 is not None:
        wanted &= _column(cells, "area_um2") > limits.min_area_um2
    if limits.max_area_um2 is not None:
        wanted &= _column(cells, "area_um2") < limits.max_area_um2
    positive = cells.class_index == 1
    if limits.positive_threshold is not None:
        positive = _column(cells, "positive_probability") >= limits.positive_threshold
    if limits.marker_od is not None:
        positive = positive | (_column(cells, "highest_marker_od") > limits.marker_od)
    changed = Instances(
        positive.astype(np.int16), cells.centroids, cells.probability, cells.offsets, cells.outline, cells.measurements
    )
    return changed.chosen(wanted)


def _column(cells: Instances, name: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    if not len(cells):
        return np.empty(0, np.float32)
    if name not in cells.measurements:
        raise Conflict(f"the analysis kept no {name}; analyse the slide again")
    return cells.measurements[name]


def _latest(store: Store, jobs: Jobs, catalogue: Catalogue, series: str) -> WorkItem:
    study = store.instances.find_series(series)
    if study is None:
        raise NotFound(f"series {series} is not stored")
    models = {model.name for model in catalogue.models() if any(gives_scores(each) for each in model.versions)}
    for item in jobs.search(kind=_KIND, state=State.COMPLETED, study_instance_uid=study, limit=_MOST):
        whole = not item.inputs.get("regions")
        if item.inputs["series_instance_uid"] == series and whole and item.outputs.get("model") in models:
            return item
    raise NotFound(f"the slide has no analysis by {' or '.join(sorted(models))}; POST /api/analyses makes one")
