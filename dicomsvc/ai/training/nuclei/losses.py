"""How far the network's answer is from what it should be."""

import torch
from torch import Tensor
from torch.nn import functional

_DICE_SMOOTH = 1.0
_NEAR_WEIGHT = 4.0
_BOUNDARY_WEIGHT = 4.0
"""Boundaries cover little: one that is missed costs so much more than one that is made up."""


def loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return cross entropy and Dice of mask and boundary, L1 of the distance, weighted L2 of the centre, as one number.

    ``logits`` are ``(n, 4, rows, columns)``, in ``wanted`` the weight of each pixel follows. Centres cover little, so
    that their surroundings weigh more.
    """
    mask, distance, centre, boundary = logits.unbind(1)
    wanted_mask, wanted_distance, wanted_centre, wanted_boundary, weight = wanted.unbind(1)
    share = weight.mean().clamp_min(1e-3)
    entropy = functional.binary_cross_entropy_with_logits(mask, wanted_mask, weight)
    near = weight * (1 + _NEAR_WEIGHT * wanted_mask)
    distance_error = ((torch.sigmoid(distance) - wanted_distance).abs() * near).mean()
    weighted = weight * (1 + 9 * wanted_centre)
    centre_error = ((torch.sigmoid(centre) - wanted_centre).square() * weighted).mean()
    boundary_error = functional.binary_cross_entropy_with_logits(
        boundary, wanted_boundary, weight * (1 + _BOUNDARY_WEIGHT * wanted_boundary)
    )
    of_pixels = entropy + distance_error + 4 * centre_error + 0.5 * boundary_error
    return of_pixels / share + 0.5 * _dice(torch.sigmoid(mask) * weight, wanted_mask * weight)


def _dice(found: Tensor, wanted: Tensor) -> Tensor:
    both = (found * wanted).sum(dim=(1, 2))
    all_of = found.sum(dim=(1, 2)) + wanted.sum(dim=(1, 2))
    return 1 - ((2 * both + _DICE_SMOOTH) / (all_of + _DICE_SMOOTH)).mean()
