"""Those who drew on a stored slide are compared over HTTP, and what most of them drew becomes an object of its own."""

import io
import logging

import httpx
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.sr.codedict import codes

from dicomsvc.ai.agreement.stored import Question, compare_stored
from dicomsvc.ai.agreement.writing import write_consensus
from dicomsvc.ai.analysis.subject import open_subject
from dicomsvc.errors import Conflict, NotFound
from dicomsvc.objects.annotations import AnnotationGroup, Generation, GraphicType, read_annotations, write_annotations
from dicomsvc.objects.common import derived_uid
from dicomsvc.objects.provenance import FindingClass, Identity
from dicomsvc.objects.segmentation import SegmentationOptions, write_segmentation
from dicomsvc.store import Store
from tests.conformance.test_annotations_reports import ALLOWED, complaints
from tests.integration.handmade_slides import file_of, level, uids
from tests.integration.wado_server import serving, store_files
from tests.unit.objects.result_slide import provenance

TUMOUR = FindingClass("Neoplasm", codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Neoplasm, (200, 0, 0))
NUCLEUS = FindingClass("Nucleus", codes.SCT.AnatomicalStructure, codes.SCT.Nucleus, (0, 0, 200))
A, B, C = "Adams^Ann", "Brandt^Bo", "Chen^Chu"


@pytest.fixture
def slide(store: Store) -> tuple[str, str]:
    """A stored slide of 512 x 400 pixels of 0.5 um."""
    pixels = np.random.default_rng(0).integers(100, 255, (400, 512, 3)).astype(np.uint8)
    study, series, frame = uids()
    store_files(store, [file_of(level([pixels], (study, series, frame)))])
    return study, series


def squares(finding: FindingClass, places: list[tuple[int, int]], side: int = 20) -> AnnotationGroup:
    corners = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float32)
    points = np.concatenate([corners + place for place in places]).astype(np.float32)
    return AnnotationGroup(
        finding, GraphicType.POLYGON, points, np.arange(0, len(points) + 1, 4), generation=Generation.MANUAL
    )


def draw(store: Store, slide: tuple[str, str], who: str, *groups: AnnotationGroup) -> str:
    """Store bulk annotations that a person drew."""
    stream = io.BytesIO()
    uid = derived_uid(*slide, who)
    write_annotations(stream.write, open_subject(store, *slide).source, groups, named(who, uid), provenance())
    return stored_as(store, stream, who)


def named(who: str, uid: str) -> Identity:
    return Identity(derived_uid(uid, "series"), 12, "Drawn", uid, content_description="Drawn by hand")


def stored_as(store: Store, stream: io.BytesIO, who: str, **segment: str) -> str:
    stream.seek(0)
    ds = dcmread(stream)
    ds.ContentCreatorName = who
    for each in ds.get("SegmentSequence", []) if segment else []:
        for keyword, value in segment.items():
            setattr(each, keyword, value)
    changed = io.BytesIO()
    ds.save_as(changed)
    return store_files(store, [changed.getvalue()])[0].sop_instance_uid


@pytest.fixture
def three(store: Store, slide: tuple[str, str]) -> list[str]:
    return [
        draw(store, slide, A, squares(NUCLEUS, [(100, 100), (200, 100)]), squares(TUMOUR, [(300, 200)])),
        draw(store, slide, B, squares(NUCLEUS, [(101, 100), (300, 201), (400, 300)])),
        draw(store, slide, C, squares(NUCLEUS, [(100, 102)]), squares(TUMOUR, [(301, 200)])),
    ]


def test_annotators_are_compared_by_things_classes_and_areas(
    store: Store, slide: tuple[str, str], three: list[str]
) -> None:
    with serving(store) as url:
        answer = httpx.get(f"{url.removesuffix('/dicomweb')}/api/studies/{slide[0]}/agreement")
        assert answer.status_code == 200, answer.text
    (found,) = answer.json()
    assert (found["series_instance_uid"], found["annotators"]) == (slide[1], [A, B, C])
    assert found["things"]["drawn"] == {A: 3, B: 3, C: 2}
    # One nucleus and one tumour by all; two nuclei by one person each.
    assert found["things"]["drawn_by"] == {"1": 2, "3": 2}
    assert found["things"]["classes"]["said"] == {"Neoplasm": 2, "Nucleus": 4}
    assert found["pixel_um"] == pytest.approx(0.5)
    pair = next(each for each in found["things"]["pairs"] if (each["one"], each["other"]) == (A, C))
    assert (pair["paired"], pair["f1"]) == (2, pytest.approx(0.8))
    assert 0.3 < found["areas"]["fleiss"]["value"] < 0.95
    assert found["areas"]["fleiss"]["low"] < found["areas"]["fleiss"]["value"]
    # Slide pixels in the rectangle around all that was drawn: (100, 100) to (420, 320).
    assert found["areas"]["units"] == 320 * 220


def test_the_consensus_is_an_object_that_says_what_it_was_made_of(
    store: Store, slide: tuple[str, str], three: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), serving(store) as url:
        path = f"{url.removesuffix('/dicomweb')}/api/studies/{slide[0]}/agreement"
        answer = httpx.post(path, json={})
        assert answer.status_code == 201, answer.text
        (made,) = answer.json()
        # A consensus is nobody's drawing: it does not count as one more annotator.
        assert httpx.get(path).json()[0]["annotators"] == [A, B, C]
    assert (made["things"], sorted(made["sources"])) == (2, sorted(three))
    file = store.instances.find_sop_instance(made["sop_instance_uid"]).readable_path()
    ds = dcmread(file)
    referenced = {
        each.ReferencedSOPInstanceUID
        for series in ds.ReferencedSeriesSequence
        for each in series.ReferencedInstanceSequence
    }
    assert set(three) < referenced
    assert ds.ContentDescription == "Majority vote of 3 annotators"
    assert "AI" not in f"{ds.ContentCreatorName} {ds.ContributingEquipmentSequence[-1].ContributionDescription}"
    groups = read_annotations(file)
    assert {(each.finding.label, len(each), each.generation) for each in groups} == {
        ("Neoplasm", 1, Generation.SEMIAUTOMATIC),
        ("Nucleus", 1, Generation.SEMIAUTOMATIC),
    }
    nucleus = next(each for each in groups if each.finding.label == "Nucleus")
    # At least two of three squares at (100, 100), (101, 100) and (100, 102) have these pixels.
    assert nucleus.points.min(axis=0) == pytest.approx([100, 100], abs=0.6)
    assert nucleus.points.max(axis=0) == pytest.approx([120, 120], abs=0.6)
    assert complaints(file) <= ALLOWED
    assert "Adams" not in caplog.text


def test_segmentations_count_as_areas(store: Store, slide: tuple[str, str]) -> None:
    draw(store, slide, A, squares(TUMOUR, [(0, 0)], 256))
    source = open_subject(store, *slide).source
    frames = [np.zeros((256, 256), np.uint8) for _ in range(4)]
    frames[0][:, :200] = 1
    stream = io.BytesIO()
    identity = named(B, derived_uid(*slide, "segmentation"))
    write_segmentation(stream.write, source, 0, [TUMOUR], frames, identity, provenance(), SegmentationOptions())
    stored_as(store, stream, B, SegmentAlgorithmType="MANUAL")
    (found,) = compare_stored(store, Question(slide[0]))
    assert found.things is None
    assert found.areas.units == 512 * 400
    assert found.areas.pairs[0].same == pytest.approx(1 - 56 * 256 / (512 * 400))
    with pytest.raises(Conflict, match="nothing was written"):
        write_consensus(store, Question(slide[0]), "tester")


def test_what_lies_outside_of_a_region_of_interest_is_unknown(store: Store, slide: tuple[str, str]) -> None:
    region = FindingClass("Region of interest", codes.SCT.AnatomicalStructure, codes.DCM.SelectedRegion, (0, 0, 0))
    draw(store, slide, A, squares(region, [(0, 0)], 100), squares(NUCLEUS, [(10, 10)]))
    draw(store, slide, B, squares(NUCLEUS, [(10, 10), (300, 300)]))
    (found,) = compare_stored(store, Question(slide[0]))
    assert found.areas.units == 100 * 100
    assert found.areas.percent.value == 1


def test_people_and_classes_may_be_chosen(store: Store, slide: tuple[str, str], three: list[str]) -> None:
    (found,) = compare_stored(store, Question(slide[0], annotators=(A, C), classes=("Nucleus",)))
    assert (found.annotators, found.areas.said.keys()) == ((A, C), {"background", "Nucleus"})
    with pytest.raises(Conflict, match="fewer than two"):
        compare_stored(store, Question(slide[0], annotators=(A,)))
    with pytest.raises(NotFound):
        compare_stored(store, Question("1.2.3"))


def test_wrong_questions_are_refused(store: Store, slide: tuple[str, str]) -> None:
    with serving(store) as url:
        path = f"{url.removesuffix('/dicomweb')}/api/studies"
        assert httpx.get(f"{path}/{slide[0]}/agreement").status_code == 409
        assert httpx.get(f"{path}/1.2.3/agreement").status_code == 404
        assert httpx.get(f"{path}/{slide[0]}/agreement?least_iou=0").status_code in (400, 422)
        assert httpx.post(f"{path}/{slide[0]}/agreement", json={"everybody": 1}).status_code in (400, 422)
