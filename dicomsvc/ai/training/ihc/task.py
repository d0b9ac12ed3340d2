"""Data, network and loss of the IHC network, and the model folder that is made of it."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Final

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from dicomsvc.ai.training.export import Shipped, onnx_bytes, write_model
from dicomsvc.ai.training.ihc.crops import Crops, Fields, training_fields, validation_examples
from dicomsvc.ai.training.ihc.losses import loss
from dicomsvc.ai.training.ihc.recipe import Recipe
from dicomsvc.ai.training.ihc.targets import CHANNELS
from dicomsvc.ai.training.networks.lite0 import imagenet_weights
from dicomsvc.ai.training.networks.lite0_unet import Lite0UNet
from dicomsvc.ai.training.recipe import Schedule
from dicomsvc.ai.training.task import Example, Task

_SURELY: Final = 1.0
"""How much less POSITIVE counts than MASK, as a logit."""
_MANIFEST = Path(__file__).with_name("ihc.toml")


class Joined(nn.Module):
    """The network as it ships: what is surely positive is nucleus.

    Smooth round nuclei that are brown all over look like red cells to MASK, but not to POSITIVE.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        logits = self.network(image)
        mask, positive = (CHANNELS.index(name) for name in ("MASK", "POSITIVE"))
        surely = torch.maximum(logits[:, mask], logits[:, positive] - _SURELY)
        return torch.cat([surely[:, None], logits[:, mask + 1 :]], dim=1)


class IhcTask(Task):
    name: ClassVar[str] = "ihc"
    recipe_type: ClassVar[type[Schedule]] = Recipe
    recipe: Recipe

    def network(self) -> nn.Module:
        network = Lite0UNet(len(CHANNELS))
        weights = imagenet_weights()
        if weights is not None:
            network.encoder.load_imagenet(weights)
        return network

    @cached_property
    def fields(self) -> Fields:
        return training_fields(self.recipe)

    def examples(self, first: int, length: int) -> Dataset[Example]:
        return Crops(self.fields, first, length)

    def validation(self) -> Sequence[Example]:
        return validation_examples(self.fields, self.recipe.validation)

    def loss(self, answer: Tensor, wanted: Tensor) -> Tensor:
        return loss(answer, wanted)

    def write_model(self, network: nn.Module, folder: Path) -> None:
        weights = onnx_bytes(Shipped(Joined(network), len(CHANNELS)), CHANNELS)
        write_model(folder, weights, CHANNELS, _MANIFEST.read_text(encoding="utf-8"))
