"""What a person clicked, as Microscopy Bulk Simple Annotations and a report: semi-automatic (PS3.3 A.87, C.37.1.2)."""

from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Final

import numpy as np
from pydicom.uid import MicroscopyBulkSimpleAnnotationsStorage

import dicomsvc
from dicomsvc.ai.analysis.subject import Subject
from dicomsvc.ai.catalogue.manifest import Manifest
from dicomsvc.ai.findings import Instances
from dicomsvc.objects.annotations import AnnotationGroup, Generation, GraphicType, write_annotations
from dicomsvc.objects.codes import MEAN
from dicomsvc.objects.common import NOT_VERIFIED, derived_uid
from dicomsvc.objects.provenance import Algorithm, Equipment, FindingClass, Identity, Provenance
from dicomsvc.objects.report import write_report
from dicomsvc.objects.report_content import ReportContent, ReportGroup, ReportMeasurement, ResultReference
from dicomsvc.store import Source, Store, Stored

_ANNOTATIONS: Final = (912, "clicked")
_REPORT: Final = (942, "clicked, report")


def store_things(
    store: Store, subject: Subject, instances: Instances, manifest: Manifest, backend: str, who: str, uid: str
) -> list[Stored]:
    """Let annotations and report of clicked things into the store, both or none; nothing for no things.

    ``uid`` is that of the request, from which those of the objects are made.

    Raises
    ------
    NotFound
        When the slide was deleted meanwhile.
    OutOfResources
        When disk or database refuse.
    """
    if not len(instances):
        return []
    provenance = _provenance(store, manifest, backend, who, uid)
    kind = manifest.classes[0]
    finding = FindingClass(kind.label, kind.category, kind.type, kind.colour)
    group = AnnotationGroup(
        finding,
        GraphicType.POLYGON,
        instances.outline,
        instances.offsets,
        {**instances.measurements, "probability": instances.probability},
        description=f"{NOT_VERIFIED}; semi-automatic, clicked by {who}",
        uid=derived_uid(uid, "ANN", "group"),
        generation=Generation.SEMIAUTOMATIC,
    )
    with ExitStack() as stack:
        files = [stack.enter_context(store.spool())]
        place = _identity(manifest, uid, "ANN", *_ANNOTATIONS)
        write_annotations(files[0].write, subject.source, [group], place, provenance)
        if "SR" in manifest.objects:
            files.append(stack.enter_context(store.spool()))
            reference = ResultReference(
                place.series_instance_uid, MicroscopyBulkSimpleAnnotationsStorage, place.sop_instance_uid
            )
            content = ReportContent((_counted(finding, instances, reference, group.uid),), (), manifest.intended_use)
            report = _identity(manifest, uid, "SR", *_REPORT)
            write_report(files[1].write, subject.source, content, report, provenance)
        source = subject.source
        # What was deleted meanwhile does not come back by its annotations.
        store.instances.find(source.study_instance_uid, source.series_instance_uid)
        return store.add_all(files, Source("clicks", who))


def _counted(finding: FindingClass, instances: Instances, reference: ResultReference, group_uid: str) -> ReportGroup:
    numbers = [ReportMeasurement("count", len(instances))]
    for name, values in instances.measurements.items():
        known = values[np.isfinite(values)].astype(np.float64)
        if len(known):
            numbers.append(ReportMeasurement(name, float(known.mean()), MEAN))
    label = f"{finding.label}, clicked"
    return ReportGroup(label, tuple(numbers), finding=finding, annotations=reference, tracking_uid=group_uid)


def _identity(manifest: Manifest, uid: str, kind: str, number: int, word: str) -> Identity:
    return Identity(
        series_instance_uid=derived_uid(uid, kind),
        series_number=number,
        series_description=f"{manifest.title}: {word}"[:64],
        sop_instance_uid=derived_uid(uid, kind, "1"),
        content_label="CLICKED",
    )


def _provenance(store: Store, manifest: Manifest, backend: str, who: str, uid: str) -> Provenance:
    parameters = {
        "backend": backend,
        "model_version_number": str(manifest.number),
        "mpp": f"{manifest.input.mpp:g}",
        "tile_size": str(manifest.input.tile_size),
        **{f"output.{name}": f"{value:g}" for name, value in manifest.output.settings.items()},
    }
    algorithm = Algorithm(
        name=manifest.title,
        version=manifest.version,
        family=manifest.family,
        weights_sha256=manifest.weights_sha256,
        source=f"dicomsvc model {manifest.name}",
        parameters=parameters,
    )
    equipment = Equipment("dicomsvc", "dicomsvc", store.settings.dimse.ae_title, (dicomsvc.__version__,))
    return Provenance(algorithm, equipment, datetime.now(UTC), uid, who)
