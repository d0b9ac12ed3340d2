"""The catalogue in force: what comes along, what is added, what is enabled, what the server runs on."""

import hashlib
import shutil
import threading
from pathlib import Path

import pytest

from dicomsvc.ai.catalogue.reading import read_manifest
from dicomsvc.ai.catalogue.repository import Catalogue, parse_reference
from dicomsvc.ai.catalogue.runner import TEMPLATE
from dicomsvc.config import Settings, TritonSettings
from dicomsvc.errors import BadRequest, ConfigurationError, Conflict, InvalidModel, NotFound

MODELS = Path(__file__).parents[3] / "triton_models"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path / "data", triton=TritonSettings(instances=2))


@pytest.fixture
def catalogue(settings: Settings) -> Catalogue:
    return Catalogue(settings)


def new_model(folder: Path, name: str, version: str = "1.0.0", number: int = 1, source: str = "tissue") -> Path:
    """Make a further model of a known kind by copying files and changing words."""
    target = folder / name
    (target / str(number)).mkdir(parents=True)
    shutil.copy(MODELS / source / "1" / "model.onnx", target / str(number))
    config = (MODELS / source / "config.pbtxt").read_text(encoding="utf-8")
    (target / "config.pbtxt").write_text(config.replace(f'name: "{source}"', f'name: "{name}"'), encoding="utf-8")
    manifest = (MODELS / source / "model.toml").read_text(encoding="utf-8")
    (target / "model.toml").write_text(manifest.replace('"1.0.0"', f'"{version}"'), encoding="utf-8")
    return target


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_models_that_come_along_are_enabled_and_found(catalogue: Catalogue) -> None:
    assert [model.name for model in catalogue.models()] == sorted(
        path.parent.name for path in MODELS.glob("*/model.toml")
    )
    manifest = catalogue.find("nuclei")
    assert (manifest.name, manifest.number) == ("nuclei", 1)
    assert catalogue.find("nuclei:1") == manifest == catalogue.find("nuclei", 1)


def test_what_is_not_there_is_answered_with_what_there_is(catalogue: Catalogue) -> None:
    with pytest.raises(NotFound, match=r"there is no model fog; there are .*nuclei.*tissue"):
        catalogue.find("fog")
    with pytest.raises(NotFound, match="no version 7; it has 1"):
        catalogue.find("nuclei:7")


@pytest.mark.parametrize(
    "text", ["", "../x", "Nuclei", "nuclei:", "nuclei:0", "nuclei:-1", "nuclei:1:2", "a/b", "n" * 65]
)
def test_a_reference_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        parse_reference(text)


def test_a_new_model_of_a_known_kind_is_a_folder_and_no_python(catalogue: Catalogue, tmp_path: Path) -> None:
    folder = new_model(tmp_path, "glass")
    assert not list(folder.rglob("*.py"))
    model = catalogue.add(folder)
    assert (model.name, model.added, model.enabled) == ("glass", True, True)
    shutil.rmtree(folder)
    assert catalogue.find("glass").title == "Tissue against background"
    repository = catalogue.stage()
    assert (repository / "glass" / "1" / "model.py").read_bytes() == TEMPLATE.read_bytes()
    assert "glass" in catalogue.enabled()


def test_versions_lie_side_by_side_and_the_choice_is_kept(settings: Settings, tmp_path: Path) -> None:
    catalogue, other = Catalogue(settings), Catalogue(settings)
    catalogue.add(new_model(tmp_path / "one", "glass"))
    catalogue.add(new_model(tmp_path / "two", "glass", version="2.0.0", number=2))
    assert [each.version for each in other.get("glass").versions] == ["1.0.0", "2.0.0"]
    assert other.find("glass").number == 2
    assert other.find("glass:1").version == "1.0.0"
    catalogue.set_enabled("glass", True, 1)
    assert other.find("glass").number == 1
    staged = other.stage() / "glass"
    assert sorted(path.name for path in staged.iterdir()) == ["1", "2", "config.pbtxt"]
    assert [each.number for each in read_manifest_of_staged(staged, tmp_path)] == [1, 2]


def read_manifest_of_staged(staged: Path, tmp_path: Path) -> list[object]:
    """Read a staged folder with the added model's manifests put back."""
    copy = Path(shutil.copytree(staged, tmp_path / "read" / staged.name))
    for number in ("1", "2"):
        shutil.copy(tmp_path / "data" / "models" / staged.name / number / "model.toml", copy / number)
    config = copy / "config.pbtxt"
    text = config.read_text(encoding="utf-8")
    assert "all {" in text
    assert "count: 2" in text
    return list(read_manifest(copy))


def test_adding_twice_does_no_harm_and_changes_nothing(
    catalogue: Catalogue, tmp_path: Path, settings: Settings
) -> None:
    folder = new_model(tmp_path, "glass")
    catalogue.add(folder)
    before = files(settings.data / "models" / "glass")
    catalogue.add(folder)
    assert files(settings.data / "models" / "glass") == before


def test_a_version_is_never_replaced_by_another(catalogue: Catalogue, tmp_path: Path, settings: Settings) -> None:
    catalogue.add(new_model(tmp_path / "one", "glass"))
    before = files(settings.data / "models" / "glass")
    with pytest.raises(Conflict, match=r"glass:1 is there already and is another one \(1\.0\.0\)"):
        catalogue.add(new_model(tmp_path / "two", "glass", version="1.0.1"))
    with pytest.raises(Conflict, match=r"has version 1\.0\.0 already, as 1"):
        catalogue.add(new_model(tmp_path / "three", "glass", number=2))
    with pytest.raises(Conflict, match="other tensors"):
        catalogue.add(new_model(tmp_path / "four", "glass", version="3", number=3, source="nuclei-classical"))
    assert files(settings.data / "models" / "glass") == before
    assert not list((settings.data / "models").glob(".draft-*"))


def test_a_model_that_comes_along_is_neither_replaced_nor_removed(catalogue: Catalogue, tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="comes with dicomsvc; give the folder another name"):
        catalogue.add(new_model(tmp_path, "tissue", version="9"))
    with pytest.raises(Conflict, match="models disable tissue"):
        catalogue.remove("tissue")


def test_a_wrong_folder_leaves_nothing_behind(catalogue: Catalogue, tmp_path: Path, settings: Settings) -> None:
    folder = new_model(tmp_path, "glass")
    (folder / "model.toml").write_text("title = 3\n", encoding="utf-8")
    with pytest.raises(InvalidModel, match=r"model\.toml:1: "):
        catalogue.add(folder)
    assert [path.name for path in (settings.data / "models").iterdir()] == [".lock"]


def test_code_is_taken_only_when_it_is_ours_or_trusted(catalogue: Catalogue, tmp_path: Path) -> None:
    folder = new_model(tmp_path, "glass")
    shutil.copy(TEMPLATE, folder / "1" / "model.py")
    catalogue.add(folder)
    catalogue.remove("glass")
    (folder / "1" / "model.py").write_text("import os\n", encoding="utf-8")
    with pytest.raises(InvalidModel, match=r"brings a model\.py of its own"):
        catalogue.add(folder)
    catalogue.add(folder, trust_code=True)
    assert (catalogue.stage() / "glass" / "1" / "model.py").read_text(encoding="utf-8") == "import os\n"


def test_code_that_was_slipped_in_later_does_not_run(catalogue: Catalogue, tmp_path: Path, settings: Settings) -> None:
    catalogue.add(new_model(tmp_path, "glass"))
    (settings.data / "models" / "glass" / "1" / "model.py").write_text("import os\n", encoding="utf-8")
    assert (catalogue.stage() / "glass" / "1" / "model.py").read_bytes() == TEMPLATE.read_bytes()


def test_a_disabled_model_is_not_found_not_staged_and_comes_back(settings: Settings) -> None:
    catalogue, other = Catalogue(settings), Catalogue(settings)
    catalogue.stage()
    catalogue.set_enabled("tissue", False)
    with pytest.raises(Conflict, match="model tissue is disabled; `dicomsvc models enable tissue`"):
        other.find("tissue")
    assert "tissue" not in other.enabled()
    assert not (other.stage() / "tissue").exists()
    other.set_enabled("tissue", True)
    assert catalogue.find("tissue").number == 1
    assert (catalogue.stage() / "tissue" / "1" / "model.onnx").is_file()


def test_a_removed_model_is_forgotten(catalogue: Catalogue, tmp_path: Path, settings: Settings) -> None:
    folder = new_model(tmp_path, "glass")
    catalogue.add(folder)
    catalogue.set_enabled("glass", True, 1)
    catalogue.set_enabled("glass", False)
    catalogue.stage()
    catalogue.remove("glass")
    assert not (settings.data / "models" / "glass").exists()
    assert not (catalogue.stage() / "glass").exists()
    with pytest.raises(NotFound):
        catalogue.get("glass")
    assert catalogue.add(folder).enabled


def test_one_broken_model_does_not_take_the_others_with_it(settings: Settings, tmp_path: Path) -> None:
    catalogue = Catalogue(settings)
    catalogue.add(new_model(tmp_path, "glass"))
    weights = settings.data / "models" / "glass" / "1" / "model.onnx"
    weights.write_bytes(weights.read_bytes()[:100])
    model = catalogue.get("glass")
    assert model.problem is not None
    assert "weights_sha256 is not that of" in model.problem
    with pytest.raises(InvalidModel, match="weights_sha256"):
        catalogue.find("glass")
    assert "glass" not in catalogue.enabled()
    assert catalogue.find("nuclei").number == 1
    assert not (catalogue.stage() / "glass").exists()


def test_staging_touches_only_what_has_changed(catalogue: Catalogue) -> None:
    repository = catalogue.stage()
    before = {path: path.stat().st_mtime_ns for path in repository.rglob("*") if path.is_file()}
    (repository / "tissue" / "1" / "model.onnx").write_bytes(b"damaged")
    (repository / "stranger").mkdir()
    catalogue.stage()
    changed = {path.name for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert changed == {"model.onnx"}
    digest = hashlib.sha256((repository / "tissue" / "1" / "model.onnx").read_bytes()).hexdigest()
    assert digest == catalogue.find("tissue").weights_sha256
    assert not (repository / "stranger").exists()


def test_a_model_that_changed_on_disk_is_let_go_once_and_loaded_anew(settings: Settings, tmp_path: Path) -> None:
    models = Path(shutil.copytree(MODELS, tmp_path / "models"))
    keeper = Catalogue(Settings(data=settings.data, triton=TritonSettings(models=models)))
    keeper.stage()
    assert "tissue" in keeper.enabled()
    config = models / "tissue" / "config.pbtxt"
    config.write_text(config.read_text(encoding="utf-8").replace("max_batch_size: 16", "max_batch_size: 4"))
    shipped = sorted(folder.name for folder in MODELS.iterdir() if folder.is_dir())
    assert keeper.enabled() == [name for name in shipped if name != "tissue"]
    assert keeper.enabled() == shipped
    assert "max_batch_size: 4" in (keeper.stage() / "tissue" / "config.pbtxt").read_text(encoding="utf-8")
    assert keeper.enabled() == shipped


def test_a_damaged_state_is_told_and_not_guessed(catalogue: Catalogue, settings: Settings) -> None:
    catalogue.set_enabled("tissue", False)
    (settings.data / "models" / "catalogue.json").write_text('{"disabled": 3}', encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"catalogue\.json cannot be read"):
        catalogue.models()


def test_decisions_made_at_the_same_time_are_all_kept(settings: Settings, tmp_path: Path) -> None:
    names = [f"glass{number}" for number in range(6)]
    for name in names:
        Catalogue(settings).add(new_model(tmp_path, name))
    threads = [threading.Thread(target=Catalogue(settings).set_enabled, args=(name, False)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {model.name for model in Catalogue(settings).models() if not model.enabled} == set(names)
