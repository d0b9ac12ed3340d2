"""What people draw in a viewer, as it writes it: reports with regions in mm, bulk annotations in pixels."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import highdicom as hd
import numpy as np
from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from dicomsvc.objects.source import source_slide

NUCLEUS = codes.SCT.Nucleus
NEOPLASM = codes.cid7151.NeoplasmPrimary
REGION = codes.DCM.SelectedRegion
PERSON = "Wang^XiaoDong"


@dataclass(frozen=True)
class Outline:
    """``points`` are pixels of the finest level, (0, 0) the slide's top left corner."""

    points: Sequence[tuple[float, float]]
    code: Code = NUCLEUS
    kind: str = "POLYGON"


def square(x: float, y: float, side: float, code: Code = NUCLEUS) -> Outline:
    return Outline([(x, y), (x + side, y), (x + side, y + side), (x, y + side)], code)


def report(levels: Sequence[Dataset], outlines: Sequence[Outline], person: str = PERSON) -> Dataset:
    """Return a Comprehensive 3D SR of regions of interest (TID 1500, TID 1410)."""
    source = source_slide(levels)
    base = max(levels, key=lambda level: int(level.TotalPixelMatrixColumns))
    groups = [
        sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(generate_uid(), f"ROI {number}"),
            referenced_region=sr.ImageRegion3D(
                getattr(sr.GraphicTypeValues3D, outline.kind),
                _closed(_mm(source, outline.points), outline.kind),
                source.frame_of_reference_uid,
            ),
            finding_type=outline.code,
        )
        for number, outline in enumerate(outlines, 1)
    ]
    observer = sr.ObserverContext(codes.DCM.Person, sr.PersonObserverIdentifyingAttributes(name=person))
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_person_context=observer),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
        referenced_images=[base],
    )
    return sr.Comprehensive3DSR(
        evidence=[base],
        content=content[0],
        series_instance_uid=generate_uid(),
        series_number=100,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="a viewer",
        is_complete=True,
        is_final=True,
        is_verified=False,
        record_evidence=True,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )


def bulk(level: Dataset, outlines: Sequence[Outline], person: str, kind: str = "POLYGON") -> Dataset:
    """Return bulk annotations in pixels of a level, drawn by hand; all of one kind and class."""
    group = hd.ann.AnnotationGroup(
        number=1,
        uid=generate_uid(),
        label=outlines[0].code.meaning,
        annotated_property_category=codes.SCT.AnatomicalStructure,
        annotated_property_type=outlines[0].code,
        graphic_type=hd.ann.GraphicTypeValues(kind),
        graphic_data=[np.array(outline.points, np.float32) for outline in outlines],
        algorithm_type=hd.ann.AnnotationGroupGenerationTypeValues.MANUAL,
    )
    return hd.ann.MicroscopyBulkSimpleAnnotations(
        source_images=[level],
        annotation_coordinate_type=hd.ann.AnnotationCoordinateTypeValues.SCOORD,
        annotation_groups=[group],
        series_instance_uid=generate_uid(),
        series_number=101,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="a viewer",
        manufacturer_model_name="viewer",
        software_versions="1",
        device_serial_number="1",
        content_creator_name=person,
    )


def part10(ds: Dataset) -> bytes:
    file = io.BytesIO()
    ds.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _mm(source: object, points: Sequence[tuple[float, float]]) -> np.ndarray:
    places = source.to_slide_mm(np.array(points, np.float64))  # type: ignore[attr-defined]
    return np.column_stack([places, np.zeros(len(places))])


def _closed(points: np.ndarray, kind: str) -> np.ndarray:
    return np.vstack([points, points[:1]]) if kind == "POLYGON" else points
