"""Normalisation of two stains: Macenko et al. 2009 and Vahadane et al. 2016.

Both find the slide's own two stain vectors ``S`` and the amounts ``C`` in each pixel, and paint the same amounts,
scaled so that their 99th percentiles are the reference's, with the reference's vectors:
``I' = I0 exp(-C (m_ref / m) S_ref)``. They differ in how they find ``S`` and ``C``. What neither stain explains is left
out, as in both papers.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dicomsvc.wsi import raster
from dicomsvc.wsi.stain.density import GLASS, Floats, Pixels, density, intensity, unit, unmix
from dicomsvc.wsi.stain.step import FEWEST_PIXELS, Parameters, identity

Stains = npt.NDArray[np.float64]

# Hematoxylin and eosin of the reference that Macenko et al. published with their method, in natural density.
REFERENCE_STAINS: Final = ((0.5626, 0.7201, 0.4062), (0.2159, 0.8012, 0.5581))
REFERENCE_MAXIMUM: Final = (1.9705, 1.0308)
_COMMON: Final = {
    "reference_stains": REFERENCE_STAINS,
    "reference_maximum": REFERENCE_MAXIMUM,
    "glass": GLASS,
    "lowest_density": 0.25,
    "percentile": 99.0,
}
_NEAREST_DEGREES: Final = 3.0
_FLATTEST: Final = 1e-6
_ITERATIONS: Final = 60


class Macenko:
    """Stain vectors are the outermost directions in the plane of the two greatest variances of optical density.

    Of the densities longer than ``lowest_density``, the angles in that plane; their 1st and 99th percentiles
    (``outermost`` and its opposite) are the stains. Amounts by least squares.
    """

    settings: Mapping[str, Any] = MappingProxyType({**_COMMON, "outermost": 1.0})

    def fit(self, pixels: Pixels, settings: Mapping[str, Any]) -> Parameters:
        stained = _stained(pixels, settings)
        if len(stained) < FEWEST_PIXELS:
            return identity("too little stain")
        stains = _outermost_directions(stained, float(settings["outermost"]))
        return _fitted(stains, lambda found: np.clip(unmix(stained, found), 0, None), settings)

    def apply(self, tile: Pixels, parameters: Parameters) -> Pixels:
        if "identity" in parameters:
            return tile
        stains = np.asarray(parameters["stains"])
        amounts = np.clip(unmix(density(tile, parameters["glass"]), stains), 0, None)
        return _painted(tile, amounts, parameters)


class Vahadane:
    """Stain vectors and amounts by sparse non-negative factorisation.

    Minimises ``|D - C S|^2 / 2 + sparsity * sum(C)`` over ``C >= 0`` and rows of ``S >= 0`` of length 1, in turns: the
    amounts in closed form (there are but two), the stains by one pass of coordinate descent. Starts from Ruifrok &
    Johnston's vectors and takes no random step, so the same pixels give the same stains. The sparsity serves to find
    the stains; pixels are painted with amounts found without it, since it takes a little of every stain away and so
    would make a slide paler than its own reference.
    """

    settings: Mapping[str, Any] = MappingProxyType({**_COMMON, "sparsity": 0.1})

    def fit(self, pixels: Pixels, settings: Mapping[str, Any]) -> Parameters:
        stained = _stained(pixels, settings)
        if len(stained) < FEWEST_PIXELS:
            return identity("too little stain")
        sparsity = float(settings["sparsity"])
        stains = _factorised(stained, sparsity)
        return _fitted(stains, lambda found: sparse_amounts(stained, found, 0.0), settings)

    def apply(self, tile: Pixels, parameters: Parameters) -> Pixels:
        if "identity" in parameters:
            return tile
        stains = np.asarray(parameters["stains"])
        amounts = sparse_amounts(density(tile, parameters["glass"]), stains, 0.0)
        return _painted(tile, amounts, parameters)


def sparse_amounts(densities: Floats, stains: Stains, sparsity: float) -> Floats:
    """Return the amounts ``(n, 2)`` that minimise ``|D - C S|^2 / 2 + sparsity * sum(C)`` with ``C >= 0``, exactly.

    Stain vectors are not negative, so the minimum without the bound tells which amounts are 0: those below 0 there.
    """
    pull = raster.mixed(densities, stains.T) - np.float32(sparsity)
    common = np.float32(stains[0] @ stains[1])
    share = np.float32(1 / max(1 - float(common) ** 2, 1e-6))
    first = (pull[:, 0] - common * pull[:, 1]) * share
    second = (pull[:, 1] - common * pull[:, 0]) * share
    amounts = np.empty_like(pull)
    amounts[:, 0] = np.where(second < 0, pull[:, 0], first)
    amounts[:, 1] = np.where(first < 0, pull[:, 1], second)
    return np.clip(amounts, 0, None, out=amounts)


def _stained(pixels: Pixels, settings: Mapping[str, Any]) -> Floats:
    densities = density(pixels, float(settings["glass"]))
    chosen: Floats = densities[np.linalg.norm(densities, axis=1) > float(settings["lowest_density"])]
    return chosen


def _outermost_directions(stained: Floats, percentile: float) -> Stains | None:
    values, vectors = np.linalg.eigh(np.cov(stained.T.astype(np.float64)))
    if values[1] < _FLATTEST:
        return None
    plane = vectors[:, [2, 1]]
    # Eigenvectors have no sign of their own; stains have no negative density.
    plane = plane * np.where(plane.sum(axis=0) < 0, -1.0, 1.0)
    across = stained @ plane
    angles = np.arctan2(across[:, 1], across[:, 0])
    ends = np.percentile(angles, [percentile, 100 - percentile])
    directions: Stains = np.stack([np.cos(ends), np.sin(ends)], axis=1) @ plane.T
    return directions


def _factorised(stained: Floats, sparsity: float) -> Stains:
    stains = unit(np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]]))
    exact = stained.astype(np.float64)
    for _ in range(_ITERATIONS):
        before = stains.copy()
        amounts = sparse_amounts(stained, stains, sparsity).astype(np.float64)
        squares, pulls = amounts.T @ amounts, amounts.T @ exact
        for row in range(2):
            if squares[row, row] > 0:
                moved = stains[row] + (pulls[row] - squares[row] @ stains) / squares[row, row]
                stains[row] = unit(np.clip(moved, 0, None)[None])[0]
        if np.abs(stains - before).max() < 1e-5:
            break
    return stains


def _fitted(stains: Stains | None, amounts_for: Callable[[Stains], Floats], settings: Mapping[str, Any]) -> Parameters:
    """Order the stains, hematoxylin (which takes more red) first, and measure them; identity when they are none."""
    if stains is None or not np.isfinite(stains).all():
        return identity("one colour only")
    stains = unit(np.clip(stains, 0, None))
    stains = stains[np.argsort(-stains[:, 0], kind="stable")]
    if np.degrees(np.arccos(np.clip(stains[0] @ stains[1], -1, 1))) < _NEAREST_DEGREES:
        return identity("one stain only")
    maximum = np.percentile(amounts_for(stains), float(settings["percentile"]), axis=0)
    if not (np.isfinite(maximum).all() and (maximum > 1e-3).all()):
        return identity("one stain only")
    reference = unit(np.asarray(settings["reference_stains"]))
    return {
        "stains": stains.round(6).tolist(),
        "maximum": maximum.astype(np.float64).round(6).tolist(),
        "reference_stains": reference.round(6).tolist(),
        "reference_maximum": [float(each) for each in settings["reference_maximum"]],
        "glass": float(settings["glass"]),
        **({"sparsity": float(settings["sparsity"])} if "sparsity" in settings else {}),
    }


def _painted(tile: Pixels, amounts: Floats, parameters: Parameters) -> Pixels:
    factor = np.asarray(parameters["reference_maximum"]) / np.asarray(parameters["maximum"])
    paint = factor[:, None] * np.asarray(parameters["reference_stains"])
    return intensity(raster.mixed(amounts, paint), parameters["glass"]).reshape(tile.shape)
