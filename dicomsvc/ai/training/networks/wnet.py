"""W-Net (Mao et al., BIBM 2021): an image becomes a mask of nuclei, and the mask a map with a peak at each middle.

Two U-Nets in a row. The paper's encoders are EfficientNet-B7 and -B0; here they are EfficientNet-Lite0 and its first
eight blocks, so that the whole is 5 MB and runs without a GPU. The second one is given the image beside the mask.
"""

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

from dicomsvc.ai.training.networks import lite0
from dicomsvc.ai.training.networks.lite0_unet import Lite0UNet
from dicomsvc.ai.training.networks.segmenters import decoder, head

_SECOND_BLOCKS: Final = 8
_RARE: Final = -2.0


class WNet(Lite0UNet):
    """``(n, 3, rows, columns)``, red, green and blue from 0 to 255 → ``(n, 2, rows, columns)``: each stage's logits."""

    def __init__(self) -> None:
        super().__init__(1)
        self.second_encoder = lite0.Encoder(1, _SECOND_BLOCKS)
        self.second_decoder = decoder("unet", self.second_encoder.channels)
        self.second_head = head(self.second_decoder.outside, 1, _RARE)

    def forward(self, image: Tensor) -> Tensor:
        mask = super().forward(image)
        both = torch.cat([(image - 127.0) / 128.0, torch.sigmoid(mask) * 2 - 1], dim=1)
        density = self.second_head(self.second_decoder(self.second_encoder(both)))
        return torch.cat([mask, density], dim=1)

    def load_imagenet(self) -> None:
        """Begin both encoders with ImageNet weights where the package with them is installed."""
        weights = lite0.imagenet_weights()
        for each in (self.encoder, self.second_encoder):
            if weights is not None:
                each.load_imagenet(weights)

    def load_mask(self, state: Mapping[str, Tensor]) -> None:
        """Let the first stage begin as a `Lite0UNet` whose first map is the mask.

        What a ``detail`` branch of it added to the map is not taken.

        Raises
        ------
        KeyError
            When it is no such network.
        """
        own = self.state_dict()
        first = {name: state[name] for name in own if name.startswith(("encoder.", "decoder."))}
        rows = {name: state[name][: own[name].shape[0]] for name in own if name.startswith("head.")}
        self.load_state_dict(own | first | rows)


def stages(network: WNet) -> tuple[list[nn.Module], list[nn.Module]]:
    """Return the parts of the first and of the second stage."""
    first = [network.encoder, network.decoder, network.head]
    return first, [network.second_encoder, network.second_decoder, network.second_head]
