"""The losses of HoVer-Net: mask, distances and their slopes, types (section 3.1.1 of the paper)."""

import torch
from torch import Tensor
from torch.nn import functional

from dicomsvc.ai.training.hover.recipe import Recipe
from dicomsvc.ai.training.hover.slopes import slope
from dicomsvc.ai.training.segmentation.losses import dice
from dicomsvc.ai.training.segmentation.pictures import UNKNOWN_CLASS

_SMOOTH = 1.0


def loss(answer: Tensor, wanted: Tensor, recipe: Recipe) -> Tensor:
    """Return one number; ``answer`` is as `HoverNet` gives it, ``wanted`` as `targets` does, with a batch axis."""
    mask, types, known = wanted[:, 0], wanted[:, 3], wanted[:, 4]
    total = _mask(answer[:, 0], mask, known)
    found, right = answer[:, 1:3], wanted[:, 1:3]
    total = total + recipe.distance_weight * _mean((found - right).square().mean(dim=1), known)
    # Slopes count inside of things alone, and there they tell one thing from the next.
    steep = sum((slope(found[:, at], at) - slope(right[:, at], at)).square() for at in (0, 1))
    total = total + recipe.slope_weight * _mean(torch.as_tensor(steep), mask * known)
    if recipe.channels:
        classes = torch.where(known > 0, types, torch.full_like(types, UNKNOWN_CLASS)).long()
        entropy = functional.cross_entropy(answer[:, 3:], classes, ignore_index=UNKNOWN_CLASS, reduction="none")
        total = total + recipe.type_weight * (
            _mean(entropy, (classes != UNKNOWN_CLASS).float()) + dice(answer[:, 3:], classes)
        )
    return total


def _mask(logits: Tensor, wanted: Tensor, known: Tensor) -> Tensor:
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    found = torch.sigmoid(logits) * known
    both = (found * wanted).sum()
    overlap = (2 * both + _SMOOTH) / (found.sum() + (wanted * known).sum() + _SMOOTH)
    return _mean(entropy, known) + 1 - overlap


def _mean(values: Tensor, heavy: Tensor) -> Tensor:
    return (values * heavy).sum() / heavy.sum().clamp_min(1.0)
