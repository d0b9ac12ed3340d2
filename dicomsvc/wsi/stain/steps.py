"""The steps by the names that a manifest uses, and several of them one after the other."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from dicomsvc.errors import InvalidModel
from dicomsvc.wsi.stain.colour import Deconvolution, Reinhard
from dicomsvc.wsi.stain.density import Pixels
from dicomsvc.wsi.stain.separation import Macenko, Vahadane
from dicomsvc.wsi.stain.step import Parameters, Step

STEPS: Final[Mapping[str, Step]] = MappingProxyType(
    {"macenko": Macenko(), "vahadane": Vahadane(), "reinhard": Reinhard(), "hed": Deconvolution()}
)
_PERCENTILES: Final = ("percentile", "outermost")


def complete_settings(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a step's settings with its defaults for what is not given.

    Raises
    ------
    InvalidModel
        When there is no such step or setting, or a value has another form than the default or is not above 0.
    """
    if name not in STEPS:
        raise InvalidModel(f"there is no step {name!r}; there are {', '.join(STEPS)}")
    defaults = STEPS[name].settings
    for key, value in settings.items():
        if key not in defaults:
            raise InvalidModel(f"step {name} has no setting {key!r}; it has {', '.join(defaults)}")
        try:
            given, default = np.asarray(value, np.float64), np.asarray(defaults[key], np.float64)
        except (TypeError, ValueError):
            raise InvalidModel(f"step {name}: {key} must hold numbers") from None
        if given.shape != default.shape or not np.isfinite(given).all():
            raise InvalidModel(f"step {name}: {key} must hold {default.size} number(s)")
        if given.ndim == 0 and given <= 0:
            raise InvalidModel(f"step {name}: {key} must be above 0")
        if key in _PERCENTILES and given >= 100:
            raise InvalidModel(f"step {name}: {key} must be below 100")
    return {**defaults, **settings}


def fit_steps(steps: Sequence[tuple[str, Mapping[str, Any]]], pixels: Pixels) -> tuple[Parameters, ...]:
    """Fit steps, given as name and settings, each to what the ones before it make of ``(n, 3)`` pixels of tissue.

    Returns the parameters of each, JSON, with its name as ``step``.

    Raises
    ------
    InvalidModel
        As `complete_settings`.
    """
    fitted: list[Parameters] = []
    for name, settings in steps:
        parameters = {"step": name, **STEPS[name].fit(pixels, complete_settings(name, settings))}
        fitted.append(parameters)
        pixels = STEPS[name].apply(pixels[None], parameters)[0]
    return tuple(fitted)


def apply_steps(tile: Pixels, parameters: Sequence[Parameters]) -> Pixels:
    """Return a tile ``(rows, columns, 3)`` after all steps; safe to use from several threads."""
    for each in parameters:
        tile = STEPS[each["step"]].apply(tile, each)
    return tile
