"""Tells a running model server what has changed in the catalogue."""

import contextlib
from pathlib import Path

from dicomsvc.ai.catalogue.repository import Catalogue, Model
from dicomsvc.ai.inference.endpoint import find_endpoint
from dicomsvc.ai.triton.control import Control
from dicomsvc.config import Settings
from dicomsvc.errors import ModelFailure, NotFound, ServerUnavailable


def apply_change(settings: Settings, catalogue: Catalogue, name: str) -> str:
    """Have the server load, load anew or let go of a model, and return for people what happened.

    Raises
    ------
    ModelFailure
        When the server cannot load it.
    """
    if settings.triton.url is None:
        catalogue.stage()
    if settings.triton.in_process:
        return "models run in the worker, which opens them when they are called"
    try:
        control = Control(find_endpoint(settings.triton, settings.data))
    except ServerUnavailable:
        return "no model server runs; it takes effect when one starts"
    try:
        if any(model.name == name and model.enabled and model.problem is None for model in catalogue.models()):
            return _load(settings, control, name)
        with contextlib.suppress(ModelFailure):
            control.unload(name)
        return "the model server has let it go"
    except ServerUnavailable as error:
        return f"the model server does not answer ({error}); it takes effect when it starts again"
    finally:
        control.close()


def add_model(settings: Settings, catalogue: Catalogue, folder: Path, *, trust_code: bool = False) -> tuple[Model, str]:
    """Take in a model folder, and have the server load it; what it cannot load is taken out again.

    Raises
    ------
    InvalidModel, Conflict
        As for `Catalogue.add`.
    ModelFailure
        When the server cannot load it.
    """
    before = _numbers(catalogue, folder.resolve().name)
    model = catalogue.add(folder, trust_code=trust_code)
    try:
        return model, apply_change(settings, catalogue, model.name)
    except ModelFailure as error:
        fresh = {manifest.number for manifest in model.versions} - before
        catalogue.withdraw(model.name, fresh)
        with contextlib.suppress(ModelFailure):
            apply_change(settings, catalogue, model.name)
        raise ModelFailure(f"{error}; it was not added") from error


def _numbers(catalogue: Catalogue, name: str) -> set[int]:
    try:
        return {manifest.number for manifest in catalogue.get(name).versions}
    except NotFound:
        return set()


def _load(settings: Settings, control: Control, name: str) -> str:
    try:
        control.load(name)
    except ModelFailure as error:
        if settings.triton.url is None:
            raise
        return f"the server at {settings.triton.url} has not loaded it ({error}); its repository needs the folder too"
    return "the model server has loaded it"
