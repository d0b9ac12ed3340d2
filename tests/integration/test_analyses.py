"""A slide through models on a real Triton server, by the API: results, exactly once, or a clear failure."""

import io
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom
import httpx
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from tests.conftest import RunningService, import_slide

REGION = {"x": 900, "y": 900, "width": 500, "height": 400}


@dataclass(frozen=True)
class Slide:
    """A stored slide in a running service."""

    service: RunningService
    study: str
    series: str

    def order(self, model: str, **more: Any) -> httpx.Response:
        body = {"study_instance_uid": self.study, "series_instance_uid": self.series, "model": model, **more}
        return httpx.post(f"{self.service.url}/api/analyses", json=body)

    def finished(self, model: str, **more: Any) -> dict[str, Any]:
        answer = self.order(model, **more)
        assert answer.status_code == 201, answer.text
        return wait_for(self.service, answer.json()["uid"])

    def instances(self, analysis: dict[str, Any], sop_class: str) -> list[bytes]:
        """Return the Part 10 files of an analysis's results of a SOP class."""
        return [
            httpx.get(
                f"{self.service.dicomweb}/studies/{each['study_instance_uid']}/series/{each['series_instance_uid']}"
                f"/instances/{each['sop_instance_uid']}",
                headers={"Accept": "application/dicom; transfer-syntax=*"},
            ).content
            for each in analysis["outputs"]["instances"]
            if each["sop_class_uid"] == sop_class
        ]


SEG = "1.2.840.10008.5.1.4.1.1.66.4"
ANN = "1.2.840.10008.5.1.4.1.1.91.1"
SR = "1.2.840.10008.5.1.4.1.1.88.34"
LABELMAP = "1.2.840.10008.5.1.4.1.1.66.7"


def wait_for(service: RunningService, uid: str, seconds: float = 120) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        analysis: dict[str, Any] = httpx.get(f"{service.url}/api/analyses/{uid}").json()
        if analysis["state"] in ("COMPLETED", "CANCELED"):
            return analysis
        time.sleep(0.2)
    raise AssertionError(f"the analysis did not end: {analysis}")


@pytest.fixture(scope="module")
def slide(model_service: RunningService, cmu_small_region: Path) -> Slide:
    return Slide(model_service, *import_slide(model_service, cmu_small_region))


@pytest.fixture(scope="module")
def nuclei(slide: Slide) -> dict[str, Any]:
    """An analysis by `nuclei` of a region, ended."""
    return slide.finished("nuclei", regions=[REGION], options={"labelmap": True})


def test_nuclei_become_annotations_segmentation_and_report(slide: Slide, nuclei: dict[str, Any]) -> None:
    assert nuclei["state"] == "COMPLETED", nuclei
    [numbers] = nuclei["outputs"]["numbers"]
    [annotations] = slide.instances(nuclei, ANN)
    groups = highdicom.ann.annread(io.BytesIO(annotations)).get_annotation_groups()
    assert [group.number_of_annotations for group in groups] == [numbers["count"]]
    assert 50 < numbers["count"] < 400
    points = np.concatenate(groups[0].get_graphic_data("2D"))
    assert points[:, 0].min() >= REGION["x"] - 40 and points[:, 0].max() <= REGION["x"] + REGION["width"] + 40
    assert len(slide.instances(nuclei, SEG)) == 5, "a level of the segmentation for each of the slide"
    [report] = slide.instances(nuclei, SR)
    assert dcmread(io.BytesIO(report)).VerificationFlag == "UNVERIFIED"


def test_the_segmentation_covers_what_the_outlines_enclose(slide: Slide, nuclei: dict[str, Any]) -> None:
    finest = max(
        (highdicom.seg.segread(io.BytesIO(each)) for each in slide.instances(nuclei, SEG)),
        key=lambda seg: seg.TotalPixelMatrixColumns,
    )
    mask = finest.get_total_pixel_matrix(combine_segments=True) > 0
    [group] = highdicom.ann.annread(io.BytesIO(slide.instances(nuclei, ANN)[0])).get_annotation_groups()
    areas = [
        0.5 * abs(np.dot(p[:, 0], np.roll(p[:, 1], 1)) - np.dot(p[:, 1], np.roll(p[:, 0], 1)))
        for p in group.get_graphic_data("2D")
    ]
    assert mask.sum() == pytest.approx(sum(areas), rel=0.03)
    outside = mask.copy()
    outside[
        REGION["y"] - 40 : REGION["y"] + REGION["height"] + 40, REGION["x"] - 40 : REGION["x"] + REGION["width"] + 40
    ] = False
    assert not outside.any()


def test_a_label_map_is_written_beside_when_asked(slide: Slide, nuclei: dict[str, Any]) -> None:
    labels = slide.instances(nuclei, LABELMAP)
    assert len(labels) == 5
    assert {dcmread(io.BytesIO(each), stop_before_pixels=True).SegmentationType for each in labels} == {"LABELMAP"}


def test_results_say_by_what_they_were_made(slide: Slide, nuclei: dict[str, Any]) -> None:
    digest = nuclei["outputs"]["weights_sha256"]
    for sop_class in (SEG, ANN, SR):
        ds = dcmread(io.BytesIO(slide.instances(nuclei, sop_class)[0]), stop_before_pixels=True)
        text = ds.to_json(bulk_data_threshold=1 << 20)
        assert digest in text, sop_class
        assert "Triton" in text, sop_class
        assert nuclei["uid"] in text


def test_tissue_becomes_a_segmentation_with_areas(slide: Slide) -> None:
    analysis = slide.finished("tissue")
    assert analysis["state"] == "COMPLETED", analysis
    [numbers] = analysis["outputs"]["numbers"]
    assert 25 < numbers["area_percent"] < 60
    [segmentation] = slide.instances(analysis, SEG)
    seg = highdicom.seg.segread(io.BytesIO(segmentation))
    share = 100 * (seg.get_total_pixel_matrix(combine_segments=True) > 0).mean()
    assert share == pytest.approx(numbers["area_percent"], abs=1.5)


def test_the_overlay_shows_what_was_found(slide: Slide, nuclei: dict[str, Any]) -> None:
    url = f"{slide.service.url}/api/analyses/{nuclei['uid']}/overlay.png"
    picture = Image.open(io.BytesIO(httpx.get(url, params={"region": "900,900,500,400", "max_size": 500}).content))
    colours = np.asarray(picture.convert("RGB")).astype(int)
    green = (colours[..., 1] - colours[..., 0] > 80) & (colours[..., 1] - colours[..., 2] > 60)
    assert green.mean() > 0.02


def test_a_verdict_is_a_new_version_of_the_report(slide: Slide, nuclei: dict[str, Any]) -> None:
    url = f"{slide.service.url}/api/analyses/{nuclei['uid']}/verdict"
    assert httpx.get(url).json() is None
    order = {
        "verdict": "REJECTED",
        "person_name": "Wang^Xiao Dong=王^小东",
        "organisation": "医院",
        "comment": "pale nuclei missed",
    }
    assert httpx.post(url, json=order).status_code == 201
    assert httpx.get(url).json()["verdict"] == "REJECTED"
    assert httpx.post(url, json={**order, "verdict": "ACCEPTED"}).status_code == 201
    latest = httpx.get(url).json()
    assert (latest["verdict"], latest["person_name"]) == ("ACCEPTED", "Wang^Xiao Dong=王^小东")
    report = httpx.get(f"{slide.service.url}/api/analyses/{nuclei['uid']}/report.txt").text
    assert "Accepted" in report
    rows = httpx.get(
        f"{slide.service.dicomweb}/studies/{slide.study}/instances",
        params={"Modality": "SR", "includefield": "00080018"},
    ).json()
    first = next(each for each in nuclei["outputs"]["instances"] if each["sop_class_uid"] == SR)
    assert sum(row["0020000E"]["Value"] == [first["series_instance_uid"]] for row in rows) == 3


def test_the_same_idempotency_key_makes_one_analysis(slide: Slide) -> None:
    body = {"study_instance_uid": slide.study, "series_instance_uid": slide.series, "model": "tissue"}
    url, headers = f"{slide.service.url}/api/analyses", {"Idempotency-Key": "once"}
    uids = {httpx.post(url, json=body, headers=headers).json()["uid"] for _ in range(3)}
    assert len(uids) == 1
    other = httpx.post(url, json={**body, "model": "nuclei"}, headers=headers)
    assert (other.status_code, "another analysis" in other.text) == (409, True)
    assert wait_for(slide.service, uids.pop())["state"] == "COMPLETED"


def test_a_step_with_wrong_parameters_fails_and_is_listed_as_others_are(slide: Slide) -> None:
    def code(value: str, scheme: str) -> dict[str, Any]:
        values = {"00080100": value, "00080102": scheme, "00080104": value}
        return {"vr": "SQ", "Value": [{tag: {"vr": "SH", "Value": [text]} for tag, text in values.items()}]}

    series = {"0020000D": {"vr": "UI", "Value": [slide.study]}, "0020000E": {"vr": "UI", "Value": [slide.series]}}
    region = {
        "0040A040": {"vr": "CS", "Value": ["TEXT"]},
        "0040A043": code("region", "99DICOMSVC"),
        "0040A160": {"vr": "UT", "Value": ["-1,0,5,5"]},
    }
    step = {
        "00741000": {"vr": "CS", "Value": ["SCHEDULED"]},
        "00741204": {"vr": "LO", "Value": ["Count nuclei"]},
        "00404005": {"vr": "DT", "Value": ["20260102101112"]},
        "00404018": code("nuclei", "99DICOMSVC"),
        "00404021": {"vr": "SQ", "Value": [series]},
        "00741210": {"vr": "SQ", "Value": [region]},
    }
    headers = {"Content-Type": "application/dicom+json"}
    made = httpx.post(f"{slide.service.dicomweb}/workitems", json=[step], headers=headers)
    assert made.status_code == 201
    ended = wait_for(slide.service, made.headers["Location"].rpartition("/")[2])
    assert (ended["state"], ended["error_kind"], ended["regions"]) == ("CANCELED", "BadRequest", [])
    assert httpx.get(f"{slide.service.url}/api/analyses").status_code == 200


def test_a_model_that_is_disabled_ends_its_analyses(slide: Slide) -> None:
    before = stored(slide)
    running, waiting = (slide.order("nuclei").json()["uid"] for _ in range(2))
    deadline = time.monotonic() + 30
    while (
        httpx.get(f"{slide.service.url}/api/analyses/{running}").json()["progress"]["done"] == 0
        and time.monotonic() < deadline
    ):
        time.sleep(0.05)
    try:
        httpx.post(f"{slide.service.url}/api/models/nuclei/disable", timeout=60)
        ended = [wait_for(slide.service, uid, 30) for uid in (running, waiting)]
    finally:
        httpx.post(f"{slide.service.url}/api/models/nuclei/enable", timeout=60)
    assert (ended[1]["state"], ended[1]["error_kind"]) == ("CANCELED", "Conflict"), ended
    assert "disabled" in ended[1]["error"]
    # The one that ran may have been done before the word reached it.
    results = 0
    if ended[0]["state"] == "COMPLETED":
        results = len(ended[0]["outputs"]["instances"])
    else:
        assert ended[0]["error_kind"] == "Conflict"
    assert stored(slide) == before + results


def test_many_verdicts_at_once_are_all_recorded(slide: Slide, nuclei: dict[str, Any]) -> None:
    url = f"{slide.service.url}/api/analyses/{nuclei['uid']}/verdict"
    order = {"verdict": "ACCEPTED", "person_name": "Wang^Xiao Dong", "organisation": "Pathology"}
    assert httpx.post(url, json={**order, "comment": "a\0b"}).status_code == 400

    def judge(number: int) -> int:
        return httpx.post(url, json={**order, "comment": str(number)}, timeout=60).status_code

    # More than the process has connections to the database.
    with ThreadPoolExecutor(12) as pool:
        assert set(pool.map(judge, range(12))) == {201}


def test_many_large_pictures_at_once_neither_fill_memory_nor_keep_others_waiting(
    slide: Slide, nuclei: dict[str, Any]
) -> None:
    url = f"{slide.service.url}/api/analyses/{nuclei['uid']}/overlay.png?region=900,900,500,400&max_size=200"
    with ThreadPoolExecutor(24) as pool:
        statuses = set(pool.map(lambda _: httpx.get(url, timeout=60).status_code, range(24)))
    assert 200 in statuses
    assert statuses <= {200, 503}


def test_the_work_item_tells_input_and_output_as_a_procedure_step(slide: Slide, nuclei: dict[str, Any]) -> None:
    [item] = httpx.get(
        f"{slide.service.dicomweb}/workitems/{nuclei['uid']}", headers={"Accept": "application/dicom+json"}
    ).json()
    assert item["00741000"]["Value"] == ["COMPLETED"]
    [performed] = item["00741216"]["Value"]
    outputs = {series["0020000E"]["Value"][0] for series in performed["00404033"]["Value"]}
    assert outputs == {each["series_instance_uid"] for each in nuclei["outputs"]["instances"]}


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"model": "nothing"}, 404, "there is no model"),
        ({"model": "nuclei:7"}, 404, "has no version 7"),
        ({"model": "../nuclei"}, 400, "no model"),
        ({"series_instance_uid": "1.2.3"}, 404, "nothing is stored"),
        ({"regions": [{"x": -1, "y": 0, "width": 5, "height": 5}]}, 422, "greater than or equal to 0"),
        ({"unknown": 1}, 422, "not permitted"),
    ],
)
def test_a_wrong_order_is_refused_at_once(slide: Slide, change: dict[str, Any], status: int, words: str) -> None:
    body = {"study_instance_uid": slide.study, "series_instance_uid": slide.series, "model": "nuclei", **change}
    answer = httpx.post(f"{slide.service.url}/api/analyses", json=body)
    assert answer.status_code == status
    assert words in answer.text


def stored(slide: Slide) -> int:
    return len(httpx.get(f"{slide.service.dicomweb}/instances", params={"limit": 1000}).json())


def test_a_region_without_tissue_or_beyond_the_slide_fails_clearly_and_stores_nothing(slide: Slide) -> None:
    before = stored(slide)
    empty = slide.finished("nuclei", regions=[{"x": 20, "y": 20, "width": 200, "height": 200}])
    assert (empty["state"], empty["error_kind"]) == ("CANCELED", "UnfitSlide")
    assert "no tissue" in empty["error"]
    beyond = slide.finished("nuclei", regions=[{"x": 2000, "y": 0, "width": 500, "height": 200}])
    assert "beyond the slide" in beyond["error"]
    assert stored(slide) == before


def test_cancelling_stops_within_two_seconds_and_stores_nothing(slide: Slide) -> None:
    before = stored(slide)
    uid = slide.order("nuclei").json()["uid"]
    url = f"{slide.service.url}/api/analyses/{uid}"
    deadline = time.monotonic() + 30
    while httpx.get(url).json()["progress"]["total"] == 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    asked = time.monotonic()
    httpx.post(f"{url}/cancel")
    ended = wait_for(slide.service, uid, 10)
    assert ended["state"] == "CANCELED" and ended["error"] is None
    assert time.monotonic() - asked < 3
    assert stored(slide) == before
