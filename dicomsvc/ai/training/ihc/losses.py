"""How far the network's answer is from what it should be."""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

_DICE_SMOOTH: Final = 1.0
_NEAR_WEIGHT: Final = 3.0
_BOUNDARY_WEIGHT: Final = 2.0
_POSITIVE_WEIGHT: Final = 1.5
_CHANNEL_WEIGHT: Final = 4.0
_OUTSIDE: Final = 0.05
"""How much a pixel outside of nuclei counts for POSITIVE: nothing is asked there, but it should be calm."""


def loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return one number for answers and targets ``(n, 9, rows, columns)`` in the order of `targets.CHANNELS`."""
    mask, distance, centre, boundary, positive = logits[:, :5].unbind(1)
    is_mask, is_distance, is_centre, is_boundary, is_positive = wanted[:, :5].unbind(1)
    found = torch.sigmoid(mask)
    both = (found * is_mask).sum(dim=(1, 2))
    dice = 1 - ((2 * both + _DICE_SMOOTH) / (found.sum((1, 2)) + is_mask.sum((1, 2)) + _DICE_SMOOTH)).mean()
    near = 1 + _NEAR_WEIGHT * is_mask
    entropy = functional.binary_cross_entropy_with_logits
    inside = is_mask + _OUTSIDE * (1 - is_mask)
    dyes = (torch.sigmoid(logits[:, 5:]) - wanted[:, 5:]).abs()
    return (
        entropy(mask, is_mask)
        + 0.5 * dice
        + ((torch.sigmoid(distance) - is_distance).abs() * near).mean()
        + 4 * ((torch.sigmoid(centre) - is_centre).square() * (1 + 9 * is_centre)).mean()
        + entropy(boundary, is_boundary, pos_weight=torch.tensor(_BOUNDARY_WEIGHT))
        + _POSITIVE_WEIGHT * (entropy(positive, is_positive, reduction="none") * inside).sum() / inside.sum()
        + _CHANNEL_WEIGHT * (dyes * near[:, None]).mean()
    )
