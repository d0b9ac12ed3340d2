"""A U-Net on EfficientNet-Lite0: a small decoder and maps at full resolution."""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from dicomsvc.ai.training.networks import lite0

_DECODER: Final = (80, 56, 40)
_RARE: Final = -2.0
"""Logit to begin with: most pixels are background, and beginning there spares the first hundred steps."""


class Lite0UNet(nn.Module):
    """``(n, 3 + more, rows, columns)``, red, green and blue from 0 to 255 → ``maps`` logits as large as the image.

    With ``detail`` a branch of so many channels looks at the image at full resolution and corrects the logits: edges
    become sharper than those that were shuffled out of half of the resolution. It begins as no correction.
    """

    def __init__(self, maps: int, more: int = 0, detail: int = 0) -> None:
        super().__init__()
        self.encoder = lite0.Encoder(more)
        *skips, deepest = lite0.CHANNELS
        self.decoder = nn.ModuleList(map(_Up, [deepest, *_DECODER], reversed(skips), _DECODER))
        self.head = nn.Conv2d(_DECODER[-1], maps * 4, 3, padding=1)
        assert self.head.bias is not None
        nn.init.constant_(self.head.bias, _RARE)
        nn.init.normal_(self.head.weight, std=0.01)
        self.detail = _Detail(3 + more, maps, detail) if detail else None

    def forward(self, image: Tensor) -> Tensor:
        image = (image - 127.0) / 128.0
        *skips, values = self.encoder(image)
        for up, skip in zip(self.decoder, reversed(skips), strict=True):
            values = up(values, skip)
        logits: Tensor = functional.pixel_shuffle(self.head(values), 2)
        return logits if self.detail is None else logits + self.detail(image, logits)


class _Detail(nn.Module):
    """Corrections to logits from what the image shows at full resolution."""

    def __init__(self, samples: int, maps: int, channels: int) -> None:
        super().__init__()
        self.look = nn.Conv2d(samples, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.mix = nn.Conv2d(channels + maps, channels, 3, padding=1)
        self.out = nn.Conv2d(channels, maps, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        assert self.out.bias is not None
        nn.init.zeros_(self.out.bias)

    def forward(self, image: Tensor, logits: Tensor) -> Tensor:
        seen = functional.relu(self.norm(self.look(image)))
        correction: Tensor = self.out(functional.relu(self.mix(torch.cat([seen, logits], dim=1))))
        return correction


class _Up(nn.Module):
    def __init__(self, deep: int, skip: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(deep + skip, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        grown = functional.interpolate(deep, scale_factor=2.0, mode="nearest")
        return functional.relu(self.norm(self.conv(torch.cat([grown, skip], dim=1))))
