"""Reports: highdicom reads them, they say what was measured of what, and print as text."""

import io
import math
from dataclasses import replace

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from dicomsvc.errors import InvalidInstance
from dicomsvc.objects.report import (
    ReportContent,
    ReportGroup,
    ReportMeasurement,
    report_dataset,
    report_file,
    report_text,
    write_report,
)
from tests.unit.objects.report_case import (
    ANN,
    GRADE,
    MAP,
    REGION,
    SEG,
    TRACKING_UID,
    groups,
    report,
)
from tests.unit.objects.result_slide import PATIENT_NAME, WEIGHTS, identity, provenance, slide


def reread(ds: Dataset) -> Dataset:
    return dcmread(io.BytesIO(report_file(ds)))


def by_highdicom(ds: Dataset) -> hd.sr.Comprehensive3DSR:
    read = hd.sr.srread(io.BytesIO(report_file(ds)))
    assert isinstance(read, hd.sr.Comprehensive3DSR)
    return read


def test_each_group_follows_the_template_for_what_it_is_of() -> None:
    content = by_highdicom(report()).content
    (whole,) = content.get_image_measurement_groups()
    (of_class,) = content.get_volumetric_roi_measurement_groups()
    (of_region,) = content.get_planar_roi_measurement_groups()
    assert [group.tracking_identifier for group in (whole, of_class, of_region)] == [
        "Whole slide",
        "nucleus",
        "region 1",
    ]
    assert of_class.finding_type == codes.SCT.Nucleus
    assert of_class.tracking_uid == TRACKING_UID
    assert of_region.finding_category == codes.SCT.MorphologicallyAbnormalStructure


def test_measurements_have_values_units_and_statistics() -> None:
    (of_class,) = by_highdicom(report()).content.get_volumetric_roi_measurement_groups()
    found = [
        (each.name.value, each.value, each.unit.value, each.derivation.meaning if each.derivation else "")
        for each in of_class.get_measurements()
    ]
    assert found == [
        ("410681005", 123_456, "{counts}", ""),
        ("DENSITY_AREA", 9876.54321, "/mm2", ""),
        ("42798000", 33.25, "um2", "Mean"),
        ("42798000", 4.5, "um2", "Standard Deviation"),
    ]


def test_evaluations_are_coded_or_words() -> None:
    (of_class,) = by_highdicom(report()).content.get_volumetric_roi_measurement_groups()
    answers = [item for item in of_class[0].ContentSequence if item.name == GRADE]
    assert [item.value.meaning if item.ValueType == "CODE" else item.value for item in answers] == [
        "Grade 3",
        "三级, by eye",
    ]


def test_region_is_a_closed_polygon_in_millimetres_of_the_slide() -> None:
    source = slide()
    (of_region,) = by_highdicom(report(source)).content.get_planar_roi_measurement_groups()
    roi = of_region.roi
    assert roi.frame_of_reference_uid == source.frame_of_reference_uid
    assert roi.graphic_type == hd.sr.GraphicTypeValues3D.POLYGON
    expected = np.vstack([source.to_slide_mm(REGION), source.to_slide_mm(REGION[:1])])
    assert roi.value[:, :2] == pytest.approx(expected, abs=1e-5)
    assert np.array_equal(roi.value[0], roi.value[-1])
    assert not roi.value[:, 2].any()
    # The slide is turned by 180 degrees with its corner at (20, 40) mm: columns run along -y, rows along -x.
    assert roi.value[0, :2] == pytest.approx([20 - 9.5 * 0.0005, 40 - 9.5 * 0.0005], abs=1e-5)


def test_a_region_that_is_closed_already_is_left_as_it_is() -> None:
    closed = np.vstack([REGION, REGION[:1]])
    content = ReportContent((replace(groups()[2], region=closed),))
    read = by_highdicom(report_dataset(slide(), content, identity(), provenance()))
    assert len(read.content.get_planar_roi_measurement_groups()[0].roi.value) == 4


def test_class_and_region_refer_to_their_segments_and_annotations() -> None:
    content = by_highdicom(report()).content
    (of_class,) = content.get_volumetric_roi_measurement_groups()
    segment = of_class.referenced_segment
    assert segment.referenced_sop_instance_uid == SEG.sop_instance_uid
    (of_region,) = content.get_planar_roi_measurement_groups()
    sources = [
        item.ReferencedSOPSequence[0]
        for group in (of_class, of_region)
        for item in group[0].ContentSequence
        if item.name == codes.DCM.SourceOfMeasurement
    ]
    assert [item.ReferencedSOPInstanceUID for item in sources] == [ANN.sop_instance_uid, SEG.sop_instance_uid]
    assert sources[1].ReferencedSegmentNumber == 2


def test_everything_referred_to_is_listed_as_evidence_once() -> None:
    source = slide()
    evidence = by_highdicom(report(source)).get_evidence()
    finest = source.levels[0]
    assert [(series, instance, kind) for _, series, instance, kind in evidence] == [
        (source.series_instance_uid, finest.sop_instance_uid, finest.sop_class_uid),
        (SEG.series_instance_uid, SEG.sop_instance_uid, SEG.sop_class_uid),
        (ANN.series_instance_uid, ANN.sop_instance_uid, ANN.sop_class_uid),
        (MAP.series_instance_uid, MAP.sop_instance_uid, MAP.sop_class_uid),
    ]


def test_report_names_the_device_the_model_its_weights_and_parameters() -> None:
    read = by_highdicom(report())
    (observer,) = read.content.get_observer_contexts()
    assert observer.observer_identifying_attributes.name == "nuclei 1.2.0"
    assert observer.observer_identifying_attributes.manufacturer_name == "dicomsvc"
    (whole,) = read.content.get_image_measurement_groups()
    said = {item.name.meaning: str(item.value) for item in whole[0].ContentSequence if item.ValueType == "TEXT"}
    assert (said["Algorithm Name"], said["Algorithm Version"]) == ("nuclei", "1.2.0")
    parameters = [item.value for item in whole[0].ContentSequence if item.name == codes.DCM.AlgorithmParameters]
    assert parameters == ["threshold=0.5", f"weights_sha256={WEIGHTS}"]


def test_report_is_complete_and_not_verified() -> None:
    ds = reread(report())
    assert (ds.CompletionFlag, ds.VerificationFlag, ds.PreliminaryFlag) == ("COMPLETE", "UNVERIFIED", "PRELIMINARY")
    assert ds.CompletionFlagDescription == "AI result, not verified"
    assert "VerifyingObserverSequence" not in ds
    assert str(ds.PatientName) == PATIENT_NAME


def test_writing_gives_the_file_of_the_data_set() -> None:
    source, who, made = slide(), identity(), provenance()
    content = ReportContent(groups())
    stream = io.BytesIO()
    write_report(stream.write, source, content, who, made)
    assert stream.getvalue() == report_file(report_dataset(source, content, who, made))


def test_the_same_result_is_the_same_bytes_again() -> None:
    source, who, made = slide(), identity(), provenance()
    first, second = (report_file(report_dataset(source, ReportContent(groups()), who, made)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    "wrong",
    [
        (),
        (ReportGroup("empty"),),
        (ReportGroup("nan", (ReportMeasurement("count", math.nan),)),),
        (ReportGroup("inf", (ReportMeasurement("area_um2", math.inf),)),),
        (ReportGroup("name", (ReportMeasurement("Area (um2)", 1),)),),
        (ReportGroup("line", (ReportMeasurement("count", 1),), region=REGION[:2]),),
        (ReportGroup("flat", (ReportMeasurement("count", 1),), region=REGION[0]),),
        (ReportGroup("hole", (ReportMeasurement("count", 1),), region=REGION * np.nan),),
    ],
    ids=lambda wrong: wrong[0].label if wrong else "none",
)
def test_what_cannot_be_said_is_refused(wrong: tuple[ReportGroup, ...]) -> None:
    with pytest.raises(InvalidInstance):
        report_dataset(slide(), ReportContent(wrong), identity(), provenance())


def test_text_tells_values_with_units_under_their_groups() -> None:
    lines = report_text(reread(report())).splitlines()
    assert lines[0] == "Imaging Measurement Report"
    assert lines[1] == "Status: complete, unverified, preliminary (AI result, not verified)"
    nucleus = lines.index("    Measurement Group: nucleus")
    region = lines.index("    Measurement Group: region 1")
    of_nucleus = lines[nucleus:region]
    assert "      Count of entities: 123456" in of_nucleus
    assert "      Number per Area: 9876.54 /mm2" in of_nucleus
    assert "      Area (Mean): 33.25 um2" in of_nucleus
    assert "      Histologic grade: 三级, by eye" in of_nucleus
    assert f"      Referenced Segment: segmentation {SEG.sop_instance_uid}, segment 1" in of_nucleus
    assert "      Image Region: polygon of 4 points" in lines[region:]
    assert "  Comment: For research only." in lines


def test_text_tells_the_algorithm_once() -> None:
    assert report_text(report()).count("Algorithm Name: nuclei") == 1


def test_text_holds_no_attribute_of_the_patient() -> None:
    text = report_text(report())
    assert not any(word in text for word in ("Wang", "王", "病人", "19700101"))


def test_text_gives_a_terminal_nothing_to_obey() -> None:
    ds = report()
    ds.ContentSequence[-1].TextValue = "\x1b[2J\x07evil\r\nnext line"
    text = report_text(ds)
    assert "\x1b" not in text and "\x07" not in text and "\r" not in text
    assert "evil next line" in text


def test_text_of_a_tree_without_end_ends() -> None:
    ds = report()
    deepest = ds
    for _ in range(200):
        item = Dataset()
        item.RelationshipType, item.ValueType = "CONTAINS", "CONTAINER"
        deepest.ContentSequence = [*deepest.get("ContentSequence", ()), item]
        deepest = item
    assert len(report_text(ds)) < 100_000


@pytest.mark.parametrize("damage", ["no tree", "image", "bad number", "bad sequence"])
def test_text_of_what_is_no_report_is_refused_or_lenient(damage: str) -> None:
    ds = report()
    if damage == "no tree":
        del ds.ContentSequence
    elif damage == "image":
        ds = slide().dataset
    elif damage == "bad number":
        for item in ds.iterall():
            if item.keyword == "MeasuredValueSequence":
                item.value = []
        assert "Count of entities: not known" in report_text(ds)
        return
    else:
        ds.ContentSequence[0].ConceptCodeSequence = []
        assert report_text(ds)
        return
    with pytest.raises(InvalidInstance):
        report_text(ds)
