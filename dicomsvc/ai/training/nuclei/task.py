"""Data, network and loss of the nuclei network, and the model folder that is made of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from torch import Tensor, nn
from torch.utils.data import Dataset

from dicomsvc.ai.training.export import onnx_bytes, write_model
from dicomsvc.ai.training.networks.lite0 import imagenet_weights
from dicomsvc.ai.training.networks.lite0_unet import Lite0UNet
from dicomsvc.ai.training.nuclei.blending import blend
from dicomsvc.ai.training.nuclei.crops import Crops, training_data, validation_data
from dicomsvc.ai.training.nuclei.losses import loss
from dicomsvc.ai.training.nuclei.recipe import Recipe
from dicomsvc.ai.training.nuclei.shipped import Shipped
from dicomsvc.ai.training.nuclei.targets import CHANNELS
from dicomsvc.ai.training.recipe import Schedule
from dicomsvc.ai.training.task import Example, Task
from dicomsvc.ai.training.weights import read_weights
from dicomsvc.errors import BadRequest

_TILE = 1024
_MANIFEST = Path(__file__).with_name("nuclei.toml")


class NucleiTask(Task):
    name: ClassVar[str] = "nuclei"
    recipe_type: ClassVar[type[Schedule]] = Recipe
    recipe: Recipe

    def network(self) -> nn.Module:
        network = Lite0UNet(len(CHANNELS), detail=self.recipe.detail)
        weights = imagenet_weights()
        if weights is not None:
            network.encoder.load_imagenet(weights)
        return network

    def examples(self, first: int, length: int) -> Dataset[Example]:
        renderer, labelled = training_data(self.recipe)
        if not labelled and self.recipe.rendered < 1:
            raise BadRequest("no labelled picture is left to train on; all are held out")
        return Crops(self.recipe, renderer, labelled, first, length)

    def validation(self) -> Sequence[Example]:
        return validation_data(self.recipe)

    def loss(self, answer: Tensor, wanted: Tensor) -> Tensor:
        return loss(answer, wanted)

    def load(self, file: Path) -> nn.Module:
        network = super().load(file)
        if self.recipe.start is not None and isinstance(network, Lite0UNet):
            blend(network, read_weights(self.recipe.start), self.recipe.blend)
        return network

    def write_model(self, network: nn.Module, folder: Path) -> None:
        shipped = Shipped(network, len(CHANNELS))
        weights = onnx_bytes(shipped, CHANNELS, _TILE)
        write_model(folder, weights, CHANNELS, _MANIFEST.read_text(encoding="utf-8"), _TILE)
