"""Steps that need no stain vectors of the slide: Reinhard et al. 2001, and deconvolution by known stains."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dicomsvc.wsi import raster
from dicomsvc.wsi.stain.density import GLASS, HED, Floats, Pixels, density_table, unit
from dicomsvc.wsi.stain.step import FEWEST_PIXELS, Parameters, identity

_RGB_TO_LMS: Final = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
_LMS_TO_LAB: Final = np.diag([3**-0.5, 6**-0.5, 2**-0.5]) @ np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]])
_TO_LMS: Final = _RGB_TO_LMS.T
_FROM_LMS: Final = np.linalg.inv(_RGB_TO_LMS).T
_TO_LAB: Final = _LMS_TO_LAB.T / np.log(10)
_FROM_LAB: Final = np.linalg.inv(_LMS_TO_LAB).T * np.log(10)
_LEAST_DEVIATION: Final = 1e-4


class Reinhard:
    """Gives each axis of the l-alpha-beta space (logarithms of cone responses) the reference's mean and deviation.

    ``x' = (x - mean) * deviation_ref / deviation + mean_ref``. The statistics are those of tissue, and all of a tile is
    changed by them: glass changes its shade, too. The default reference is the mean of the tissue of
    three H&E slides (Orion CRC01, TCGA-CR-7395, OpenSlide's OS-1).
    """

    settings: Mapping[str, Any] = MappingProxyType(
        {
            "reference_mean": (-0.435, -0.059, 0.0155),
            "reference_deviation": (0.221, 0.032, 0.0105),
        }
    )

    def fit(self, pixels: Pixels, settings: Mapping[str, Any]) -> Parameters:
        if len(pixels) < FEWEST_PIXELS:
            return identity("too little tissue")
        values = to_lab(pixels).astype(np.float64)
        deviation = values.std(axis=0)
        if (deviation < _LEAST_DEVIATION).any():
            return identity("one colour only")
        return {
            "mean": values.mean(axis=0).round(6).tolist(),
            "deviation": deviation.round(6).tolist(),
            "reference_mean": [float(each) for each in settings["reference_mean"]],
            "reference_deviation": [float(each) for each in settings["reference_deviation"]],
        }

    def apply(self, tile: Pixels, parameters: Parameters) -> Pixels:
        if "identity" in parameters:
            return tile
        mean, deviation, to_mean, to_deviation = (
            np.asarray(parameters[name], np.float32)
            for name in ("mean", "deviation", "reference_mean", "reference_deviation")
        )
        gain = to_deviation / deviation
        return from_lab(to_lab(tile) * gain + (to_mean - mean * gain)).reshape(tile.shape)


class Deconvolution:
    """Gives the amounts of three stains in place of red, green and blue.

    ``stains`` are rows of optical density (hematoxylin, eosin, DAB of Ruifrok & Johnston unless given); an amount of
    ``maximum``, in natural density, becomes 255. Learns nothing from the slide.
    """

    settings: Mapping[str, Any] = MappingProxyType(
        {"stains": tuple(map(tuple, HED.tolist())), "maximum": 3.0, "glass": GLASS}
    )

    def fit(self, pixels: Pixels, settings: Mapping[str, Any]) -> Parameters:
        stains = unit(np.asarray(settings["stains"], np.float64))
        if stains.shape != (3, 3) or abs(np.linalg.det(stains)) < 1e-3:
            return identity("the stains are not three different ones")
        return {
            "stains": stains.round(6).tolist(),
            "maximum": float(settings["maximum"]),
            "glass": float(settings["glass"]),
        }

    def apply(self, tile: Pixels, parameters: Parameters) -> Pixels:
        if "identity" in parameters:
            return tile
        table = np.clip(density_table(parameters["glass"]), 0, None)
        unmixing = np.linalg.inv(np.asarray(parameters["stains"])) * (255 / parameters["maximum"])
        amounts = raster.mixed(raster.looked_up(tile, table), unmixing)
        shown: Pixels = np.clip(np.rint(amounts), 0, 255).astype(np.uint8)
        return shown.reshape(tile.shape)


def to_lab(pixels: Pixels) -> Floats:
    """Return l-alpha-beta values ``(n, 3)`` of ``(…, 3)``."""
    scaled = raster.looked_up(pixels, (np.arange(1, 257) / 256).astype(np.float32))
    return raster.mixed(raster.logarithm(raster.mixed(scaled, _TO_LMS)), _TO_LAB)


def from_lab(values: npt.NDArray[np.float32]) -> Pixels:
    """Return 8-bit pixels ``(n, 3)``."""
    cones = raster.exponential(np.clip(raster.mixed(values, _FROM_LAB), -9, 3))
    scaled = raster.mixed(cones, _FROM_LMS) * np.float32(256) - 1
    pixels: Pixels = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return pixels
