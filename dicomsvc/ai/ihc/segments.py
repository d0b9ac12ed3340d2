"""From a model's tensors to the three planes of a segmentation.

The planes hold all that post-processing needs, the places where touching nuclei part as well: a model's centres and
distances become lines of boundary. So thresholds may be turned later with nothing but the picture of the planes.
"""

from collections.abc import Mapping
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from dicomsvc.ai.catalogue.manifest import OutputKind
from dicomsvc.ai.decoding.instances import smoothed
from dicomsvc.ai.decoding.settings import check_settings
from dicomsvc.ai.decoding.splitting import split
from dicomsvc.ai.ihc.cells import Thresholds
from dicomsvc.ai.ihc.postprocess import LEAST_VALUE, Plane, SegPlanes

_SCALE: Final = np.float32(1 / 255)
_USUAL: Final = Thresholds().prob


def draw_segmentation(planes: Mapping[str, Plane], settings: Mapping[str, float], mpp: float) -> SegPlanes:
    """Return the segmentation of planes by role.

    ``mask`` and ``positive`` must be there, ``boundary``, ``centre`` and ``distance`` may. ``settings`` are those of
    the model's manifest; ``mpp`` is the planes' resolution.
    """
    known = check_settings(OutputKind.INSTANCES, settings)
    mask = np.asarray(smoothed(planes["mask"].astype(np.float32), known["smoothing_um"] / mpp), np.float32)
    value = np.rint(mask).astype(np.uint8)
    lines = _lines(_parted(planes, value, known, mpp))
    boundary = planes.get("boundary", np.zeros_like(value)).copy()
    boundary[value < LEAST_VALUE] = 0
    boundary[lines] = 255
    value[lines] = 0
    value = _usual_threshold(known["threshold"])[value]
    # Rounded down: positive and negative add up to the value.
    positive = (value.astype(np.uint16) * planes["positive"] // 255).astype(np.uint8)
    return SegPlanes(positive, value - positive, boundary)


def _usual_threshold(threshold: float) -> npt.NDArray[np.uint8]:
    """Return what each of 256 values becomes, such that the model's threshold lies at DeepLIIF's usual one."""
    own = min(max(threshold * 255, 1), 254)
    return np.rint(np.interp(np.arange(256), (0, own, 255), (0, _USUAL, 255))).astype(np.uint8)


def _parted(
    planes: Mapping[str, Plane], value: Plane, settings: Mapping[str, float], mpp: float
) -> npt.NDArray[np.int32]:
    sigma = settings["split_smoothing_um"] / mpp
    core = (value >= settings["threshold"] * 255).astype(np.uint8)
    distance = np.asarray(cv2.distanceTransform(core, cv2.DIST_L2, cv2.DIST_MASK_5), np.float32)
    field, weak_below = smoothed(distance, sigma), None
    if "distance" in planes:
        field = smoothed(planes["distance"].astype(np.float32) * _SCALE, sigma)
    if "centre" in planes:
        field = smoothed(planes["centre"].astype(np.float32) * _SCALE, sigma)
        weak_below = field - np.float32(settings["centre_threshold"])
    # Where a model's map is flat, the way to the middle is that of the mask.
    field = np.asarray(cv2.scaleAdd(distance, 1e-4, np.maximum(field, 0)), np.float32)
    return split(field, value >= LEAST_VALUE, settings["split_depth"], weak_below=weak_below)


def _lines(labels: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """Return one pixel of each pair of neighbours (of eight) that belong to two things."""
    lines = np.zeros(labels.shape, np.bool_)
    for down, right in ((0, 1), (1, 0), (1, 1)):
        one, two = labels[: labels.shape[0] - down, : labels.shape[1] - right], labels[down:, right:]
        lines[: labels.shape[0] - down, : labels.shape[1] - right] |= (one != two) & (one > 0) & (two > 0)
    one, two = labels[:-1, 1:], labels[1:, :-1]
    lines[:-1, 1:] |= (one != two) & (one > 0) & (two > 0)
    return lines
