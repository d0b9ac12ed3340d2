"""Makes the content tree of a measurement report (PS3.16 TID 1500, 1501, 1410, 1411)."""

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import (
    ParametricMapStorage,
    SegmentationStorage,
    VLWholeSlideMicroscopyImageStorage,
)

from dicomsvc.errors import InvalidInstance
from dicomsvc.objects.codes import LIGHT_MICROSCOPY, measure
from dicomsvc.objects.common import derived_uid
from dicomsvc.objects.provenance import Algorithm, Equipment, Provenance
from dicomsvc.objects.report_content import (
    ReportContent,
    ReportGroup,
    ReportMeasurement,
    ResultReference,
)
from dicomsvc.objects.source import SourceLevel, SourceSlide

Groups = (
    sr.PlanarROIMeasurementsAndQualitativeEvaluations
    | sr.VolumetricROIMeasurementsAndQualitativeEvaluations
    | sr.MeasurementsAndQualitativeEvaluations
)
_CONTAINS: Final = sr.RelationshipTypeValues.CONTAINS
_IMAGES: Final = (
    SegmentationStorage,
    # Label Map Segmentation, younger than pydicom's table.
    "1.2.840.10008.5.1.4.1.1.66.7",
    ParametricMapStorage,
    VLWholeSlideMicroscopyImageStorage,
)
_TEXT_LENGTH: Final = 4096


def report_root(source: SourceSlide, content: ReportContent, provenance: Provenance, document_uid: str) -> Dataset:
    """Return the root content item.

    Raises
    ------
    InvalidInstance
        When there is no group, or a group is empty, or a number is not finite, or a region is no polygon.
    """
    if not content.groups:
        raise InvalidInstance("a report without measurement groups cannot be written")
    groups = [
        _group(source, group, provenance.algorithm, group.tracking_uid or derived_uid(document_uid, str(number)))
        for number, group in enumerate(content.groups)
    ]
    root = sr.MeasurementReport(
        observation_context=_observation_context(source, provenance),
        procedure_reported=LIGHT_MICROSCOPY,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
        referenced_images=[source.dataset],
    )[0]
    root.ContentSequence.extend(_source(result) for result in content.results)
    if content.comment:
        root.ContentSequence.append(_text(codes.DCM.Comment, content.comment))
    return root


def device_uid(equipment: Equipment) -> str:
    """Return the UID of a device observer, the same for the same equipment."""
    return derived_uid(
        "device", equipment.manufacturer, equipment.manufacturer_model_name, equipment.device_serial_number
    )


def _observation_context(source: SourceSlide, provenance: Provenance) -> sr.ObservationContext:
    equipment, algorithm = provenance.equipment, provenance.algorithm
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=device_uid(equipment),
        name=f"{algorithm.name} {algorithm.version}",
        manufacturer_name=equipment.manufacturer,
        model_name=" ".join((equipment.manufacturer_model_name, *equipment.software_versions)),
        serial_number=equipment.device_serial_number,
        role_in_procedure=codes.DCM.Performing,
    )
    return sr.ObservationContext(
        observer_device_context=sr.ObserverContext(codes.DCM.Device, device),
        subject_context=_specimen(source),
    )


def _specimen(source: SourceSlide) -> sr.SubjectContext | None:
    described = source.dataset.get("SpecimenDescriptionSequence")
    if not described or not described[0].get("SpecimenUID"):
        return None
    specimen = sr.SubjectContextSpecimen(
        uid=described[0].SpecimenUID,
        identifier=described[0].get("SpecimenIdentifier") or None,
        container_identifier=source.container_identifier,
    )
    return sr.SubjectContext(codes.DCM.Specimen, specimen)


def _group(source: SourceSlide, group: ReportGroup, algorithm: Algorithm, uid: str) -> Groups:
    if not (group.measurements or group.evaluations):
        raise InvalidInstance(f"report group {group.label!r} says nothing")
    same: dict[str, Any] = {
        "tracking_identifier": sr.TrackingIdentifier(uid=uid, identifier=group.label),
        "finding_category": group.finding.category if group.finding else None,
        "finding_type": group.finding.type if group.finding else None,
        "algorithm_id": _algorithm(algorithm),
        "measurements": [_measurement(group, each) for each in group.measurements],
        "qualitative_evaluations": [
            sr.QualitativeEvaluation(each.name, each.value)
            for each in group.evaluations
            if isinstance(each.value, Code)
        ],
    }
    finest = source.levels[0]
    made: Groups
    if group.region is not None:
        made = sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            referenced_region=_region(source, group), geometric_purpose=codes.DCM.Outline, **same
        )
        _show_segmentation(made[0], group)
    elif group.segmentation is not None:
        made = sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            referenced_segment=_segment(group.segmentation, group.segment_number, finest), **same
        )
    else:
        source_image = sr.SourceImageForMeasurementGroup(finest.sop_class_uid, finest.sop_instance_uid)
        made = sr.MeasurementsAndQualitativeEvaluations(source_images=[source_image], **same)
    made[0].ContentSequence.extend(
        _text(each.name, each.value) for each in group.evaluations if isinstance(each.value, str)
    )
    if group.annotations is not None:
        made[0].ContentSequence.append(_source(group.annotations))
    return made


def _show_segmentation(container: Dataset, group: ReportGroup) -> None:
    """Say which segment a region's measurements come from; TID 1410 itself has place for one or the other."""
    if group.segmentation is not None:
        container.ContentSequence.append(
            sr.ImageContentItem(
                codes.DCM.SourceOfMeasurement,
                group.segmentation.sop_class_uid,
                group.segmentation.sop_instance_uid,
                referenced_segment_numbers=group.segment_number,
                relationship_type=_CONTAINS,
            )
        )


def _segment(reference: ResultReference, number: int, level: SourceLevel) -> sr.ReferencedSegment:
    image = sr.SourceImageForSegmentation(level.sop_class_uid, level.sop_instance_uid)
    return sr.ReferencedSegment(
        reference.sop_class_uid, reference.sop_instance_uid, segment_number=number, source_images=[image]
    )


def _source(reference: ResultReference) -> Dataset:
    """Return a reference to an object that the numbers come from: an image, or another one (PS3.3 C.18.3, C.18.4)."""
    kind = sr.ImageContentItem if reference.sop_class_uid in _IMAGES else sr.CompositeContentItem
    return kind(
        codes.DCM.SourceOfMeasurement,
        reference.sop_class_uid,
        reference.sop_instance_uid,
        relationship_type=_CONTAINS,
    )


def _region(source: SourceSlide, group: ReportGroup) -> sr.ImageRegion3D:
    """Return a closed polygon in the plane of the slide, in mm."""
    outline = np.asarray(group.region, np.float64)
    if outline.ndim != 2 or outline.shape[1] != 2 or not np.isfinite(outline).all():
        raise InvalidInstance(f"the region of report group {group.label!r} is not made of points (column, row)")
    if len(outline) and not np.array_equal(outline[0], outline[-1]):
        outline = np.vstack([outline, outline[:1]])
    if len(outline) < 4:
        raise InvalidInstance(f"the region of report group {group.label!r} has fewer than three points")
    return sr.ImageRegion3D(
        sr.GraphicTypeValues3D.POLYGON, _in_plane(source.to_slide_mm(outline)), source.frame_of_reference_uid
    )


def _in_plane(points_mm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    # Graphic Data is single precision (PS3.3 C.18.9): first and last point are rounded alike.
    return np.column_stack([points_mm, np.zeros(len(points_mm))]).astype(np.float32).astype(np.float64)


def _measurement(group: ReportGroup, given: ReportMeasurement) -> sr.Measurement:
    if not math.isfinite(given.value):
        raise InvalidInstance(f"{given.name} of report group {group.label!r} is not a finite number: leave it out")
    known = measure(given.name, given.unit)
    return sr.Measurement(name=known.concept, value=float(given.value), unit=known.unit, derivation=given.statistic)


def _text(name: Code, value: str) -> Dataset:
    return sr.TextContentItem(name, value[:_TEXT_LENGTH], relationship_type=_CONTAINS)


def _algorithm(algorithm: Algorithm) -> sr.AlgorithmIdentification:
    pairs = {**algorithm.parameters, "weights_sha256": algorithm.weights_sha256}
    return sr.AlgorithmIdentification(
        name=algorithm.name,
        version=algorithm.version,
        manufacturer=algorithm.source,
        parameters=[f"{key}={value}"[:_TEXT_LENGTH] for key, value in sorted(pairs.items())],
        family=algorithm.family,
    )
