"""How far inferred stains are from the true ones."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

_WINDOW: Final = 7
_FLAT: Final = (0.01**2, 0.03**2)
_SQUARE: Final = 4.0
_GRADIENT: Final = 1.0
_STRUCTURE: Final = 0.3


def loss(logits: Tensor, wanted: Tensor, weights: Sequence[float]) -> Tensor:
    """Return L1 and L2 with bright pixels counting ``1 + weight`` times, L1 of gradients, and 1 - SSIM.

    Both are ``(n, channels, rows, columns)``, what is wanted from 0 to 1. SSIM: Wang et al., IEEE TIP 13 (2004), over
    boxes in place of Gaussians.
    """
    found = torch.sigmoid(logits)
    more = torch.tensor(list(weights), dtype=found.dtype)[None, :, None, None]
    difference = (found - wanted).abs()
    error = ((difference + _SQUARE * difference.square()) * (1 + more * wanted)).mean()
    return error + _GRADIENT * _gradient_error(found, wanted) + _STRUCTURE * (1 - similarity(found, wanted)).mean()


def similarity(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the structural similarity of each pixel."""
    mean_found, mean_wanted = _mean(found), _mean(wanted)
    both = _mean(found * wanted) - mean_found * mean_wanted
    of_found = (_mean(found.square()) - mean_found.square()).clamp_min(0)
    of_wanted = (_mean(wanted.square()) - mean_wanted.square()).clamp_min(0)
    level = (2 * mean_found * mean_wanted + _FLAT[0]) / (mean_found.square() + mean_wanted.square() + _FLAT[0])
    return level * (2 * both + _FLAT[1]) / (of_found + of_wanted + _FLAT[1])


def _mean(values: Tensor) -> Tensor:
    return functional.avg_pool2d(values, _WINDOW, stride=1)


def _gradient_error(found: Tensor, wanted: Tensor) -> Tensor:
    difference = found - wanted
    down = (difference[:, :, 1:] - difference[:, :, :-1]).abs().mean()
    across = (difference[:, :, :, 1:] - difference[:, :, :, :-1]).abs().mean()
    return down + across
