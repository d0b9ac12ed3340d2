"""A report of a slide, a class and a region, with references to what shows them."""

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from dicomsvc.objects.codes import MEAN, STANDARD_DEVIATION
from dicomsvc.objects.report import (
    Evaluation,
    ReportContent,
    ReportGroup,
    ReportMeasurement,
    ResultReference,
    report_dataset,
)
from dicomsvc.objects.source import SourceSlide
from tests.unit.objects.result_slide import NEOPLASM, NUCLEUS, identity, provenance, slide

ANN = ResultReference(generate_uid(), "1.2.840.10008.5.1.4.1.1.91.1", generate_uid())
SEG = ResultReference(generate_uid(), "1.2.840.10008.5.1.4.1.1.66.4", generate_uid())
MAP = ResultReference(generate_uid(), "1.2.840.10008.5.1.4.1.1.30", generate_uid())
TRACKING_UID = generate_uid()
GRADE = Code("371469007", "SCT", "Histologic grade")
REGION = np.array([[10.0, 10.0], [50.0, 10.0], [50.0, 40.5]])


def groups() -> tuple[ReportGroup, ...]:
    return (
        ReportGroup(
            "Whole slide",
            (ReportMeasurement("analysed_area_mm2", 12.5), ReportMeasurement("area_percent", 45.678912)),
        ),
        ReportGroup(
            "nucleus",
            (
                ReportMeasurement("count", 123_456),
                ReportMeasurement("density_per_mm2", 9876.54321),
                ReportMeasurement("area_um2", 33.25, MEAN),
                ReportMeasurement("area_um2", 4.5, STANDARD_DEVIATION),
            ),
            (Evaluation(GRADE, Code("369792005", "SCT", "Grade 3")), Evaluation(GRADE, "三级, by eye")),
            finding=NUCLEUS,
            segmentation=SEG,
            annotations=ANN,
            tracking_uid=TRACKING_UID,
        ),
        ReportGroup(
            "region 1",
            (ReportMeasurement("count", 5),),
            finding=NEOPLASM,
            region=REGION,
            segmentation=SEG,
            segment_number=2,
        ),
    )


def report(source: SourceSlide | None = None) -> Dataset:
    return report_dataset(
        source or slide(), ReportContent(groups(), (MAP,), "For research only."), identity("report"), provenance()
    )
