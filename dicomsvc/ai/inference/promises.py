"""What every answer of a model must keep, whoever ran it."""

from collections.abc import Mapping

import numpy as np

from dicomsvc.ai.inference.backend import Tensor
from dicomsvc.errors import ModelFailure

DATATYPES: Mapping[str, str] = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
}
"""Triton's data types as numpy's."""


def check_answer(
    what: str, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor | None], promised: Mapping[str, str]
) -> dict[str, Tensor]:
    """Return ``outputs`` when each is there, of its promised Triton data type, of the inputs' batch, and finite.

    Raises
    ------
    ModelFailure
        When one is not.
    """
    batch = {value.shape[0] for value in inputs.values() if value.ndim}
    checked: dict[str, Tensor] = {}
    for name, value in outputs.items():
        if value is None:
            raise ModelFailure(f"{what} did not give its output {name}")
        wanted = DATATYPES.get(promised.get(name, ""))
        if value.dtype.name != wanted:
            raise ModelFailure(f"{what} gave {name} as {value.dtype.name} instead of {wanted}")
        if len(batch) == 1 and (value.ndim == 0 or value.shape[0] not in batch):
            raise ModelFailure(f"{what} gave {name} with shape {value.shape} for a batch of {batch.pop()}")
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ModelFailure(f"{what} gave {name} with values that are no numbers (NaN or infinite)")
        checked[name] = value
    return checked
