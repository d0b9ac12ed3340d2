"""How far the network's mask is from the clicked nucleus."""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

_DICE_SMOOTH: Final = 4.0
_INSIDE_WEIGHT: Final = 3.0


def loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return weighted cross entropy and Dice as one number; both are ``(n, 1, rows, columns)``.

    One nucleus covers little of a crop, so its pixels weigh more. Dice is of each crop, smoothed by some pixels, so
    that an empty answer to a click on nothing is a right one.
    """
    weight = 1 + _INSIDE_WEIGHT * wanted
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, weight)
    found = torch.sigmoid(logits)
    both = (found * wanted).sum(dim=(1, 2, 3))
    all_of = found.sum(dim=(1, 2, 3)) + wanted.sum(dim=(1, 2, 3))
    dice = 1 - ((2 * both + _DICE_SMOOTH) / (all_of + _DICE_SMOOTH)).mean()
    return 4 * entropy + dice
