"""Files of weights: those of a run, or of weights alone."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from dicomsvc.errors import BadRequest


def read_weights(file: Path) -> dict[str, Tensor]:
    """Return tensors by name of the ``best.pt`` of a run, or of a file that holds weights alone, as torchvision's do.

    Raises
    ------
    BadRequest
        When it is not there, or is no such file.
    """
    if not file.is_file():
        raise BadRequest(f"{file} does not exist; `start` names the best.pt of a run, or a file of weights")
    try:
        read: Any = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        raise BadRequest(f"{file} is no file of weights that PyTorch wrote") from error
    there = read.get("network", read) if isinstance(read, dict) else {}
    return {name: value for name, value in there.items() if isinstance(value, Tensor)}
