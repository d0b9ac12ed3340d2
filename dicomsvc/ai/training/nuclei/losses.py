"""How far the network's answer is from what it should be."""

import torch
from torch import Tensor
from torch.nn import functional

_DICE_SMOOTH = 1.0
_NEAR_WEIGHT = 4.0


def loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return cross entropy and Dice of the mask, L1 of the distance, weighted L2 of the centre, as one number.

    Both are ``(n, 3, rows, columns)``; centres cover little, so that their surroundings weigh more.
    """
    mask, distance, centre = logits.unbind(1)
    wanted_mask, wanted_distance, wanted_centre = wanted.unbind(1)
    found = torch.sigmoid(mask)
    both = (found * wanted_mask).sum(dim=(1, 2))
    all_of = found.sum(dim=(1, 2)) + wanted_mask.sum(dim=(1, 2))
    dice = 1 - ((2 * both + _DICE_SMOOTH) / (all_of + _DICE_SMOOTH)).mean()
    entropy = functional.binary_cross_entropy_with_logits(mask, wanted_mask)
    near = 1 + _NEAR_WEIGHT * wanted_mask
    distance_error = ((torch.sigmoid(distance) - wanted_distance).abs() * near).mean()
    centre_error = ((torch.sigmoid(centre) - wanted_centre).square() * (1 + 9 * wanted_centre)).mean()
    return entropy + 0.5 * dice + distance_error + 4 * centre_error
