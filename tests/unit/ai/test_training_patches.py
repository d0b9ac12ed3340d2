"""Patches come from tables, folders and outlines; what is held out shares no patient and no place with the rest."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dicomsvc.ai.decoding.smoothing import without_single_cells
from dicomsvc.ai.training.intervals import figure
from dicomsvc.ai.training.patches import scores
from dicomsvc.ai.training.patches.description import manifest_text
from dicomsvc.ai.training.patches.pixels import read_patches
from dicomsvc.ai.training.patches.recipe import Recipe
from dicomsvc.ai.training.patches.scores import Answers
from dicomsvc.ai.training.patches.sources import find_patches, limited
from dicomsvc.ai.training.patches.splitting import Part, split
from dicomsvc.ai.training.recipe import parse_recipe
from dicomsvc.errors import BadRequest

CLASSES = [{"label": "Pink", "names": ["P"]}, {"label": "Glass", "names": ["G"], "background": True}]


def recipe_of(root: Path, source: list[dict], **keys) -> Recipe:
    document = {"mpp": 1.0, "side": 64, "class": CLASSES, "source": source, **keys}
    return parse_recipe(Recipe, document, root / "recipe.toml")


def half_pink(root: Path, columns: int = 1000, rows: int = 800) -> Path:
    pixels = np.full((rows, columns, 3), 250, np.uint8)
    pixels[:, : columns // 2] = (220, 120, 160)
    Image.fromarray(pixels).save(root / "slide.png")
    return root / "slide.png"


@pytest.fixture
def table(tmp_path):
    half_pink(tmp_path)
    with (tmp_path / "patches.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["x", "y", "size", "class", "prob"])
        for y in range(0, 800, 40):
            for x in range(0, 1000, 40):
                rows.writerow([x, y, 40, "P" if x < 500 else "G", 0.9 if y else 0.3])
    return recipe_of(tmp_path, [{"slide": "slide.png", "table": "patches.csv", "mpp": 1.0}], block_um=200, gap_um=30)


def test_a_table_gives_patches_with_the_background_as_class_0(table):
    patches = find_patches(table)
    assert len(patches) == 500
    first = patches[0]
    assert (first.x, first.y, first.label, first.group) == (20, 20, 1, "slide")
    assert len(find_patches(table.model_copy(update={"least_probability": 0.5}))) == 475


def test_parts_of_one_slide_lie_apart_by_the_gap(table):
    parts = split(find_patches(table), table)
    assert all(parts[part] for part in Part)
    apart = min(
        max(abs(one.x - other.x), abs(one.y - other.y)) for one in parts[Part.TEST] for other in parts[Part.TRAINING]
    )
    assert apart >= table.side + table.gap_um


def test_patches_of_a_patient_stay_together(tmp_path):
    for name in ("P", "G"):
        (tmp_path / "all" / name).mkdir(parents=True)
    with (tmp_path / "all" / "groups.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "group"])
        for number in range(24):
            name = f"{number}.png"
            Image.new("RGB", (64, 64), (200, number, 100)).save(tmp_path / "all" / "PG"[number % 2] / name)
            rows.writerow([name, f"patient {number // 4}"])
    recipe = recipe_of(tmp_path, [{"folder": "all", "mpp": 1.0}])
    parts = split(find_patches(recipe), recipe)
    groups = {part: {each.group for each in found} for part, found in parts.items()}
    assert all(groups[part] for part in Part)
    assert not groups[Part.TEST] & groups[Part.TRAINING]
    assert not groups[Part.VALIDATION] & (groups[Part.TEST] | groups[Part.TRAINING])
    assert sum(map(len, parts.values())) == 24
    pixels = read_patches(parts[Part.TRAINING], 64, 1.0)
    assert [tuple(each[0, 0]) for each in pixels] == [(200, int(each.file.stem), 100) for each in parts[Part.TRAINING]]


def test_outlines_give_patches_that_lie_in_them(tmp_path):
    half_pink(tmp_path)

    def feature(name, left, top, right, bottom):
        ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
        properties = {"classification": {"name": name}}
        return {"type": "Feature", "properties": properties, "geometry": {"type": "Polygon", "coordinates": [ring]}}

    features = [feature("P", 10, 10, 450, 700), feature("G", 550, 100, 900, 700), feature("Ignore*", 0, 0, 90, 90)]
    (tmp_path / "drawn.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    recipe = recipe_of(tmp_path, [{"slide": "slide.png", "outlines": "drawn.geojson", "mpp": 0.5}], mpp=1.0)
    patches = find_patches(recipe)
    assert {each.label for each in patches} == {0, 1}
    means = read_patches(patches, 64, 1.0).mean(axis=(1, 2))
    for patch, mean in zip(patches, means, strict=True):
        assert abs(mean - ((220, 120, 160) if patch.label else (250, 250, 250))).max() < 1


def test_beyond_the_edge_a_slide_is_mirrored(table):
    corner = find_patches(table)[0]
    [pixels] = read_patches([corner], 64, 1.0)
    assert (pixels == (220, 120, 160)).all()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"source": [{"mpp": 1.0, "table": "x.csv"}]}, "needs a slide"),
        ({"class": [{"label": "A"}, {"label": "a"}]}, "same name"),
        ({"core": 33}, "even number"),
        ({"validation_share": 0.5, "test_share": 0.5}, "nothing is left"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(tmp_path, change, problem):
    with pytest.raises(BadRequest, match=problem):
        recipe_of(tmp_path, **({"source": [{"mpp": 1.0, "folder": "x"}]} | change))


def test_a_class_without_patches_and_a_table_that_is_none_are_refused(tmp_path):
    half_pink(tmp_path)
    source = [{"slide": "slide.png", "table": "patches.csv", "mpp": 1.0}]
    for text, problem in (
        ("x,y,size,class\n0,0,9,P\n", "Glass"),
        ("a,b\n1,2\n", "columns"),
        ("x,y,size,class\na,0,1,P\n", "no table"),
    ):
        (tmp_path / "patches.csv").write_text(text)
        with pytest.raises(BadRequest, match=problem):
            find_patches(recipe_of(tmp_path, source))


def test_the_manifest_leaves_the_background_out_and_keeps_texts_whole(table):
    text = manifest_text(table.model_copy(update={"title": 'A "quoted" title', "core": 32}))
    assert text.count("[[classes]]") == 1
    assert 'title = "A \\"quoted\\" title"' in text
    assert "overlap = 16" in text


def test_most_of_a_class_is_a_limit(table):
    kept = limited(find_patches(table), 30, 1)
    assert [sum(each.label == label for each in kept) for label in (0, 1)] == [30, 30]


def answers(known, answered, sure=0.8):
    probability = np.full((len(known), 3), (1 - sure) / 2)
    probability[np.arange(len(known)), answered] = sure
    return Answers(np.array(known), probability)


def test_scores_are_those_of_a_worked_example():
    parts = [answers([0, 0, 1, 1], [0, 1, 1, 1]), answers([2, 2], [2, 0])]
    assert scores.confusion(parts).tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 1]]
    assert scores.accuracy(parts) == pytest.approx(4 / 6)
    assert scores.balanced_accuracy(parts) == pytest.approx((0.5 + 1 + 0.5) / 3)
    assert scores.f1(parts, 1) == pytest.approx(0.8)
    assert scores.kappa(parts) == pytest.approx(0.5)
    assert scores.calibration_error(parts) == pytest.approx(0.8 - 4 / 6)
    assert np.isnan(scores.f1([answers([0], [0])], 2))


def test_an_interval_holds_its_value_and_shrinks_with_parts():
    few = figure([0.0, 1.0, 0.0, 1.0], np.mean)
    many = figure([0.0, 1.0] * 100, np.mean)
    assert few.low < few.value == 0.5 < few.high
    assert many.high - many.low < 0.5 * (few.high - few.low)
    assert figure([0.3], np.mean)[:3] == (0.3, 0.3, 0.3)


def test_a_single_cell_takes_its_neighbours_class_and_an_edge_stays():
    plane = np.ones((7, 9), np.uint8)
    plane[:, 5:] = 2
    plane[3, 2] = 3
    plane[0, 8] = 0
    smoothed = without_single_cells(plane)
    assert smoothed[3, 2] == 1
    plane[3, 2] = 1
    assert np.array_equal(smoothed, plane)
