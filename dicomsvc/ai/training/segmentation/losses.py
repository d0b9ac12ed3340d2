"""How far the classes that a network gives pixels are from the right ones."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from dicomsvc.ai.training.segmentation.pictures import UNKNOWN_CLASS

_FOCUS: Final = 2.0
_SMOOTH: Final = 1.0


def loss(logits: Tensor, wanted: Tensor, names: Sequence[str], weights: Sequence[float] = ()) -> Tensor:
    """Return the sum of the named losses over the pixels that are known.

    ``logits`` are ``(n, channels, rows, columns)``, ``wanted`` ``(n, rows, columns)``. ``focal`` is that of Lin et al.
    (ICCV 2017) with gamma 2; ``dice`` is the mean over channels, of all pixels of the batch together.
    """
    classes = wanted.long()
    of_class = torch.tensor(weights, device=logits.device, dtype=logits.dtype) if weights else None
    total = logits.sum() * 0
    if "cross_entropy" in names:
        total = total + _mean(_entropy(logits, classes, of_class), classes, of_class)
    if "focal" in names:
        surely = torch.exp(-_entropy(logits, classes, None))
        total = total + _mean((1 - surely) ** _FOCUS * _entropy(logits, classes, of_class), classes, of_class)
    if "dice" in names:
        total = total + dice(logits, classes, of_class)
    return total


def dice(logits: Tensor, classes: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return 1 less the Dice of each channel, on average; channels that a batch lacks count when they are found."""
    known = (classes != UNKNOWN_CLASS)[:, None]
    found = torch.softmax(logits, dim=1) * known
    right = functional.one_hot(classes.clamp(max=logits.shape[1] - 1), logits.shape[1]).permute(0, 3, 1, 2) * known
    both = (found * right).sum(dim=(0, 2, 3))
    all_of = (found + right).sum(dim=(0, 2, 3))
    each = 1 - (2 * both + _SMOOTH) / (all_of + _SMOOTH)
    return each.mean() if weights is None else (each * weights).sum() / weights.sum()


def _entropy(logits: Tensor, classes: Tensor, weights: Tensor | None) -> Tensor:
    return functional.cross_entropy(logits, classes, weights, ignore_index=UNKNOWN_CLASS, reduction="none")


def _mean(values: Tensor, classes: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean over known pixels, each as heavy as its class; 0 when nothing is known."""
    known = classes != UNKNOWN_CLASS
    heavy = known.to(values.dtype)
    if weights is not None:
        heavy = heavy * weights[classes.clamp(max=len(weights) - 1)]
    return values.sum() / heavy.sum().clamp_min(1e-6)
