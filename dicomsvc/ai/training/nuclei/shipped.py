"""The nuclei network as it ships: finer outside than inside."""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

COARSER: Final = 9 / 16
"""Pixels of the network a side of one of the picture: 0.44 um where the picture has 0.25."""


class Shipped(nn.Module):
    """Bytes, NHWC, finer than the network's pixels → one ``(n, rows, columns, 1)`` a map, as large as the picture.

    The picture is reduced to the network's resolution, and the maps are interpolated back, so that thresholds cut
    between the network's pixels. Rows and columns of the picture are a multiple of 256.
    """

    def __init__(self, network: nn.Module, maps: int) -> None:
        super().__init__()
        self.network = network
        self.maps = maps

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        picture = image.permute(0, 3, 1, 2).float()
        small = functional.interpolate(picture, scale_factor=COARSER, mode="bilinear", align_corners=False)
        answer = torch.sigmoid(self.network(small))
        fine = functional.interpolate(answer, scale_factor=1 / COARSER, mode="bilinear", align_corners=False)
        maps = torch.floor(fine * 255.0 + 0.5).to(torch.uint8)
        return tuple(maps[:, channel, :, :, None] for channel in range(self.maps))
