"""A click gets the outline of what is under it, or the reason why there is none."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomsvc.ai.catalogue.card import manifest_document
from dicomsvc.ai.catalogue.manifest import OutputKind, Stain
from dicomsvc.ai.catalogue.reading import read_manifest
from dicomsvc.ai.clicks.answering import Clicker
from dicomsvc.ai.clicks.documents import answers_document, geojson_document
from dicomsvc.ai.clicks.ground import ground_of_picture, mirrored
from dicomsvc.ai.clicks.guides import guiding_maps
from dicomsvc.ai.clicks.points import MOST_POINTS, check_points, read_points
from dicomsvc.ai.clicks.redrawing import check_pair, redrawn_by
from dicomsvc.ai.clicks.service import picture_document
from dicomsvc.ai.clicks.things import Nothing
from dicomsvc.ai.decoding import decoder
from dicomsvc.ai.images import analyse_picture
from dicomsvc.ai.inference import InProcessBackend
from dicomsvc.errors import BadRequest, InvalidModel, ModelFailure, UnfitSlide
from tests.unit.ai.made_clicks import SIDE, click_model
from tests.unit.ai.made_models import made_manifest

DISK_UM2 = 197 / 4
"""Of OpenCV's disk of radius 8, at 0.5 um a pixel."""
PINK, DARK, WHITE = (230, 190, 220), (70, 40, 110), (250, 250, 250)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = click_model(tmp_path_factory.mktemp("models") / "made-clicks")
    return read_manifest(folder)[-1], InProcessBackend(folder.parent)


def tissue(*disks, size=200, radius=8):
    picture = np.full((size, size, 3), PINK, np.uint8)
    for place in disks:
        cv2.circle(picture, place, radius, DARK, -1)
    return picture


def answer(model, picture, points, mpp=0.5):
    return Clicker(*model, ground_of_picture(picture, mpp, model[0])).answer(np.array(points, np.float64))


def test_a_click_gets_the_outline_of_what_is_under_it(model):
    found = answer(model, tissue((60, 80), (90, 80)), [[63.5, 77.5]])
    assert found.things.tolist() == [0]
    assert found.nothing == (None,)
    assert found.instances.centroids[0] == pytest.approx([60.5, 80.5], abs=0.3)
    assert found.instances.measurements["area_um2"][0] == pytest.approx(DISK_UM2, rel=0.05)
    outline = found.instances.polygon(0)
    assert np.hypot(*(outline - [60.5, 80.5]).T) == pytest.approx(8.2, abs=0.9)
    assert found.instances.measurements["mean_hematoxylin_od"][0] > 0.3


def test_a_finer_picture_gets_the_same_outline_in_its_own_pixels(model):
    fine = cv2.resize(tissue((60, 80)), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    found = answer(model, fine, [[121, 161]], mpp=0.25)
    coarse = answer(model, tissue((60, 80)), [[60.5, 80.5]])
    assert found.instances.centroids[0] / 2 == pytest.approx(coarse.instances.centroids[0], abs=0.3)
    assert found.instances.measurements["area_um2"] == pytest.approx(
        coarse.instances.measurements["area_um2"], rel=0.03
    )


def test_where_there_is_nothing_the_reason_is_told(model):
    picture = tissue((60, 80), (150, 150))
    picture[:40, :40] = WHITE
    cv2.circle(picture, (120, 50), 1, DARK, -1)
    cv2.circle(picture, (150, 150), 28, DARK, -1)
    small = answer(model, picture, [[20, 20], [100.5, 100.5], [-3, 5], [5, 200], [120.5, 50.5], [150.5, 150.5]])
    assert small.things.tolist() == [-1] * 6
    assert small.nothing == (
        *(Nothing.GLASS, Nothing.NONE_SEEN, Nothing.OUTSIDE, Nothing.OUTSIDE, Nothing.SMALL, Nothing.LARGE),
    )
    assert len(small.instances) == 0


def test_two_clicks_on_one_thing_are_one_thing(model):
    found = answer(model, tissue((60, 80), (120, 80)), [[57.5, 80.5], [120.5, 80.5], [65.5, 80.5]])
    assert found.things[0] == found.things[2] != found.things[1]
    assert len(found.instances) == 2


def test_a_click_just_beside_a_thing_means_it(model):
    near, far = answer(model, tissue((60, 80)), [[60.5, 90.0], [60.5, 97.5]]).things.tolist()
    assert (near, far) == (0, -1)


def test_an_outline_ends_where_the_picture_does(model):
    picture = tissue((0, 80), (199, 199), size=200)
    found = answer(model, picture, [[1, 80], [198, 198]])
    assert found.things.tolist() == [0, 1]
    assert found.instances.outline.min() >= 0
    assert found.instances.outline.max() <= 200
    assert found.instances.measurements["area_um2"][0] == pytest.approx(DISK_UM2 / 2, rel=0.15)


def test_holes_are_filled(model):
    picture = tissue((60, 80))
    cv2.circle(picture, (60, 80), 3, PINK, -1)
    whole = answer(model, tissue((60, 80)), [[66.5, 80.5]]).instances
    ring = answer(model, picture, [[66.5, 80.5]]).instances
    assert ring.measurements["area_um2"] == pytest.approx(whole.measurements["area_um2"])


def test_a_picture_smaller_than_what_the_model_sees_is_mirrored_around(model):
    found = answer(model, tissue((10, 10), size=20, radius=4), [[10.5, 10.5]])
    assert found.things.tolist() == [0]
    assert found.instances.centroids[0] == pytest.approx([10.5, 10.5], abs=0.3)


def test_many_clicks_come_back_in_their_order(model):
    places = [(x, y) for y in range(20, 180, 40) for x in range(20, 180, 40)]
    points = np.array(places)[::-1] + 0.5
    found = answer(model, tissue(*places), points)
    assert sorted(found.things.tolist()) == list(range(16))
    assert found.instances.centroids[found.things] == pytest.approx(points, abs=0.4)


def test_coarse_pictures_and_models_of_other_kinds_are_refused(model):
    with pytest.raises(UnfitSlide, match="needs"):
        answer(model, tissue((60, 80)), [[60, 80]], mpp=2.0)
    other = made_manifest(OutputKind.INSTANCES)
    with pytest.raises(BadRequest, match="answers no clicks"):
        answer((other, model[1]), tissue((60, 80)), [[60, 80]])
    with pytest.raises(InvalidModel, match="answers clicks"):
        decoder(model[0])


def test_an_answer_of_another_shape_is_a_failure_of_the_model(model):
    wrong = replace(model[0], output=replace(model[0].output, stride=2))
    with pytest.raises(ModelFailure, match="has shape"):
        answer((wrong, model[1]), tissue((60, 80)), [[60, 80]])


def test_documents_say_which_click_found_what(model):
    manifest, backend = model
    picture = tissue((60, 80))
    picture[:40, :40] = WHITE
    document = picture_document(picture, 0.5, manifest, backend, np.array([[60.0, 80.0], [5, 5], [62, 80]]))
    assert [click["instance"] for click in document["clicks"]] == [0, None, 0]
    assert document["clicks"][1]["nothing"] == "glass"
    assert document["clicks"][0]["point"] == [60.0, 80.0]
    [thing] = document["instances"]
    assert thing["centroid"] == pytest.approx([60, 80], abs=0.3), "whole numbers are pixel centres"
    shown = json.loads(json.dumps(geojson_document(document, manifest)))
    [feature] = shown["features"]
    [ring] = feature["geometry"]["coordinates"]
    assert ring[0] == ring[-1]
    assert feature["properties"]["classification"] == {"name": "Blob", "color": [0, 176, 255]}
    assert feature["properties"]["clicks"] == [[60.0, 80.0], [62.0, 80.0]]
    assert [click["point"] for click in shown["nothing"]] == [[5.0, 5.0]]


def test_slides_count_pixels_from_their_corner(model):
    found = answer(model, tissue((60, 80)), [[60.5, 80.5]])
    document = answers_document(found, model[0], "somewhere")
    assert document["instances"][0]["centroid"] == pytest.approx([60.5, 80.5], abs=0.3)


def test_points_are_pairs_of_finite_numbers_and_not_too_many(tmp_path):
    assert check_points([[1, 2.5]]) == [(1, 2.5)]
    for wrong in (
        [],
        [[1]],
        [[1, 2, 3]],
        [["x", 1]],
        [[float("nan"), 1]],
        [[float("inf"), 1]],
        [[1, 1]] * (MOST_POINTS + 1),
    ):
        with pytest.raises(BadRequest, match="points"):
            check_points(wrong)
    file = tmp_path / "points.json"
    file.write_text("[[1, 2], [3, 4]]")
    assert read_points(file).tolist() == [[1, 2], [3, 4]]
    for text in ("{", "[[1e999, 1]]", " " * (1 << 21), "[]"):
        file.write_text(text)
        with pytest.raises(BadRequest, match="points"):
            read_points(file)


@given(st.integers(1, 40), st.integers(-200, 200))
def test_mirrored_places_lie_inside_and_inner_ones_stay(size, at):
    [place] = mirrored(np.array([at]), size)
    assert 0 <= place < size
    if 0 <= at < size:
        assert place == at


def test_guiding_maps_are_highest_at_the_clicks():
    maps = guiding_maps(32, np.array([[16.0, 16.0]]), np.array([[3.0, 30.0], [-2.0, 10.0], [400.0, 3.0]]), 2.0)
    assert maps.shape == (32, 32, 2)
    assert np.unravel_index(maps[:, :, 0].argmax(), (32, 32)) == (16, 16)
    assert maps[16, 16, 0] == maps[30, 3, 1] == 255
    assert 0 < maps[10, 0, 1] < 255, "what lies outside reaches in"
    assert maps[0, 31].tolist() == [0, 0]


def test_the_catalogue_checks_what_a_click_model_says(tmp_path, model):
    assert manifest_document(model[0])["input"]["guides"] == ["inclusion", "exclusion"]
    assert model[0].objects == ("ANN", "SR")
    folder = click_model(tmp_path / "made-clicks")
    right = (folder / "model.toml").read_text(encoding="utf-8")
    for old, new, said in (
        ('["inclusion", "exclusion"]', '["exclusion", "depth"]', "has \"?'?depth"),
        ('["inclusion", "exclusion"]', '["exclusion"]', 'must name "inclusion"'),
        ('["inclusion", "exclusion"]', '["inclusion"]', r"\[64, 64, 2\], but model.toml says UINT8 \[64, 64, 1\]"),
        ('kind = "clicks"', 'kind = "instances"', "guides are for clicks"),
        ('guides = ["inclusion", "exclusion"]\n', "", "guides"),
        ("guide_um = 1.0", "guide_um = 0", "guide_um must be a number above 0"),
        ("overlap = 0", 'overlap = 0\nsteps = [{ name = "macenko" }]', "steps are not for a model that answers clicks"),
        ("guide_um = 1.0", 'guides_tensor = "OTHER"', "names 'OTHER'"),
    ):
        assert old in right
        (folder / "model.toml").write_text(right.replace(old, new), encoding="utf-8")
        with pytest.raises(InvalidModel, match=said):
            read_manifest(folder)
    second = right[right.index("[[classes]]") :].replace("Blob", "Other")
    (folder / "model.toml").write_text(right + second, encoding="utf-8")
    with pytest.raises(InvalidModel, match="classes must be one"):
        read_manifest(folder)


class TooWide:
    """Two models on one backend: the click model, and one that sees all dark things too wide, and pale ones too."""

    description = "made"

    def __init__(self, clicks):
        self.clicks = clicks

    def infer(self, name, number, inputs, outputs):
        if name == self.clicks[0].name:
            return self.clicks[1].infer(name, number, inputs, outputs)
        disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
        wide = [cv2.erode(tile, disk).mean(axis=2, keepdims=True) < 200 for tile in inputs["IMAGE"]]
        return {"MASK": np.stack(wide).astype(np.float32)}

    def load(self, name): ...

    def close(self): ...


def test_a_click_model_draws_what_another_one_found(model):
    finding, backend = made_manifest(OutputKind.INSTANCES, tile_size=SIDE, overlap=16), TooWide(model)
    picture = tissue((60, 80), (62, 140), (0, 30))
    cv2.circle(picture, (150, 60), 8, (180, 170, 190), -1)
    wide = analyse_picture(picture, 0.5, finding, backend).instances
    drawn = analyse_picture(picture, 0.5, finding, backend, around=redrawn_by(model[0], backend)).instances
    assert len(drawn) == len(wide) == 4
    assert drawn.centroids == pytest.approx(wide.centroids)
    assert drawn.probability == pytest.approx(wide.probability)
    pale = int(np.argmin(np.hypot(*(wide.centroids - (150, 60)).T)))
    changed = np.arange(4) != pale
    areas, before = drawn.measurements["area_um2"], wide.measurements["area_um2"]
    assert areas[pale] == before[pale], "what the click model does not see stays as it was"
    assert (areas[changed] < 0.65 * before[changed]).all()
    assert areas[changed].max() == pytest.approx(DISK_UM2, rel=0.06)
    assert drawn.outline.min() >= 0


def test_a_click_model_draws_what_another_one_found_in_finer_pixels(model):
    finding = made_manifest(OutputKind.INSTANCES, mpp=0.25, tile_size=2 * SIDE, overlap=32)
    backend, places = TooWide(model), np.array([(60, 80), (62, 140), (121, 33)])
    fine = cv2.resize(tissue(*places.tolist()), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)[:399, :397]
    wide = analyse_picture(fine, 0.25, finding, backend).instances
    drawn = analyse_picture(fine, 0.25, finding, backend, around=redrawn_by(model[0], backend)).instances
    assert len(drawn) == len(wide) == 3
    assert (drawn.measurements["area_um2"] < 0.75 * wide.measurements["area_um2"]).all()
    assert drawn.measurements["area_um2"] == pytest.approx(DISK_UM2, rel=0.07)
    for row in range(3):
        middle = (drawn.polygon(row).min(axis=0) + drawn.polygon(row).max(axis=0)) / 2
        assert np.abs(2 * places + 1 - middle).max(axis=1).min() < 1


def test_models_that_do_not_go_together_are_refused(model):
    manifest = model[0]
    for finding, said in (
        (made_manifest(OutputKind.MAP), "only outlines of instances"),
        (made_manifest(OutputKind.INSTANCES, mpp=1.0), "at 1"),
        (made_manifest(OutputKind.INSTANCES, mpp=0.1), "at 0.1"),
        (made_manifest(OutputKind.INSTANCES, stain=Stain.IHC), "IHC"),
    ):
        with pytest.raises(BadRequest, match=said):
            check_pair(finding, manifest)
    with pytest.raises(BadRequest, match="answers no clicks"):
        check_pair(made_manifest(OutputKind.INSTANCES), made_manifest(OutputKind.INSTANCES))
