"""Annotators' files of three kinds are compared, and most of them write the consensus."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from dicomsvc.ai.agreement.files import Comparison
from dicomsvc.ai.agreement.kappa import Weights
from dicomsvc.cli import app
from dicomsvc.errors import BadRequest


def table(file, text):
    file.write_text("id,class\n" + text)
    return file


def geojson(file, *shapes):
    features = []
    for x, y, side, label in shapes:
        ring = [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]
        properties = {"classification": {"name": label}} if label else {}
        features.append(
            {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": properties}
        )
    file.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return file


def folder(path, places, side=10, classes=None, size=(60, 60)):
    """Squares with their corners at ``places``."""
    (path / "labels").mkdir(parents=True)
    labels, marked = np.zeros(size, np.uint16), np.zeros(size, np.uint8)
    for number, (row, column) in enumerate(places, 1):
        labels[row : row + side, column : column + side] = number * 3
        marked[row : row + side, column : column + side] = 1 if classes is None else classes[number - 1]
    Image.fromarray(labels).save(path / "labels" / "one.png")
    if classes is not None:
        (path / "classes").mkdir()
        Image.fromarray(marked).save(path / "classes" / "one.png")
    return path


def test_tables_of_classes_have_kappas_and_a_consensus(tmp_path):
    one = table(tmp_path / "a.csv", "1,G1\n2,G2\n3,G1\n4,\n5,G2\n")
    other = table(tmp_path / "b.csv", "1,G1\n2,G1\n3,G1\n4,G2\n5,G2\n")
    third = table(tmp_path / "c.csv", "1,G1\n2,G2\n3,G2\n4,G1\n")
    found = Comparison([one, other, third], tmp_path / "most.csv").run()
    assert found.units is not None
    assert (found.units.units, found.units.said) == (5, {"G1": 7, "G2": 6})
    # a and b: 1, 2, 3 and 5; same in 3 of 4; by chance (2 * 3 + 2 * 1) / 16 = 0.5.
    assert found.units.pairs[0].kappa.value == pytest.approx(0.5)
    assert (tmp_path / "most.csv").read_text().splitlines()[1:] == [
        "1,G1,3,3",
        "2,G2,2,3",
        "3,G1,2,3",
        "4,,1,2",
        "5,G2,2,2",
    ]


def test_grades_that_are_far_apart_count_more_when_weighted(tmp_path):
    one = table(tmp_path / "a.csv", "".join(f"{at},{at % 4}\n" for at in range(40)))
    near = table(tmp_path / "b.csv", "".join(f"{at},{min(at % 4 + (at < 8), 3)}\n" for at in range(40)))
    plain, squared = (Comparison([one, near], weights=each).run().units for each in (Weights.NONE, Weights.QUADRATIC))
    assert plain is not None
    assert squared is not None
    assert squared.pairs[0].kappa.value > plain.pairs[0].kappa.value > 0.7


def test_outlines_of_the_same_things_are_found_and_voted_on(tmp_path):
    files = [
        geojson(tmp_path / "a.geojson", (0, 0, 20, "tumor"), (100, 100, 20, "immune"), (300, 300, 20, "tumor")),
        geojson(tmp_path / "b.geojson", (1, 0, 20, "tumor"), (101, 101, 20, "tumor")),
        geojson(tmp_path / "c.geojson", (0, 1, 20, "tumor"), (100, 101, 20, "immune"), (0, 0, 400, "Region*")),
    ]
    found = Comparison(files, tmp_path / "most.geojson").run()
    assert found.things is not None
    assert found.things.drawn == {"a": 3, "b": 2, "c": 2}
    assert found.things.drawn_by == {1: 1, 3: 2}
    assert found.things.pairs[0].f1 == pytest.approx(4 / 5)
    assert found.things.classes is not None
    assert found.things.classes.said == {"immune": 2, "tumor": 4}
    features = json.loads((tmp_path / "most.geojson").read_text())["features"]
    assert [each["properties"]["classification"]["name"] for each in features] == ["tumor", "immune"]
    again = Comparison([*files[:1], tmp_path / "most.geojson"]).run()
    assert again.things is not None
    assert again.things.pairs[0].paired == 2
    assert again.things.pairs[0].mean_iou > 0.85


def test_folders_are_compared_by_pixels_and_things(tmp_path):
    folders = [
        folder(tmp_path / "a", [(5, 5), (30, 30)], classes=[1, 2]),
        folder(tmp_path / "b", [(5, 6), (30, 31)], classes=[1, 1]),
        folder(tmp_path / "c", [(6, 5)], classes=[1]),
    ]
    found = Comparison(folders, tmp_path / "most").run()
    assert found.pixels is not None
    assert found.things is not None
    assert (found.pictures, found.kept, found.things.drawn_by) == (1, 2, {2: 1, 3: 1})
    # a and b: 90 pixels of each square are shared; 3,380 are background for both.
    assert found.pixels.pairs[0].same == pytest.approx((3600 - 40 - 90) / 3600)
    assert found.things.pairs[0].dice == pytest.approx(0.9)
    labels = np.asarray(Image.open(tmp_path / "most" / "labels" / "one.png"))
    assert sorted(np.unique(labels)) == [0, 1, 2]
    assert labels[10, 10] == 1
    classes = np.asarray(Image.open(tmp_path / "most" / "classes" / "one.png"))
    # In the second square a says 2, b 1 and c nothing is there: undecided.
    assert (classes[10, 10], classes[35, 35], classes[0, 0]) == (1, 255, 0)


def test_a_picture_that_only_one_labelled_is_left_out(tmp_path):
    folders = [folder(tmp_path / "a", [(5, 5)]), folder(tmp_path / "b", [(5, 5)])]
    Image.fromarray(np.ones((8, 8), np.uint8)).save(tmp_path / "a" / "labels" / "alone.png")
    found = Comparison(folders).run()
    assert found.pictures == 1
    assert found.things is not None
    assert found.things.pairs[0].f1 == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: [table(root / "a.csv", "1,x\n")], "two annotators"),
        (lambda root: [table(root / "a.csv", "1,x\n"), geojson(root / "b.geojson")], "one kind"),
        (lambda root: [table(root / "a.csv", "1,x\n1,y\n"), table(root / "b.csv", "1,x\n")], "id twice"),
        (lambda root: [folder(root / "a", [(5, 5)]), folder(root / "b", [(5, 5)], size=(50, 60))], "differ in size"),
        (lambda root: [root / "nothing.csv", root / "nothing.csv"], "is no folder"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_a_reason(tmp_path, make, message):
    with pytest.raises(BadRequest, match=message):
        Comparison(make(tmp_path)).run()


def test_the_command_prints_json_without_nan_and_replaces_nothing(tmp_path):
    files = [str(table(tmp_path / f"{name}.csv", "1,x\n2,x\n")) for name in "ab"]
    done = CliRunner().invoke(app, ["agreement", *files, "--json"], catch_exceptions=False)
    document = json.loads(done.stdout)
    assert document["units"]["fleiss"]["value"] is None
    assert document["units"]["percent"]["value"] == 1
    said = CliRunner().invoke(app, ["agreement", *files], catch_exceptions=False).stdout
    assert "Fleiss' kappa undefined" in said
    with pytest.raises(BadRequest, match="replaces nothing"):
        CliRunner().invoke(app, ["agreement", *files, "--consensus", files[0]], catch_exceptions=False)
