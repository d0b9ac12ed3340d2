"""Regions under review, in a running service: scored at thresholds, changed by people, kept over restarts."""

import csv
import io
import json
import time
import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.conftest import RunningService, import_slide, start_service
from tests.integration.made_ihc import MadeField, made_field


def png(picture: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return stream.getvalue()


def picture_at(url: str, **query: object) -> np.ndarray:
    answer = httpx.get(url, params=query)
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))


@pytest.fixture(scope="module")
def field() -> MadeField:
    return made_field(3)


@pytest.fixture(scope="module")
def region(shared_service: RunningService, field: MadeField) -> str:
    """The URL of a region of a picture that was sent, which no test changes."""
    return new_region(shared_service, field)


def new_region(shared_service: RunningService, field: MadeField) -> str:
    answer = httpx.post(
        f"{shared_service.url}/api/ihc/pictures",
        params={"mpp": 0.5},
        files={"img": ("f.png", png(field.picture))},
        timeout=60,
    )
    assert answer.status_code == 201, answer.text
    return shared_service.url + answer.json()["url"]


def scored(region: str, **order: object) -> dict:
    answer = httpx.post(f"{region}/scoring", json=order)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_thresholds_are_answered_from_the_table(region: str, field: MadeField) -> None:
    scoring = scored(region)["scoring"]
    assert scoring["num_total"] == pytest.approx(len(field.centres), rel=0.05)
    assert scoring["percent_pos"] == pytest.approx(100 * field.positive.mean(), abs=5)
    assert sum(scoring["intensity"]["bins"].values()) == scoring["num_total"]
    assert scored(region, size_thresh=10_000)["scoring"]["num_total"] == 0
    everything = scored(region, marker_thresh=0, size_thresh=0)["scoring"]
    assert everything["num_pos"] > scoring["num_pos"]
    assert httpx.post(f"{region}/scoring", json={"prob_thresh": 300}).status_code == 400
    assert httpx.post(f"{region}/scoring", json={"nonsense": 1}).status_code == 422


def test_the_page_can_draw_what_the_service_counts(region: str) -> None:
    """A label and a value for each pixel, and a class for each cell, are enough to draw at any threshold."""
    answer = scored(region, classes=True)
    labels = picture_at(f"{region}/images/labels").astype(np.int64)
    number = labels[..., 0] + (labels[..., 1] << 8) + (labels[..., 2] << 16)
    classes = np.frombuffer(b"0" + answer["classes"].encode(), np.uint8) - ord("0")
    shown = np.where(picture_at(f"{region}/images/value") > 150, classes[number], 0)
    refined = picture_at(f"{region}/images/refined")
    inside = refined[..., 1] == 0
    assert ((refined[..., 0] == 255) == (shown == 2))[inside].all()
    assert ((refined[..., 2] == 255) == (shown == 1))[inside].all()
    assert (answer["classes"].count("2"), answer["classes"].count("1")) == (
        answer["scoring"]["num_pos"],
        answer["scoring"]["num_neg"],
    )


def test_people_remove_add_and_reclassify_cells(shared_service: RunningService, field: MadeField) -> None:
    region = new_region(shared_service, field)
    before = scored(region, geojson=True)
    cells = before["geojson"]["features"]
    assert len(cells) == before["scoring"]["num_total"]
    first = cells[0]["properties"]
    flipped = "negative" if first["class"] == "Positive" else "positive"
    change = httpx.patch(f"{region}/cells/{first['cell']}", json={"class": flipped}).json()
    assert (change["what"], change["cell"], change["who"]) == ("class", first["cell"], "local")
    second = cells[1]["properties"]["cell"]
    assert httpx.delete(f"{region}/cells/{second}").status_code == 200
    assert httpx.delete(f"{region}/cells/{second}").status_code == 404
    after = scored(region)["scoring"]
    assert after["num_total"] == before["scoring"]["num_total"] - 1
    assert (after["num_removed"], after["num_reclassified"], after["num_added"]) == (1, 1, 0)
    # A click where it was brings it back; one where a cell is, is refused.
    place = [cells[1]["properties"]["x"], cells[1]["properties"]["y"]]
    assert httpx.post(f"{region}/cells", json={"point": place}).json()["what"] == "restore"
    assert httpx.post(f"{region}/cells", json={"point": place}).status_code == 409
    # On bare tissue a click adds a circle, and an outline what it encloses.
    added = httpx.post(f"{region}/cells", json={"point": [2, 2], "class": "positive"}).json()
    outline = [[380, 380], [396, 380], [396, 396], [380, 396]]
    drawn = httpx.post(f"{region}/cells", json={"outline": outline, "class": "negative"}).json()
    assert drawn["cell"] == added["cell"] + 1
    assert httpx.post(f"{region}/cells", json={"point": [388, 388]}).status_code == 409
    final = scored(region, geojson=True)
    assert final["scoring"]["num_total"] == before["scoring"]["num_total"] + 2
    own = {each["properties"]["cell"]: each for each in final["geojson"]["features"]}[drawn["cell"]]
    assert own["properties"]["area_um2"] == pytest.approx(16 * 16 * 0.25)
    assert own["geometry"]["coordinates"][0][:4] == outline
    assert httpx.delete(f"{region}/cells/{drawn['cell']}").status_code == 200
    changes = httpx.get(f"{region}/edits").json()
    assert [change["what"] for change in changes] == ["class", "remove", "restore", "add", "add", "remove"]
    assert [change["edit"] for change in changes] == list(range(1, 7))
    assert all(change["at"] for change in changes)


@pytest.mark.parametrize(
    "order",
    [
        {},
        {"point": [-1, 5]},
        {"point": [400, 5]},
        {"outline": [[0, 0], [5, 5]]},
        {"outline": [[0, 0], [900, 0], [0, 9]]},
    ],
)
def test_cells_that_cannot_be_are_refused(region: str, order: dict) -> None:
    assert httpx.post(f"{region}/cells", json=order).status_code == 400
    assert httpx.get(f"{region}/edits").json() == []


def test_the_zip_holds_all_results_and_they_agree(region: str) -> None:
    answer = httpx.get(f"{region}/results.zip", params={"prob_thresh": 140})
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    assert {name for name in archive.namelist() if name.endswith(".png")} == {
        f"{name}.png" for name in ("Original", "Hema", "DAPI", "Lap2", "Marker", "Seg", "SegOverlaid", "SegRefined")
    }
    scoring = json.loads(archive.read("scoring.json"))
    rows = list(csv.DictReader(io.StringIO(archive.read("cells.csv").decode())))
    assert len(rows) == scoring["num_total"] == len(json.loads(archive.read("cells.geojson"))["features"])
    assert sum(row["class"] == "Positive" for row in rows) == scoring["num_pos"]
    assert scoring["prob_thresh"] == 140


def test_what_is_no_immunohistochemistry_is_refused(shared_service: RunningService) -> None:
    picture = np.zeros((300, 300, 3), np.uint8)
    answer = httpx.post(
        f"{shared_service.url}/api/ihc/pictures",
        params={"mpp": 0.5},
        files={"img": ("f.png", png(picture))},
        timeout=60,
    )
    assert answer.status_code == 409
    assert "not scored" in answer.json()["error"]
    answer = httpx.post(f"{shared_service.url}/api/infer", files={"img": ("f.png", png(picture))}, timeout=60)
    assert answer.status_code == 409


def test_regions_are_listed_and_deleted(shared_service: RunningService, field: MadeField) -> None:
    region = new_region(shared_service, field)
    listed = httpx.get(f"{shared_service.url}/api/ihc/regions").json()
    assert region.endswith(listed[0]["url"])
    assert httpx.delete(region).status_code == 204
    assert httpx.get(region).status_code == 404
    assert httpx.post(f"{region}/scoring", json={}).status_code == 404
    assert httpx.post(f"{region}/cells", json={"point": [1, 1]}).status_code == 404
    assert httpx.get(f"{shared_service.url}/api/ihc/regions/{'../' * 10}etc").status_code == 404


@pytest.fixture(scope="module")
def ihc_slide(
    shared_service: RunningService, field: MadeField, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, str]:
    """A stored slide of 0.5 um, three fields wide, as study and series."""
    path = tmp_path_factory.mktemp("slide") / "ihc.tif"
    Image.fromarray(np.tile(field.picture, (2, 3, 1))).save(path)
    return import_slide(shared_service, path, "--mpp", "0.5")


def test_a_part_of_a_stored_slide_is_scored_in_slide_pixels(
    shared_service: RunningService, ihc_slide: tuple[str, str], field: MadeField
) -> None:
    order = {"series_instance_uid": ihc_slide[1], "region": {"x": 400, "y": 400, "width": 800, "height": 400}}
    answer = httpx.post(f"{shared_service.url}/api/ihc/regions", json={**order, "marker": "ki67"}, timeout=60)
    assert answer.status_code == 201, answer.text
    found = scored(shared_service.url + answer.json()["url"], geojson=True)
    assert found["scoring"]["num_total"] == pytest.approx(2 * len(field.centres), rel=0.06)
    assert found["scoring"]["intensity"]["marker"] == "ki67"
    centres = np.array([[each["properties"]["x"], each["properties"]["y"]] for each in found["geojson"]["features"]])
    truth = np.concatenate([field.centres + np.array([400, 400]), field.centres + np.array([800, 400])])
    nearest = np.hypot(*(centres[:, None] - truth[None]).transpose(2, 0, 1)).min(axis=1)
    assert np.median(nearest) < 1.5
    assert httpx.post(f"{shared_service.url}/api/ihc/regions", json={**order, "marker": "no"}).status_code == 400
    beyond = {**order, "region": {"x": 9000, "y": 0, "width": 10, "height": 10}}
    assert httpx.post(f"{shared_service.url}/api/ihc/regions", json=beyond).status_code == 400
    unknown = {**order, "series_instance_uid": "1.2.3"}
    assert httpx.post(f"{shared_service.url}/api/ihc/regions", json=unknown).status_code == 404


def test_a_whole_slide_is_scored_at_other_limits_from_its_stored_annotations(
    shared_service: RunningService, ihc_slide: tuple[str, str], field: MadeField
) -> None:
    url = f"{shared_service.url}/api/ihc/slides/{ihc_slide[1]}/scoring"
    answer = httpx.get(url)
    assert answer.status_code == 404
    assert "POST /api/analyses" in answer.json()["error"]
    order = {"study_instance_uid": ihc_slide[0], "series_instance_uid": ihc_slide[1], "model": "ihc-classical"}
    analysis = httpx.post(f"{shared_service.url}/api/analyses", json=order).json()
    deadline = time.monotonic() + 300
    while analysis["state"] not in ("COMPLETED", "CANCELED"):
        assert time.monotonic() < deadline
        time.sleep(0.3)
        analysis = httpx.get(f"{shared_service.url}/api/analyses/{analysis['uid']}").json()
    assert analysis["state"] == "COMPLETED", analysis["error"]
    found = httpx.get(url).json()
    assert found["analysis"] == analysis["uid"]
    assert found["scoring"]["num_total"] == pytest.approx(6 * len(field.centres), rel=0.06)
    assert found["scoring"]["percent_pos"] == pytest.approx(100 * field.positive.mean(), abs=6)
    assert found["score"]["final"] is False
    fewer = httpx.get(url, params={"positive_threshold": 1}).json()["scoring"]
    assert fewer["num_pos"] < found["scoring"]["num_pos"]
    every = httpx.get(url, params={"marker_od": 0}).json()
    assert every["score"]["status"] == "refused", "all positive, on no more brown than before"
    large = httpx.get(url, params={"min_area_um2": 60}).json()["scoring"]
    assert 0 < large["num_total"] < found["scoring"]["num_total"]
    none = httpx.get(url, params={"min_area_um2": 5000}).json()
    assert none["score"]["status"] == "refused" and "scoring" not in none
    assert httpx.get(url, params={"prob_thresh": 100}).status_code == 409
    assert httpx.get(url, params={"marker": "none"}).status_code == 400


@pytest.mark.slow
def test_changes_outlive_a_kill(field: MadeField, folder: Path) -> None:
    data = folder / "data"
    running = start_service(data)
    try:
        made = httpx.post(
            f"{running.url}/api/ihc/pictures",
            params={"mpp": 0.5},
            files={"img": ("f.png", png(field.picture))},
            timeout=60,
        ).json()
        region = running.url + made["url"]
        before = scored(region)["scoring"]
        assert httpx.post(f"{region}/cells", json={"point": [2, 2], "class": "positive"}).status_code == 201
    finally:
        running.process.kill()
        running.process.wait(20)
    with (data / "ihc" / "regions" / made["id"] / "edits.jsonl").open("ab") as file:
        file.write(b'{"what": "remove", "ce')
    again = start_service(data)
    try:
        region = again.url + made["url"]
        after = scored(region)["scoring"]
        assert (after["num_total"], after["num_added"]) == (before["num_total"] + 1, 1)
        assert httpx.post(f"{region}/cells", json={"point": [398, 398]}).json()["edit"] == 2
        assert scored(region)["scoring"]["num_added"] == 2
    finally:
        again.process.terminate()
        again.process.wait(40)
