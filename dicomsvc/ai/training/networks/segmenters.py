"""Networks that answer maps as large as the image: U-Net, FPN and LinkNet, on any encoder.

U-Net: Ronneberger et al., MICCAI 2015. FPN: Lin et al., CVPR 2017, with the branches of Kirillov et al., CVPR 2019.
LinkNet: Chaurasia and Culurciello, VCIP 2017. The libraries that have them do not run with PyTorch's CPU build.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from dicomsvc.ai.training.networks.encoders import channels_of, encoder

_UNET: Final = (128, 80, 56, 40)
_PYRAMID: Final = 96
_BRANCH: Final = 64


class UNetDecoder(nn.Module):
    """Grows the deepest map step by step and joins each with the map of its size; ends at 1/2."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        *skips, deepest = channels
        widths = _UNET[-len(skips) :]
        self.outside = widths[-1]
        self.levels = nn.ModuleList(
            _normed(deep + skip, wide)
            for deep, skip, wide in zip((deepest, *widths), reversed(skips), widths, strict=False)
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        *skips, values = maps
        for level, skip in zip(self.levels, reversed(skips), strict=True):
            values = level(torch.cat([_grown(values), skip], dim=1))
        return values


class FpnDecoder(nn.Module):
    """Sums a pyramid of equally wide maps, each smoothed at its own resolution; ends at 1/2."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.outside = _BRANCH
        self.lateral = nn.ModuleList(nn.Conv2d(inside, _PYRAMID, 1) for inside in channels)
        self.branches = nn.ModuleList(_normed(_PYRAMID, _BRANCH) for _ in channels)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        lateral = [layer(values) for layer, values in zip(self.lateral, maps, strict=True)]
        level = lateral[-1]
        total: Tensor = self.branches[-1](level)
        for number in range(len(maps) - 2, -1, -1):
            level = lateral[number] + _grown(level)
            total = _grown(total) + self.branches[number](level)
        return total


class LinkNetDecoder(nn.Module):
    """Adds each of the encoder's maps to what grows from the deeper ones; ends at 1/2."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.outside = channels[0]
        deep, wide = channels[:0:-1], channels[-2::-1]
        self.levels = nn.ModuleList(map(_link, deep, wide))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        *skips, values = maps
        for level, skip in zip(self.levels, reversed(skips), strict=True):
            values = level(values) + skip
        return values


def _link(inside: int, outside: int) -> nn.Sequential:
    narrow = max(8, inside // 4)
    grow = nn.Sequential(nn.ConvTranspose2d(narrow, narrow, 4, 2, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU())
    return nn.Sequential(_normed(inside, narrow, 1), grow, _normed(narrow, outside, 1))


def _normed(inside: int, outside: int, kernel: int = 3) -> nn.Sequential:
    convolution = nn.Conv2d(inside, outside, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outside), nn.ReLU())


def _grown(values: Tensor) -> Tensor:
    return functional.interpolate(values, scale_factor=2.0, mode="nearest")


_DECODERS: Final[Mapping[str, Callable[[Sequence[int]], UNetDecoder | FpnDecoder | LinkNetDecoder]]] = MappingProxyType(
    {"fpn": FpnDecoder, "linknet": LinkNetDecoder, "unet": UNetDecoder}
)
DECODERS: Final = tuple(_DECODERS)


def decoder(name: str, channels: Sequence[int]) -> UNetDecoder | FpnDecoder | LinkNetDecoder:
    """Return one of `DECODERS` for an encoder's maps; it ends at half the image's size, with ``outside`` channels."""
    return _DECODERS[name](channels)


def head(inside: int, maps: int, bias: float = 0.0) -> nn.Sequential:
    """Return what makes ``maps`` logits at full size of maps at half; ``bias`` is where the logits begin."""
    convolution = nn.Conv2d(inside, maps * 4, 3, padding=1)
    assert convolution.bias is not None
    nn.init.constant_(convolution.bias, bias)
    nn.init.normal_(convolution.weight, std=0.01)
    return nn.Sequential(convolution, nn.PixelShuffle(2))


class Segmenter(nn.Module):
    """``(n, 3 + more, rows, columns)``, red, green and blue from 0 to 255 → ``maps`` logits as large as the image."""

    def __init__(
        self, decoder_name: str, encoder_name: str, maps: int, more: int = 0, *, pretrained: bool = True
    ) -> None:
        super().__init__()
        self.encoder = encoder(encoder_name, more, pretrained=pretrained)
        self.decoder = decoder(decoder_name, channels_of(self.encoder))
        self.head = head(self.decoder.outside, maps)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.head(self.decoder(self.encoder(image)))
        return logits


def segmenter(decoder: str, encoder: str, maps: int, more: int = 0, *, pretrained: bool = True) -> Segmenter:
    """Return a network of `DECODERS` on one of `encoders.ENCODERS`, by name."""
    return Segmenter(decoder, encoder, maps, more, pretrained=pretrained)
