"""How HoVer-Net's distances change from pixel to pixel, and what that tells about where one thing ends."""

import torch
from torch import Tensor, nn
from torch.nn import functional

_REACH = 3
_ACROSS = (0.25, 0.5, 0.25)


def slope(plane: Tensor, axis: int) -> Tensor:
    """Return half of how much a plane ``(n, rows, columns)`` rises over three pixels, across (0) or down (1).

    It is the mean of the three pixels ahead less that of the three behind, smoothed along the other axis.
    """
    step = [-1 / _REACH] * _REACH + [0.0] + [1 / _REACH] * _REACH
    kernel = torch.outer(torch.tensor(_ACROSS), torch.tensor(step)) / 2
    kernel = (kernel if axis == 0 else kernel.T)[None, None].to(plane)
    rows, columns = kernel.shape[2] // 2, kernel.shape[3] // 2
    padded = functional.pad(plane[:, None], (columns, columns, rows, rows), mode="replicate")
    return functional.conv2d(padded, kernel)[:, 0]


class Energy(nn.Module):
    """Distances ``(n, 2, rows, columns)`` → a map with a peak in each thing and a valley where two touch.

    As in the paper a fall of the distances, from 1 at the end of one thing to -1 at the beginning of the next, marks
    the border. The fall is taken as it is, not as a share of the image's largest: a tile comes out as the whole slide
    would. It lowers a hill that the distances themselves make, highest in a thing's middle.
    """

    def forward(self, distances: Tensor) -> Tensor:
        falls = torch.stack([-slope(distances[:, axis], axis) for axis in (0, 1)]).amax(dim=0).clamp(0, 1)
        hill = 1 - distances.abs().amax(dim=1).clamp(0, 1)
        return (0.25 + 0.75 * hill) * (1 - falls)
