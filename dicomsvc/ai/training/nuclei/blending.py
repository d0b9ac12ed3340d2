"""The mean of a network's weights before and after further training.

Such a mean keeps more of what the first weights knew than either does (Wortsman et al., CVPR 2022).
"""

from collections.abc import Mapping

from torch import Tensor

from dicomsvc.ai.training.networks.lite0_unet import Lite0UNet

_CORRECTION = "detail.out."


def blend(network: Lite0UNet, before: Mapping[str, Tensor], share: float) -> None:
    """Give a network ``share`` of the weights that it was begun with.

    Maps that ``before`` lacks stay as they are. Without a branch at full resolution ``before`` made no correction, so
    that of the network becomes smaller by ``share``.
    """
    for name, value in network.state_dict().items():
        if not value.is_floating_point():
            continue
        if name in before:
            first = before[name]
            part = value[: len(first)]
            if part.shape == first.shape:
                part.lerp_(first, share)
        elif name.startswith(_CORRECTION):
            value.mul_(1 - share)
