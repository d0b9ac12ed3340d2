"""``dicomsvc models``: which models there are; add, check, enable, disable, remove."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicomsvc.cli.context import DataOption, settings_for
from dicomsvc.cli.output import JsonFlag, emit
from dicomsvc.config import Settings
from dicomsvc.errors import BadRequest

if TYPE_CHECKING:
    from dicomsvc.ai.catalogue.repository import Catalogue, Model

models = typer.Typer(help="Models: what there is, what is enabled, new ones.", no_args_is_help=True)
FolderArgument = Annotated[Path, typer.Argument(help="Model folder: config.pbtxt, model.toml, 1/model.onnx")]
NameArgument = Annotated[str, typer.Argument(help="Name of the model")]
ReferenceArgument = Annotated[str, typer.Argument(help="NAME, or NAME:NUMBER for one version")]


@models.command()
def add(
    folder: FolderArgument,
    trust_code: Annotated[
        bool, typer.Option("--trust-code", help="Run the folder's own model.py on the model server.")
    ] = False,
    data: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Check a model folder, copy it into the data folder, enable it."""
    from dicomsvc.ai.catalogue.hot import add_model

    settings, catalogue = _open(data)
    model, effect = add_model(settings, catalogue, folder, trust_code=trust_code)
    _print(model, effect, as_json)


@models.command("list")
def list_models(data: DataOption = None, as_json: JsonFlag = False) -> None:
    """List all models."""
    from dicomsvc.ai.catalogue.card import describe_model, model_document

    found = _open(data)[1].models()
    text = "\n".join(map(describe_model, found)) or "no models"
    emit([model_document(model) for model in found], text, as_json=as_json)


@models.command()
def show(reference: ReferenceArgument, data: DataOption = None, as_json: JsonFlag = False) -> None:
    """Show what a model is for, what it wants, how well it was measured."""
    from dicomsvc.ai.catalogue.card import describe_manifest, manifest_document

    name, number = _parse(reference)
    manifest = _open(data)[1].get(name).version(number)
    emit({"name": manifest.name, **manifest_document(manifest)}, describe_manifest(manifest), as_json=as_json)


@models.command()
def check(folder: FolderArgument, as_json: JsonFlag = False) -> None:
    """Say what is wrong with a model folder, with file and line; nothing is changed."""
    from dicomsvc.ai.catalogue.adding import own_code
    from dicomsvc.ai.catalogue.reading import read_manifest

    manifests = read_manifest(folder)
    code = bool(own_code(folder))
    text = "\n".join(f"{each.name}:{each.number}  {each.title} {each.version}  is right" for each in manifests)
    if code:
        text += "\nit brings a model.py of its own, which runs only when it is added with --trust-code"
    document = {"name": manifests[0].name, "numbers": [each.number for each in manifests], "own_code": code}
    emit(document, text, as_json=as_json)


@models.command()
def keys(as_json: JsonFlag = False) -> None:
    """Show what a model.toml may name: tensors and settings of each kind of output, statistics, steps."""
    from dicomsvc.ai.catalogue.reference import describe_reference, reference_document

    emit(reference_document(), describe_reference(), as_json=as_json)


@models.command()
def enable(reference: ReferenceArgument, data: DataOption = None, as_json: JsonFlag = False) -> None:
    """Let a model be called; with a number, that version is the one taken when none is named."""
    settings, catalogue = _open(data)
    name, number = _parse(reference)
    _tell(settings, catalogue, catalogue.set_enabled(name, True, number), as_json)


@models.command()
def disable(name: NameArgument, data: DataOption = None, as_json: JsonFlag = False) -> None:
    """Let a model no longer be called."""
    settings, catalogue = _open(data)
    if _parse(name)[1] is not None:
        raise BadRequest("a model is disabled with all its versions; leave the number out")
    _tell(settings, catalogue, catalogue.set_enabled(name, False), as_json)


@models.command()
def remove(name: NameArgument, data: DataOption = None, as_json: JsonFlag = False) -> None:
    """Remove an added model with all its versions."""
    from dicomsvc.ai.catalogue.hot import apply_change

    settings, catalogue = _open(data)
    catalogue.remove(name)
    effect = apply_change(settings, catalogue, name)
    emit({"name": name, "removed": True, "effect": effect}, f"{name} is removed; {effect}", as_json=as_json)


def _open(data: Path | None) -> "tuple[Settings, Catalogue]":
    from dicomsvc.ai.catalogue.repository import Catalogue

    settings = settings_for(data)
    return settings, Catalogue(settings)


def _parse(reference: str) -> tuple[str, int | None]:
    from dicomsvc.ai.catalogue.repository import parse_reference

    return parse_reference(reference)


def _tell(settings: Settings, catalogue: "Catalogue", model: "Model", as_json: bool) -> None:
    from dicomsvc.ai.catalogue.hot import apply_change

    _print(model, apply_change(settings, catalogue, model.name), as_json)


def _print(model: "Model", effect: str, as_json: bool) -> None:
    from dicomsvc.ai.catalogue.card import describe_model, model_document

    emit({**model_document(model), "effect": effect}, f"{describe_model(model)}\n{effect}", as_json=as_json)
