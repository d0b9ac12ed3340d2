"""HoVer-Net (Graham et al., Medical Image Analysis 2019) on a small encoder.

Three branches on one encoder: whether a pixel is of a nucleus (NP), how far it lies from the nucleus' middle across and
down (HV), and of which type the nucleus is (TP).
"""

import torch
from torch import Tensor, nn

from dicomsvc.ai.training.networks.encoders import channels_of, encoder
from dicomsvc.ai.training.networks.segmenters import decoder, head

_RARE = -2.0


class HoverNet(nn.Module):
    """``(n, 3, rows, columns)`` from 0 to 255 → ``(n, 3 + types, rows, columns)``.

    Channel 0 is the logit of NP, 1 and 2 are the horizontal and the vertical distance from -1 to 1, and from 3 on lie
    the logits of the types, background first; without types (0) there is no such branch.
    """

    def __init__(self, types: int = 0, encoder_name: str = "efficientnet_lite0", *, pretrained: bool = True) -> None:
        super().__init__()
        self.encoder = encoder(encoder_name, pretrained=pretrained)
        self.branches = nn.ModuleList()
        for maps, bias in ((1, _RARE), (2, 0.0), *([(types, 0.0)] if types else [])):
            growing = decoder("unet", channels_of(self.encoder))
            self.branches.append(nn.Sequential(growing, head(growing.outside, maps, bias)))

    def forward(self, image: Tensor) -> Tensor:
        maps = self.encoder(image)
        return torch.cat([branch(maps) for branch in self.branches], dim=1)
