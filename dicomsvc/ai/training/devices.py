"""Where a network is trained: the processor, a GPU, or several; and whether in half precision."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dicomsvc.errors import BadRequest


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """``several`` GPUs share each batch when there are more than one; ``half`` is what mixed precision computes in."""

    device: torch.device
    several: int = 1
    half: torch.dtype | None = None
    _scaler: list[torch.amp.GradScaler] = field(default_factory=list)

    def spread(self, network: nn.Module) -> nn.Module:
        """Return what answers a batch: the network itself, or copies of it on all GPUs."""
        return nn.DataParallel(network, range(self.several)) if self.several > 1 else network

    def precision(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, self.half, enabled=self.half is not None)

    def brought(self, values: Tensor) -> Tensor:
        return values.to(self.device, non_blocking=True)

    def descend(self, error: Tensor, network: nn.Module, optimizer: torch.optim.Optimizer, largest: float) -> None:
        """Take one step down the gradient, whose norm is cut at ``largest``.

        Half precision with five bits of exponent (float16) needs the error to be scaled, which the scaler does; a step
        whose gradients are not finite is then left out.
        """
        scaler = self.scaler()
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(error).backward()  # type: ignore[no-untyped-call]
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(network.parameters(), largest)
        scaler.step(optimizer)
        scaler.update()

    def scaler(self) -> torch.amp.GradScaler:
        if not self._scaler:
            self._scaler.append(torch.amp.GradScaler(self.device.type, enabled=self.half is torch.float16))
        return self._scaler[0]

    def state(self) -> dict[str, Any]:
        return self.scaler().state_dict()

    def resume(self, state: Mapping[str, Any]) -> None:
        if state:
            self.scaler().load_state_dict(dict(state))


def choose(device: str = "auto", mixed: bool | None = None) -> Place:
    """Return where to train.

    ``auto`` is all GPUs of this machine, else the processor; any other text is PyTorch's name of a device. Mixed
    precision is used on GPUs unless told otherwise: bfloat16 where they have it, else float16. On a processor it is
    bfloat16, and slower on most.

    Raises
    ------
    BadRequest
        When there is no such device.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    wanted = ("cuda" if gpus else "cpu") if device == "auto" else device
    try:
        found = torch.device(wanted)
        torch.zeros(1, device=found)
    except (RuntimeError, AssertionError) as error:
        raise BadRequest(f"device {wanted!r} cannot be used here: {str(error).splitlines()[0]}") from error
    half = None
    if mixed or (mixed is None and found.type == "cuda"):
        half = torch.float16 if found.type == "cuda" and not torch.cuda.is_bf16_supported() else torch.bfloat16
    return Place(found, gpus if wanted == "cuda" else 1, half)
