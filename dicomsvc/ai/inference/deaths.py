"""Tells an input that kills the model's process each time from a process that died of something else."""

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from dicomsvc.ai.inference.backend import Tensor

_LEAST_DEATHS: Final = 4
_LONGEST_SECONDS: Final = 60.0
_MOST_KEPT: Final = 256


@dataclass(slots=True)
class _Deaths:
    first: float
    count: int = 0


class DeathRecord:
    """Counts, for each input, how often and for how long the model's process was dead when it was asked."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._deaths: dict[bytes, _Deaths] = {}

    def is_deadly(self, model: str, inputs: Mapping[str, Tensor]) -> bool:
        """Count one more death, and return whether the input must be its cause.

        A dead process is replaced within seconds; an input that has met only dead ones for a minute kills them.
        """
        key = _digest(model, inputs)
        with self._lock:
            now = self._clock()
            if len(self._deaths) >= _MOST_KEPT:
                self._deaths.clear()
            deaths = self._deaths.setdefault(key, _Deaths(now))
            deaths.count += 1
            return deaths.count >= _LEAST_DEATHS and now - deaths.first > _LONGEST_SECONDS

    def forget(self, model: str, inputs: Mapping[str, Tensor]) -> None:
        """The input has been answered."""
        if self._deaths:
            with self._lock:
                self._deaths.pop(_digest(model, inputs), None)


def _digest(model: str, inputs: Mapping[str, Tensor]) -> bytes:
    digest = hashlib.sha256(model.encode())
    for name in sorted(inputs):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(inputs[name]).tobytes())
    return digest.digest()
