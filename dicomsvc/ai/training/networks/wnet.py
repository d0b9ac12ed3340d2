"""W-Net (Mao et al., BIBM 2021): an image becomes a mask of nuclei, and the mask a map with a peak at each middle.

Two U-Nets in a row. The paper's encoders are EfficientNet-B7 and -B0; here they are EfficientNet-Lite0 and its first
eight blocks, so that the whole is 5 MB and runs without a GPU. The second one is given the image beside the mask.
"""

from collections.abc import Mapping
from typing import Final, Self

import torch
from torch import Tensor, nn

from dicomsvc.ai.training.networks import lite0
from dicomsvc.ai.training.networks.lite0_unet import Lite0UNet
from dicomsvc.ai.training.networks.segmenters import decoder, head

_SECOND_BLOCKS: Final = 8
_RARE: Final = -2.0
_CENTRE: Final = 8
"""First of the four channels of the network for nuclei that make its map of centres."""


class WNet(Lite0UNet):
    """``(n, 3, rows, columns)``, red, green and blue from 0 to 255 → ``(n, 2, rows, columns)``: each stage's logits."""

    def __init__(self) -> None:
        super().__init__(1)
        self._held = False
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

    def load_nuclei(self, state: Mapping[str, Tensor]) -> None:
        """Begin with a `Lite0UNet` whose maps are mask, distance and centre: the mask in the first stage.

        The second begins with its centre, as far as fewer blocks allow. A ``detail`` branch of it is not taken.

        Raises
        ------
        KeyError
            When it is no such network.
        """
        own = self.state_dict()
        found = {name: state[name] for name in own if name.startswith(("encoder.", "decoder."))}
        for name in ("head.weight", "head.bias"):
            found[name] = state[name][: own[name].shape[0]]
            found[f"second_head.0.{name[5:]}"] = state[name][_CENTRE : _CENTRE + own[name].shape[0]]
        for name in own:
            if name.startswith("second_encoder."):
                found[name] = _widened(state[name[7:]], own[name])
            elif name.startswith("second_decoder.levels."):
                number, part, leaf = name.split(".")[2:]
                there = state[f"decoder.{number}.{'conv' if part == '0' else 'norm'}.{leaf}"]
                found[name] = there if there.shape == own[name].shape else _skipped(there, own[name])
        self.load_state_dict(own | found)

    def hold_first(self) -> None:
        """Leave the first stage as it is when the network is trained on."""
        self._held = True
        for part in stages(self)[0]:
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self._held:
            for part in stages(self)[0]:
                part.eval()
        return self


def _widened(there: Tensor, own: Tensor) -> Tensor:
    """Return weights with further input channels that count for nothing, where their own network has such."""
    if there.shape == own.shape:
        return there
    wide = torch.zeros_like(own)
    wide[:, : there.shape[1]] = there
    return wide


def _skipped(there: Tensor, own: Tensor) -> Tensor:
    """Return own weights with those of the skip taken over; the deeper map before it has other channels."""
    skip = there.shape[1] - lite0.CHANNELS[-1]
    mixed = own.clone()
    mixed[:, -skip:] = there[:, -skip:]
    return mixed


def stages(network: WNet) -> tuple[list[nn.Module], list[nn.Module]]:
    """Return the parts of the first and of the second stage."""
    first = [network.encoder, network.decoder, network.head]
    return first, [network.second_encoder, network.second_decoder, network.second_head]
