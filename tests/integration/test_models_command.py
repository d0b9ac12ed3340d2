"""Models from the command line and over HTTP, with and without a model server that runs."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select
from typer.testing import CliRunner

from dicomsvc.ai.catalogue.repository import Catalogue
from dicomsvc.ai.inference.triton import TritonBackend
from dicomsvc.ai.model_routes import model_routes
from dicomsvc.ai.triton.runtime import find_runtime
from dicomsvc.cli import app
from dicomsvc.config import Settings, TritonSettings
from dicomsvc.errors import ConfigurationError, Conflict, ModelFailure, NotFound
from dicomsvc.store import Store
from dicomsvc.store.tables import audit

MODELS = Path(__file__).parents[2] / "triton_models"


def told(*words: str) -> Any:
    """Run a command in this process and return what it prints."""
    done = CliRunner().invoke(app, [*words, "--json"])
    if done.exception is not None:
        raise done.exception
    return json.loads(done.stdout)


def glass(folder: Path, version: str = "1.0.0", number: int = 1) -> Path:
    """Make a further model by copying files alone."""
    target = folder / "glass"
    (target / str(number)).mkdir(parents=True)
    shutil.copy(MODELS / "tissue" / "1" / "model.onnx", target / str(number))
    config = (MODELS / "tissue" / "config.pbtxt").read_text(encoding="utf-8")
    (target / "config.pbtxt").write_text(config.replace('"tissue"', '"glass"'), encoding="utf-8")
    manifest = (MODELS / "tissue" / "model.toml").read_text(encoding="utf-8")
    (target / "model.toml").write_text(manifest.replace('"1.0.0"', f'"{version}"'), encoding="utf-8")
    return target


def test_models_are_added_listed_chosen_and_removed(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    assert {model["name"] for model in told("models", "list", *data)} >= {"nuclei", "tissue"}
    added = told("models", "add", str(glass(tmp_path)), *data)
    assert (added["name"], added["added"], added["enabled"]) == ("glass", True, True)
    assert added["effect"] == "no model server runs; it takes effect when one starts"
    assert told("models", "disable", "glass", *data)["enabled"] is False
    assert told("models", "enable", "glass:1", *data)["default_number"] == 1
    card = told("models", "show", "glass:1", *data)
    assert (card["name"], card["licence"], card["input"]["mpp"]) == ("glass", "Apache-2.0", 8.0)
    assert told("models", "remove", "glass", *data)["removed"] is True
    assert "glass" not in {model["name"] for model in told("models", "list", *data)}


def test_a_wrong_folder_is_told_with_its_line_and_status_1(tmp_path: Path) -> None:
    folder = glass(tmp_path)
    manifest = folder / "model.toml"
    text = manifest.read_text(encoding="utf-8")
    line = text[: text.index("mpp = 8.0")].count("\n") + 1
    manifest.write_text(text.replace("mpp = 8.0", "mpp = -1"), encoding="utf-8")
    command = [sys.executable, "-m", "dicomsvc", "models", "check", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"dicomsvc: {manifest}:{line}: input.mpp must be a number above 0\n"


def test_the_interface_tells_of_models_and_switches_them(store: Store) -> None:
    api = FastAPI()
    api.include_router(model_routes(store))
    client = TestClient(api)
    names = [model["name"] for model in client.get("/api/models").json()]
    assert names == sorted(names)
    card = client.get("/api/models/nuclei").json()
    assert card["versions"][0]["classes"][0]["type"]["value"] == "84640000"
    assert client.post("/api/models/nuclei/disable").json()["enabled"] is False
    with pytest.raises(Conflict):
        Catalogue(store.settings).find("nuclei")
    assert client.post("/api/models/nuclei/enable", json={"number": 1}).json()["enabled"] is True
    with store.engine.connect() as connection:
        rows = connection.execute(select(audit.c.action, audit.c.detail).order_by(audit.c.id)).all()
    assert [row.action for row in rows] == ["disable model", "enable model"]
    assert rows[-1].detail == {"model": "nuclei", "preferred": 1}
    assert client.get("/api/models/..%2Fx").status_code in (404, 422)
    assert client.get("/api/models/Nuclei").status_code == 422
    with pytest.raises(NotFound):
        client.get("/api/models/fog")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a data folder whose model server runs."""
    settings = Settings(data=tmp_path_factory.mktemp("served") / "data", triton=TritonSettings(instances=1))
    try:
        find_runtime(settings.triton)
    except ConfigurationError as error:
        pytest.skip(str(error))
    words = ("--data", str(settings.data))
    assert told("triton", "up", *words)["server"]
    yield settings
    assert told("triton", "down", *words)["stopped"]


def test_a_running_server_gets_new_models_and_versions_at_once(served: Settings, tmp_path: Path) -> None:
    data = ("--data", str(served.data))
    image = np.full((1, 512, 512, 3), (235, 170, 205), np.uint8)
    backend = TritonBackend(served)
    try:
        effect = told("models", "add", str(glass(tmp_path / "one")), *data)["effect"]
        assert effect == "the model server has loaded it"
        assert backend.infer("glass", 1, {"IMAGE": image}, ["TISSUE"])["TISSUE"][0, 256, 256, 0] == 255
        told("models", "add", str(glass(tmp_path / "two", "2.0.0", 2)), *data)
        for number in (1, 2):
            assert backend.infer("glass", number, {"IMAGE": image}, ["TISSUE"])["TISSUE"].shape == (1, 512, 512, 1)
        assert told("models", "disable", "glass", *data)["effect"] == "the model server has let it go"
        assert told("models", "remove", "glass", *data)["effect"] == "the model server has let it go"
    finally:
        backend.close()


def test_what_the_server_cannot_load_is_not_added(served: Settings, tmp_path: Path) -> None:
    folder = glass(tmp_path)
    (folder / "1" / "model.py").write_text("raise ImportError('broken')\n", encoding="utf-8")
    with pytest.raises(ModelFailure, match="it was not added"):
        told("models", "add", str(folder), "--trust-code", "--data", str(served.data))
    with pytest.raises(NotFound):
        Catalogue(served).get("glass")


def test_models_give_the_same_on_the_server_as_in_process(served: Settings) -> None:
    import onnxruntime

    image = np.random.default_rng(4).integers(0, 256, (2, 1024, 1024, 3), dtype=np.uint8)
    feeds = {"IMAGE": image, "STATISTICS": np.array([[0.2], [0.5]], np.float32)}
    backend = TritonBackend(served)
    try:
        served_mask = backend.infer("nuclei-classical", 1, feeds, ["MASK"])["MASK"]
    finally:
        backend.close()
    session = onnxruntime.InferenceSession(str(MODELS / "nuclei-classical" / "1" / "model.onnx"))
    [own] = session.run(["MASK"], feeds)
    assert np.abs(served_mask.astype(int) - own).max() <= 1
