"""What can be trained: a task brings its data, its network, its loss and how a model folder is made of it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from dicomsvc.ai.training.recipe import Schedule

Example = tuple[Tensor, Tensor]
"""What goes into the network and what is to come out, without the batch axis."""
_ENCODER_SHARE: Final = 0.3


class Task(ABC):
    """One training task for one recipe."""

    name: ClassVar[str]
    """As ``task`` in a recipe has it."""
    recipe_type: ClassVar[type[Schedule]]

    def __init__(self, recipe: Any) -> None:
        self.recipe = recipe

    @abstractmethod
    def network(self) -> nn.Module:
        """Return the network as a run begins with it, from pretrained weights where there are some."""

    @abstractmethod
    def examples(self, first: int, length: int) -> Dataset[Example]:
        """Return ``length`` examples from number ``first`` on; example ``i`` of a recipe is always the same.

        Raises
        ------
        BadRequest
            When data is missing or cannot be used.
        """

    @abstractmethod
    def validation(self) -> Sequence[Example]:
        """Return examples that choose the best weights; none is allowed."""

    @abstractmethod
    def loss(self, answer: Tensor, wanted: Tensor) -> Tensor:
        """Return how far the network's answer for a batch is from what is wanted, as one number."""

    @abstractmethod
    def write_model(self, network: nn.Module, folder: Path) -> None:
        """Write a trained network as a new model folder, whose name is the model's.

        Raises
        ------
        InvalidModel
            When the folder is there already, or ONNX Runtime answers otherwise than PyTorch.
        """

    def groups(self, network: nn.Module) -> list[dict[str, Any]]:
        """Return parameters with their ``share`` of the learning rate, which is less for a pretrained ``encoder``."""
        encoder = getattr(network, "encoder", None)
        if encoder is None:
            return [{"params": list(network.parameters()), "share": 1.0}]
        pretrained = list(encoder.parameters())
        known = {id(each) for each in pretrained}
        rest = [each for each in network.parameters() if id(each) not in known]
        return [{"params": pretrained, "share": _ENCODER_SHARE}, {"params": rest, "share": 1.0}]

    def load(self, file: Path) -> nn.Module:
        """Return a network with the weights that a run wrote, ready to answer."""
        network = self.network()
        network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True)["network"])
        return network.eval()
