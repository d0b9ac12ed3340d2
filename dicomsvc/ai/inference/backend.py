"""What a backend promises."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

Tensor = npt.NDArray[np.generic]


class Backend(Protocol):
    """Runs models; safe to use from several threads."""

    @property
    def description(self) -> str:
        """Name and version for provenance, e.g. ``Triton 2.51.0`` or ``ONNX Runtime 1.31.1 in process``."""
        ...

    def infer(self, model: str, number: int, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> dict[str, Tensor]:
        """Run one batch and return the named output tensors.

        Raises
        ------
        ServerUnavailable
            When the server does not answer; the same call may succeed later.
        ModelFailure
            When the model itself failed on this input, or its answer has another shape than was promised.
        """
        ...

    def load(self, model: str) -> None:
        """Have the model ready, loading it when it is not.

        Raises
        ------
        ServerUnavailable, ModelFailure
            As for `infer`.
        """
        ...

    def close(self) -> None: ...
