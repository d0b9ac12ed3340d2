"""The nuclei network as it ships: twice as fine outside as inside, and asked more than once."""

import torch
from torch import Tensor, nn
from torch.nn import functional

FINER = 2
"""Pixels of the picture a side of one of the network."""


class Shipped(nn.Module):
    """Bytes, NHWC, of half of the network's pixel size → one ``(n, rows, columns, 1)`` a map, as large as the picture.

    The picture is averaged to the network's resolution, and the maps are interpolated back, so that thresholds cut
    between the network's pixels. With ``mirrored`` the answer is the mean with that for the mirrored picture.
    """

    def __init__(self, network: nn.Module, maps: int, *, mirrored: bool) -> None:
        super().__init__()
        self.network = network
        self.maps = maps
        self.mirrored = mirrored

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        small = functional.avg_pool2d(image.permute(0, 3, 1, 2).float(), FINER)
        answer = torch.sigmoid(self.network(small))
        if self.mirrored:
            answer = (answer + torch.sigmoid(self.network(small.flip(3))).flip(3)) / 2
        fine = functional.interpolate(answer, scale_factor=float(FINER), mode="bilinear", align_corners=False)
        maps = torch.floor(fine * 255.0 + 0.5).to(torch.uint8)
        return tuple(maps[:, channel, :, :, None] for channel in range(self.maps))
