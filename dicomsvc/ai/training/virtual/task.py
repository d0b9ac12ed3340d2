"""Data, network and loss of a virtual stain, and the model folder that is made of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

from torch import Tensor, nn
from torch.utils.data import Dataset

from dicomsvc.ai.training.export import Shipped, onnx_bytes, write_model
from dicomsvc.ai.training.networks.lite0 import imagenet_weights
from dicomsvc.ai.training.networks.lite0_unet import Lite0UNet
from dicomsvc.ai.training.recipe import Schedule
from dicomsvc.ai.training.task import Example, Task
from dicomsvc.ai.training.virtual.blocks import read_blocks
from dicomsvc.ai.training.virtual.crops import Crops, signal_of, whole
from dicomsvc.ai.training.virtual.description import manifest_text
from dicomsvc.ai.training.virtual.losses import loss
from dicomsvc.ai.training.virtual.measuring import measure_and_note
from dicomsvc.ai.training.virtual.recipe import Recipe
from dicomsvc.errors import BadRequest

_VALIDATION_SIDE: Final = 384
_VALIDATION_BLOCKS: Final = 8


class VirtualTask(Task):
    name: ClassVar[str] = "virtual-if"
    recipe_type: ClassVar[type[Schedule]] = Recipe
    recipe: Recipe

    def network(self) -> nn.Module:
        network = Lite0UNet(len(self.recipe.channel))
        weights = imagenet_weights()
        if weights is not None:
            network.encoder.load_imagenet(weights)
        return network

    def examples(self, first: int, length: int) -> Dataset[Example]:
        blocks = read_blocks(self.recipe, [pair.training for pair in self.recipe.pair], self.recipe.blocks)
        if not blocks:
            raise BadRequest("no training part of any pair has tissue")
        return Crops(self.recipe, blocks, signal_of(blocks), first, length)

    def validation(self) -> Sequence[Example]:
        parts = [pair.validation for pair in self.recipe.pair]
        return [whole(block, _VALIDATION_SIDE) for block in read_blocks(self.recipe, parts, _VALIDATION_BLOCKS)]

    def loss(self, answer: Tensor, wanted: Tensor) -> Tensor:
        return loss(answer, wanted, [each.weight for each in self.recipe.channel])

    def write_model(self, network: nn.Module, folder: Path) -> None:
        """Write the model folder; with a test part measure it there, and write the report beside the folder."""
        names = [each.name.upper() for each in self.recipe.channel]
        weights = onnx_bytes(Shipped(network, len(names)), names)
        write_model(folder, weights, names, manifest_text(self.recipe, names))
        if any(pair.test is not None for pair in self.recipe.pair):
            measure_and_note(self.recipe, folder)
