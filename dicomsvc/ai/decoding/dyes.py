"""Measurements of things by the dyes that a model tells apart, and which things are positive."""

from collections.abc import Mapping
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from dicomsvc.ai.decoding.measuring import Doubles, Pixels
from dicomsvc.ai.decoding.tensors import TileTensors

RING_UM: Final = 2.0
"""Width of the ring around a nucleus in which membrane and cytoplasm are measured."""


def dye_names(roles: Mapping[str, str]) -> tuple[str, ...]:
    """Return the measurements that a model with these tensors by role has."""
    names: tuple[str, ...] = ()
    if "positive" in roles:
        names += ("positive_probability",)
    if "marker" in roles:
        names += ("mean_marker_od", "highest_marker_od", "ring_marker_od")
    if "counterstain" in roles:
        names += ("mean_counterstain_od",)
    return names


def dyes(pixels: Pixels, tensors: TileTensors, full_density: float, cell_um: float) -> dict[str, Doubles]:
    """Return the measurements of `dye_names` for each thing; densities are to base 10."""
    found: dict[str, Doubles] = {}
    if tensors.has("positive"):
        found["positive_probability"] = pixels.mean_of(tensors.plane("positive"))
    if tensors.has("marker"):
        marker = tensors.plane("marker") * np.float32(full_density)
        found["mean_marker_od"] = pixels.mean_of(marker)
        found["highest_marker_od"] = _highest(pixels, marker)
        found["ring_marker_od"] = _in_ring(pixels, marker, max(1, round(RING_UM / cell_um)))
    if tensors.has("counterstain"):
        found["mean_counterstain_od"] = pixels.mean_of(tensors.plane("counterstain")) * full_density
    return found


def _highest(pixels: Pixels, plane: npt.NDArray[np.float32]) -> Doubles:
    found = np.zeros(len(pixels))
    np.maximum.at(found, pixels.owner, plane.ravel()[pixels.index])
    return found


def _in_ring(pixels: Pixels, plane: npt.NDArray[np.float32], width: int) -> Doubles:
    """Return the mean in what is within so many pixels of a thing and of no other; without any, that in the thing."""
    size = 2 * width + 1
    disk: Any = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    # Numbers above 2**24 would not fit; a tile has far fewer things than that.
    labels = pixels.labels.astype(np.float32)
    ring = np.where(pixels.labels == 0, cv2.dilate(labels, disk), 0).astype(np.int32).ravel()
    count = len(pixels) + 1
    area = np.bincount(ring, minlength=count)[1:]
    total = np.bincount(ring, plane.ravel(), count)[1:]
    return np.where(area > 0, total / np.maximum(area, 1), pixels.mean_of(plane))
