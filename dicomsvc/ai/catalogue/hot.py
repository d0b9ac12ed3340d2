"""Tells a running model server what has changed in the catalogue."""

from dicomsvc.ai.catalogue.repository import Catalogue
from dicomsvc.ai.inference.endpoint import find_endpoint
from dicomsvc.ai.triton.control import Control
from dicomsvc.config import Settings
from dicomsvc.errors import ServerUnavailable


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
            control.load(name)
            return "the model server has loaded it"
        control.unload(name)
        return "the model server has let it go"
    except ServerUnavailable as error:
        return f"the model server does not answer ({error}); it takes effect when it starts again"
    finally:
        control.close()
