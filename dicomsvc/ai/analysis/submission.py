"""Asks for analyses: checks what can be checked now, and makes work items."""

from dataclasses import dataclass, field
from typing import Final

from pydicom.uid import VLWholeSlideMicroscopyImageStorage

from dicomsvc.ai.analysis.marker_scores import check_marker
from dicomsvc.ai.analysis.request import AnalysisRequest, Options, Region
from dicomsvc.ai.catalogue.manifest import Manifest, OutputKind
from dicomsvc.ai.catalogue.repository import Catalogue, parse_reference
from dicomsvc.ai.clicks.redrawing import check_pair
from dicomsvc.dicom.json import metadata_dataset
from dicomsvc.errors import BadRequest, Conflict, NotFound
from dicomsvc.jobs import Jobs, Priority, WorkItem
from dicomsvc.objects.codes import PRIVATE_SCHEME
from dicomsvc.objects.derived import SYNTHETIC
from dicomsvc.store import Store
from dicomsvc.wsi.attributes import text

KIND: Final = "analyze"
_DERIVATION_DESCRIPTION: Final = "00082111"


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants done; ``model`` is ``NAME`` or ``NAME:NUMBER``, ``priority`` as PS3.3 C.30.3."""

    model: str
    regions: tuple[Region, ...] = ()
    options: Options = field(default_factory=Options)
    priority: str = Priority.MEDIUM


def slide_series(store: Store, study_instance_uid: str) -> list[str]:
    """Return the UIDs of a study's series of slides, without those that a model made.

    Raises
    ------
    NotFound
        When there is no such study, or it has no slide.
    """
    records = store.instances.find(study_instance_uid)
    first = {
        record.series_instance_uid: record
        for record in reversed(records)
        if record.sop_class_uid == VLWholeSlideMicroscopyImageStorage
    }
    slides = [
        record.series_instance_uid
        for record, metadata in store.instances.metadata(list(first.values()))
        if not text(metadata_dataset(metadata, ""), _DERIVATION_DESCRIPTION).startswith(SYNTHETIC)
    ]
    if not slides:
        raise NotFound(f"study {study_instance_uid} has no slide")
    return slides


def submit(
    store: Store,
    catalogue: Catalogue,
    study_instance_uid: str,
    series_instance_uid: str | None,
    wish: Wish,
    requested_by: str,
    *,
    key: str | None = None,
) -> WorkItem:
    """Make the work item of an analysis; ``key`` is an idempotency key.

    Raises
    ------
    NotFound, Conflict, InvalidModel
        When the slide or the model is not there, or the model cannot be used.
    BadRequest
        When the study has several slides and none is named.
    Conflict
        When another analysis was asked for under this key.
    """
    manifest = catalogue.find(wish.model)
    options = checked_options(catalogue, manifest, wish.options)
    if series_instance_uid is None:
        series = slide_series(store, study_instance_uid)
        if len(series) > 1:
            raise BadRequest(f"the study has {len(series)} slides; name one of the series {', '.join(series[:10])}")
        series_instance_uid = series[0]
    else:
        store.instances.find(study_instance_uid, series_instance_uid)
    request = AnalysisRequest(
        study_instance_uid=study_instance_uid,
        series_instance_uid=series_instance_uid,
        model=manifest.name,
        number=manifest.number,
        version=manifest.version,
        regions=wish.regions,
        options=options,
    )
    inputs, priority = request.inputs(), Priority(wish.priority)
    item = Jobs(store.engine).create(KIND, inputs, requested_by, priority=priority, key=key)
    # Where no version was named, the one in force may be another since.
    open_ = () if parse_reference(wish.model)[1] else ("number", "version")
    if any(item.inputs.get(name) != inputs.get(name) for name in {*item.inputs, *inputs}.difference(open_)):
        raise Conflict(f"this idempotency key is that of another analysis, {item.uid}; take a new one for a new wish")
    return item


def checked_options(catalogue: Catalogue, manifest: Manifest, options: Options) -> Options:
    """Return the options with the version of the model that draws outlines.

    Raises
    ------
    BadRequest
        When the model cannot look at a whole slide, the models do not go together, or the marker is not known or not
        for this model.
    NotFound, Conflict, InvalidModel
        When the model that draws outlines is not there, or cannot be used.
    """
    if manifest.output.kind is OutputKind.CLICKS:
        raise BadRequest(
            f"{manifest.name} answers clicks: send them to /api/slides/SERIES/clicks, or use `dicomsvc click`; "
            f'a whole slide is analysed by a model that finds things, with the option outlines = "{manifest.name}"'
        )
    check_marker(manifest, options.marker)
    if options.outlines is None:
        return options
    drawing = catalogue.find(options.outlines)
    check_pair(manifest, drawing)
    return options.model_copy(update={"outlines": f"{drawing.name}:{drawing.number}"})


def chosen_version(catalogue: Catalogue, request: AnalysisRequest) -> Manifest:
    """Return the version of the model that a request means.

    Raises
    ------
    NotFound, Conflict, InvalidModel
        When it is not there, or cannot be used.
    """
    if request.number is not None or request.version is None:
        return catalogue.find(request.model, request.number)
    if request.version.isdecimal():
        return catalogue.find(request.model, int(request.version))
    preferred = catalogue.find(request.model)
    versions = catalogue.get(request.model).versions
    named = [manifest for manifest in (preferred, *reversed(versions)) if manifest.version == request.version]
    if not named:
        there = ", ".join(manifest.version for manifest in versions)
        raise NotFound(f"model {request.model} has no version {request.version}; it has {there}")
    return named[0]


def performable(catalogue: Catalogue, value: str, scheme: str) -> tuple[str, dict[str, str]] | None:
    """Return kind and inputs of the analysis that a Scheduled Workitem Code asks for, or None: a model's name."""
    if scheme != PRIVATE_SCHEME or value not in {model.name for model in catalogue.models()}:
        return None
    return KIND, {"model": value}


def find_slides(store: Store, uid: str) -> list[tuple[str, str]]:
    """Return the slides (study, series) that a UID of a study or of a series names.

    Raises
    ------
    NotFound
        When nothing is stored under it.
    """
    study = store.instances.find_series(uid)
    if study is not None:
        return [(study, uid)]
    return [(uid, series) for series in slide_series(store, uid)]
