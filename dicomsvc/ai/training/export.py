"""Makes a model folder of a trained network."""

import hashlib
import io
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from dicomsvc.ai.catalogue.reading import read_manifest
from dicomsvc.ai.catalogue.runner import TEMPLATE
from dicomsvc.errors import InvalidModel

TILE: Final = 512
OPSET: Final = 17
PICTURE: Final[Mapping[str, int]] = MappingProxyType({"IMAGE": 3})
"""Inputs with their channels, the image first."""
_MOST_DIFFERENCE: Final = 1
_CONFIG: Final = """\
name: "{name}"
backend: "python"
max_batch_size: {max_batch}
input [
{inputs}
]
output [
{outputs}
]
version_policy {{ all {{ }} }}
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
"""


class Shipped(nn.Module):
    """A network between bytes, NHWC: ``(n, rows, columns, 3)`` in, one ``(n, rows, columns, 1)`` a map out.

    Further inputs are further channels of the network.
    """

    def __init__(self, network: nn.Module, maps: int) -> None:
        super().__init__()
        self.network = network
        self.maps = maps

    def forward(self, image: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        planes = torch.cat([image, *more], dim=3) if more else image
        logits = self.network(planes.permute(0, 3, 1, 2).float())
        maps = torch.floor(torch.sigmoid(logits) * 255.0 + 0.5).to(torch.uint8)
        return tuple(maps[:, channel, :, :, None] for channel in range(self.maps))


def onnx_bytes(
    shipped: nn.Module, outputs: Sequence[str], tile: int = TILE, inputs: Mapping[str, int] = PICTURE
) -> bytes:
    """Return the ONNX file of a network that goes from bytes to bytes, the batch size open.

    Raises
    ------
    InvalidModel
        When ONNX Runtime gives other bytes than PyTorch.
    """
    shipped = shipped.eval()
    example = tuple(torch.zeros((1, tile, tile, channels), dtype=torch.uint8) for channels in inputs.values())
    file: Any = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            shipped,
            example,
            file,
            dynamo=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: {0: "batch"} for name in (*inputs, *outputs)},
        )
    weights: bytes = file.getvalue()
    difference = largest_difference(shipped, weights, outputs, tile, inputs)
    if difference > _MOST_DIFFERENCE:
        raise InvalidModel(f"ONNX Runtime and PyTorch differ by {difference} of 255; nothing was written")
    return weights


def largest_difference(
    shipped: nn.Module, weights: bytes, outputs: Sequence[str], tile: int, inputs: Mapping[str, int] = PICTURE
) -> int:
    """Return the largest difference between PyTorch and ONNX Runtime on two made tiles, in steps of 255."""
    import onnxruntime

    chance = np.random.default_rng(0)
    images: dict[str, npt.NDArray[np.uint8]] = {}
    for name, channels in inputs.items():
        coarse = chance.integers(60, 256, (2, tile // 8, tile // 8, channels), dtype=np.uint8)
        images[name] = coarse.repeat(8, axis=1).repeat(8, axis=2)
    session = onnxruntime.InferenceSession(weights, providers=["CPUExecutionProvider"])
    found: list[Any] = session.run(list(outputs), images)
    with torch.inference_mode():
        expected = shipped(*map(torch.from_numpy, images.values()))
    pairs = zip(found, expected, strict=True)
    return max(int(np.abs(one.astype(np.int16) - other.numpy().astype(np.int16)).max()) for one, other in pairs)


def write_model(
    folder: Path,
    weights: bytes,
    outputs: Sequence[str],
    manifest: str,
    tile: int = TILE,
    inputs: Mapping[str, int] = PICTURE,
    *,
    shape: Sequence[int] | None = None,
    channels: Mapping[str, int] | None = None,
    max_batch: int = 4,
) -> None:
    """Write the model folder of a network that answers maps; ``@SHA256@`` in the manifest becomes the digest.

    ``shape`` is that of each answer to a tile, where it is no map of one channel; ``channels`` are those of maps that
    have several.

    Raises
    ------
    InvalidModel
        When the folder is there already, or what was written is not a right model folder.
    """
    if folder.exists():
        raise InvalidModel(f"{folder} exists; a model is never replaced")
    (folder / "1").mkdir(parents=True)
    (folder / "configs").mkdir()
    (folder / "1" / "model.onnx").write_bytes(weights)
    shutil.copyfile(TEMPLATE, folder / "1" / "model.py")
    taken = [_tensor(name, (tile, tile, channels)) for name, channels in inputs.items()]
    deep = channels or {}
    given = [_tensor(name, shape or (tile, tile, deep.get(name, 1))) for name in outputs]
    config = _CONFIG.format(name=folder.name, max_batch=max_batch, inputs=",\n".join(taken), outputs=",\n".join(given))
    (folder / "config.pbtxt").write_text(config, encoding="utf-8")
    (folder / "configs" / "gpu.pbtxt").write_text(config.replace("KIND_CPU", "KIND_GPU"), encoding="utf-8")
    text = manifest.replace("@SHA256@", hashlib.sha256(weights).hexdigest())
    (folder / "model.toml").write_text(text, encoding="utf-8")
    read_manifest(folder)


def _tensor(name: str, shape: Sequence[int]) -> str:
    return f'  {{ name: "{name}" data_type: TYPE_UINT8 dims: [ {", ".join(map(str, shape))} ] }}'
