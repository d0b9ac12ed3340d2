"""``dicomsvc models``: which models there are; add, check, enable, disable, remove."""

from pathlib import Path
from typing import Annotated

import typer

from dicomsvc.ai.catalogue.adding import own_code
from dicomsvc.ai.catalogue.card import describe_manifest, describe_model, manifest_document, model_document
from dicomsvc.ai.catalogue.hot import apply_change
from dicomsvc.ai.catalogue.reading import read_manifest
from dicomsvc.ai.catalogue.repository import Catalogue, Model, parse_reference
from dicomsvc.cli.context import DataOption, settings_for
from dicomsvc.cli.output import JsonFlag, emit
from dicomsvc.config import Settings
from dicomsvc.errors import BadRequest

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
    settings = settings_for(data)
    catalogue = Catalogue(settings)
    _tell(settings, catalogue, catalogue.add(folder, trust_code=trust_code), as_json)


@models.command("list")
def list_models(data: DataOption = None, as_json: JsonFlag = False) -> None:
    """List all models."""
    found = Catalogue(settings_for(data)).models()
    text = "\n".join(map(describe_model, found)) or "no models"
    emit([model_document(model) for model in found], text, as_json=as_json)


@models.command()
def show(reference: ReferenceArgument, data: DataOption = None, as_json: JsonFlag = False) -> None:
    """Show what a model is for, what it wants, how well it was measured."""
    name, number = parse_reference(reference)
    manifest = Catalogue(settings_for(data)).get(name).version(number)
    document = {"name": manifest.name, **manifest_document(manifest)}
    emit(document, describe_manifest(manifest), as_json=as_json)


@models.command()
def check(folder: FolderArgument, as_json: JsonFlag = False) -> None:
    """Say what is wrong with a model folder, with file and line; nothing is changed."""
    manifests = read_manifest(folder)
    code = bool(own_code(folder))
    text = "\n".join(f"{each.name}:{each.number}  {each.title} {each.version}  is right" for each in manifests)
    if code:
        text += "\nit brings a model.py of its own, which runs only when it is added with --trust-code"
    document = {"name": manifests[0].name, "numbers": [each.number for each in manifests], "own_code": code}
    emit(document, text, as_json=as_json)


@models.command()
def enable(reference: ReferenceArgument, data: DataOption = None, as_json: JsonFlag = False) -> None:
    """Let a model be called; with a number, that version is the one taken when none is named."""
    settings = settings_for(data)
    catalogue = Catalogue(settings)
    name, number = parse_reference(reference)
    _tell(settings, catalogue, catalogue.set_enabled(name, True, number), as_json)


@models.command()
def disable(name: NameArgument, data: DataOption = None, as_json: JsonFlag = False) -> None:
    """Let a model no longer be called."""
    settings = settings_for(data)
    catalogue = Catalogue(settings)
    if parse_reference(name)[1] is not None:
        raise BadRequest("a model is disabled with all its versions; leave the number out")
    _tell(settings, catalogue, catalogue.set_enabled(name, False), as_json)


@models.command()
def remove(name: NameArgument, data: DataOption = None, as_json: JsonFlag = False) -> None:
    """Remove an added model with all its versions."""
    settings = settings_for(data)
    catalogue = Catalogue(settings)
    catalogue.remove(name)
    effect = apply_change(settings, catalogue, name)
    emit({"name": name, "removed": True, "effect": effect}, f"{name} is removed; {effect}", as_json=as_json)


def _tell(settings: Settings, catalogue: Catalogue, model: Model, as_json: bool) -> None:
    effect = apply_change(settings, catalogue, model.name)
    emit({**model_document(model), "effect": effect}, f"{describe_model(model)}\n{effect}", as_json=as_json)
