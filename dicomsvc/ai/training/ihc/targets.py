"""What the IHC network is to answer for a crop."""

from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicomsvc.ai.training.backdrop import Floats, blurred
from dicomsvc.ai.training.ihc.layout import Layout
from dicomsvc.ai.training.ihc.staining import Stained
from dicomsvc.ai.training.nuclei.targets import CHANNELS as NUCLEAR
from dicomsvc.ai.training.nuclei.targets import targets as nuclear_targets

CHANNELS: Final = (*NUCLEAR, "POSITIVE", "HEMATOXYLIN", "MARKER", "DAPI", "LAP2")
FULL_DENSITY: Final = 2.0
"""Optical density (base 10) that is 1 in HEMATOXYLIN and MARKER."""
_USUAL_CHROMATIN: Final = 0.45
_ENVELOPE: Final = 1.2


def targets(layout: Layout, dyes: Stained) -> Floats:
    """Return ``(9, rows, columns)`` in the order of `CHANNELS`, all from 0 to 1.

    DAPI is the chromatin, LAP2 the rim of each nucleus, as fluorescence of the same section would show them.
    """
    labels = layout.labels
    planes = [
        *nuclear_targets(labels)[: len(NUCLEAR)],
        (dyes.positive[labels] & (labels > 0)).astype(np.float32),
        dyes.hematoxylin / FULL_DENSITY,
        dyes.marker / FULL_DENSITY,
        blurred(layout.chromatin * np.float32(_USUAL_CHROMATIN), 0.6),
        _envelopes(labels),
    ]
    return np.clip(np.stack(planes), 0, 1).astype(np.float32)


def _envelopes(labels: npt.NDArray[np.int32]) -> Floats:
    edge = (ndimage.maximum_filter(labels, 3) != labels) | (ndimage.minimum_filter(labels, 3) != labels)
    within = ((labels > 0) & ~edge).astype(np.uint8)
    depth: Any = cv2.distanceTransform(within, cv2.DIST_L2, 3)
    rim = np.exp(-((depth / _ENVELOPE) ** 2)) * (labels > 0)
    return blurred(rim.astype(np.float32), 0.5)
