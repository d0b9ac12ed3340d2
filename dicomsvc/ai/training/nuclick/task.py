"""Data, network and loss of the network for clicks, and the model folder that is made of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from torch import Tensor, nn
from torch.utils.data import Dataset

from dicomsvc.ai.training.export import Shipped, onnx_bytes, write_model
from dicomsvc.ai.training.networks.lite0 import imagenet_weights
from dicomsvc.ai.training.networks.lite0_unet import Lite0UNet
from dicomsvc.ai.training.nuclick.crops import Clicks, training_data, validation_data
from dicomsvc.ai.training.nuclick.losses import loss
from dicomsvc.ai.training.nuclick.recipe import Recipe
from dicomsvc.ai.training.recipe import Schedule
from dicomsvc.ai.training.task import Example, Task

_MANIFEST: Final = Path(__file__).with_name("nuclick.toml")
_INPUTS: Final = {"IMAGE": 3, "GUIDES": 2}
_OUTPUTS: Final = ("MASK",)


class NuclickTask(Task):
    name: ClassVar[str] = "nuclick"
    recipe_type: ClassVar[type[Schedule]] = Recipe
    recipe: Recipe

    def network(self) -> nn.Module:
        network = Lite0UNet(1, more=2)
        weights = imagenet_weights()
        if weights is not None:
            network.encoder.load_imagenet(weights)
        return network

    def examples(self, first: int, length: int) -> Dataset[Example]:
        return Clicks(self.recipe, training_data(self.recipe), first, length)

    def validation(self) -> Sequence[Example]:
        return validation_data(self.recipe)

    def loss(self, answer: Tensor, wanted: Tensor) -> Tensor:
        return loss(answer, wanted)

    def groups(self, network: nn.Module) -> list[dict[str, Any]]:
        # The encoder has two channels that it has never seen: it must learn as fast as the rest.
        return [{"params": list(network.parameters()), "share": 1.0}]

    def write_model(self, network: nn.Module, folder: Path) -> None:
        side = self.recipe.side
        weights = onnx_bytes(Shipped(network, 1), _OUTPUTS, side, _INPUTS)
        manifest = _MANIFEST.read_text(encoding="utf-8").replace("@SIDE@", str(side))
        write_model(folder, weights, _OUTPUTS, manifest, side, _INPUTS)
