"""Pixels as the tensor that a model wants."""

from typing import Any

import numpy as np
import numpy.typing as npt

from dicomsvc.ai.catalogue.manifest import InputSpec
from dicomsvc.ai.inference.backend import Tensor


def image_tensor(pixels: npt.NDArray[Any], spec: InputSpec) -> Tensor:
    """Return one tile, without a batch axis, of ``(rows, columns, channels)`` pixels.

    UINT8 goes in as it is; FP32 is ``(value * scale - mean) / std``, by channel.
    """
    if spec.datatype == "UINT8":
        values: Tensor = pixels
    else:
        values = pixels.astype(np.float32) * np.float32(spec.scale)
        if spec.mean:
            values -= np.array(spec.mean, np.float32)
        if spec.std:
            values /= np.array(spec.std, np.float32)
    return np.ascontiguousarray(values.transpose(2, 0, 1) if spec.layout == "NCHW" else values)
