"""Takes the tensors of one tile out of a model's answer, and trusts none of them."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dicomsvc.ai.catalogue.manifest import Manifest, OutputChannel, OutputSpec
from dicomsvc.errors import ModelFailure
from dicomsvc.wsi.plan import Tile

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
UINT8_SCALE: Final = np.float32(1 / 255)


class TileTensors:
    """The output tensors of one tile, by role."""

    def __init__(self, manifest: Manifest, outputs: Mapping[str, Array], tile: Tile) -> None:
        self._manifest = manifest
        self._spec: OutputSpec = manifest.output
        self._outputs = outputs
        stride = self._spec.stride
        self.shape = (tile.context.height // stride, tile.context.width // stride)

    def has(self, role: str) -> bool:
        return role in self._spec.tensors

    def planes(self, role: str) -> Array:
        """Return a map ``(rows, columns, channels)`` as the model gave it."""
        return self._planes(role, self._spec.tensors[role])

    def channel(self, channel: OutputChannel) -> Array:
        """Return a named channel ``(rows, columns)`` as the model gave it."""
        planes = self._planes(channel.name, channel.tensor)
        if channel.channel >= planes.shape[2]:
            raise self._failure(channel.name, channel.tensor, f"has {planes.shape[2]} channels")
        return planes[:, :, channel.channel]

    def _planes(self, what: str, tensor: str) -> Array:
        values = self._named(what, tensor)
        if values.ndim == 2:
            values = values[:, :, np.newaxis]
        if values.ndim != 3 or values.shape[:2] != self.shape:
            raise self._failure(what, tensor, f"has shape {values.shape}, not {self.shape} and channels")
        return values

    def plane(self, role: str) -> Floats:
        """Return the only channel of a map, UINT8 scaled to 1."""
        values = self.planes(role)
        if values.shape[2] != 1:
            raise self._failure(role, self._spec.tensors[role], f"has {values.shape[2]} channels, not 1")
        return scaled(values[:, :, 0])

    def vector(self, role: str) -> Floats:
        """Return one value a class, UINT8 scaled to 1."""
        values = self._named(role, self._spec.tensors[role]).reshape(-1)
        return scaled(values)

    def classes(self, role: str, channels: int) -> bool:
        """Whether so many channels begin with the background.

        Raises
        ------
        ModelFailure
            When they are neither one a class nor one more.
        """
        known = len(self._manifest.classes)
        if channels not in (known, known + 1):
            raise self._failure(role, self._spec.tensors[role], f"has {channels} channels for {known} classes")
        return channels == known + 1

    def _named(self, what: str, tensor: str) -> Array:
        values = self._outputs.get(tensor)
        if values is None:
            raise self._failure(what, tensor, "is missing")
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise self._failure(what, tensor, "holds values that are not finite")
        if values.dtype != np.uint8 and values.dtype.kind != "f":
            raise self._failure(what, tensor, f"is {values.dtype}, not UINT8 or FP32")
        return values

    def _failure(self, what: str, tensor: str, why: str) -> ModelFailure:
        return ModelFailure(f"{self._manifest.name}: output {tensor} ({what}) {why}")


def scaled(values: Array) -> Floats:
    """Return UINT8 as 0 to 1, anything else as float32."""
    if values.dtype == np.uint8:
        return values.astype(np.float32) * UINT8_SCALE
    return values.astype(np.float32, copy=False)
