"""Several models, and what other programs found, are measured at once and put into a page."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from dicomsvc.ai.training.suite import BEGIN, END, put_into
from dicomsvc.cli import app
from dicomsvc.errors import BadRequest

PERFECT = {"centroid": [24.5, 24.5], "contour": [[19.5, 19.5], [29.5, 19.5], [29.5, 29.5], [19.5, 29.5]]}


@pytest.fixture
def made(tmp_path):
    """One picture with a dark square, what a peer found in it, a suite and a page."""
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    labels = np.zeros((64, 64), np.uint8)
    labels[20:30, 20:30] = 1
    pixels = np.full((64, 64, 3), (235, 170, 200), np.uint8)
    pixels[labels > 0] = (80, 50, 120)
    Image.fromarray(pixels).save(tmp_path / "images" / "one.png")
    Image.fromarray(labels).save(tmp_path / "labels" / "one.png")
    line = {"image": "elsewhere/one.png", "instances": [PERFECT]}
    (tmp_path / "peer.jsonl").write_text(json.dumps(line) + "\n")
    (tmp_path / "suite.toml").write_text(
        'models = ["nuclei-classical"]\n'
        '[[set]]\nname = "made"\nfolder = "."\nmpp = 0.25\npredictions = { "a peer" = "peer.jsonl" }\n'
    )
    (tmp_path / "page.md").write_text(f"before\n{BEGIN}\nold figures\n{END}\nafter\n")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def test_the_table_goes_between_the_markers_and_the_rest_of_the_page_stays(made):
    page = made / "page.md"
    for _ in range(2):
        done = run("--suite", made / "suite.toml", "--table", page, "--data", made / "data")
        assert done.exit_code == 0, done.output
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n")
    assert "old figures" not in text and text.count("| `nuclei-classical ") == 2
    assert "| made: 1 pictures, 1 nuclei | `nuclei-classical" in text
    assert "| `a peer` | 1.00 | 1.00 | 1.000 (1.00-1.00) | 1.00 | 1.000" in text
    cost = next(line for line in text.splitlines() if line.startswith("| `nuclei-classical ") and line.endswith("MB |"))
    assert "0.25 um" in cost and float(cost.split("|")[3].split()[0]) > 0


def test_a_peer_is_measured_beside_models_and_alone(made):
    given = ["--folder", made, "--mpp", "0.25", "--predictions", f"a peer={made / 'peer.jsonl'}", "--json"]
    [found] = json.loads(run(*given).stdout)
    assert (found["model"], found["things"], found["measures"]["f1"]["value"]) == ("a peer", 1, 1)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"image": "two.png", "instances": []}', "says nothing of 1 pictures"),
        ('{"image": "one.png"}', "must have lines"),
        ("[", "must have lines"),
        ('{"image": "one.png", "instances": [{"contour": []}]}', "right centroid"),
        ('{"image": "one.png", "instances": [{"centroid": ["a", 1]}]}', "right centroid"),
    ],
)
def test_predictions_of_another_form_are_refused_with_the_reason(made, line, why):
    (made / "peer.jsonl").write_text(line)
    done = run("--folder", made, "--mpp", "0.25", "--predictions", f"a peer={made / 'peer.jsonl'}")
    assert isinstance(done.exception, BadRequest) and why in str(done.exception)


@pytest.mark.parametrize(
    ("text", "why"),
    [("=", "no TOML"), ("models = []", "models"), ('models = ["a"]\nset = [{ name = "b" }]', "set.0.folder")],
)
def test_a_wrong_suite_is_refused_with_the_reason(made, text, why):
    (made / "suite.toml").write_text(text)
    assert why in str(run("--suite", made / "suite.toml").exception)


@pytest.mark.parametrize(
    "given",
    [("nuclei",), ("--folder", "x", "--mpp", "1"), ("nuclei", "--suite", "x"), ("--suite", "x", "--folder", "y")],
)
def test_half_of_what_is_needed_is_refused(given):
    assert isinstance(run(*given).exception, BadRequest)


def test_a_page_without_markers_is_left_as_it_is(tmp_path):
    (tmp_path / "page.md").write_text("text")
    with pytest.raises(BadRequest, match="once"):
        put_into(tmp_path / "page.md", "table")
    assert (tmp_path / "page.md").read_text() == "text"
