"""Data, network and loss of a HoVer-Net, and the model folder that is made of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from dicomsvc.ai.training.export import onnx_bytes, write_model
from dicomsvc.ai.training.hover.crops import Crops, read_typed, whole
from dicomsvc.ai.training.hover.losses import loss
from dicomsvc.ai.training.hover.recipe import Recipe
from dicomsvc.ai.training.hover.slopes import Energy
from dicomsvc.ai.training.networks.hovernet import HoverNet
from dicomsvc.ai.training.recipe import Schedule
from dicomsvc.ai.training.segmentation.description import manifest_text
from dicomsvc.ai.training.task import Example, Task

_MASK, _DISTANCE, _CLASS = "MASK", "DISTANCE", "CLASS"
_LEAST: Final = 32
_OBJECTS: Final = ("ANN", "SEG", "SR")
_SETTINGS: Final = {"threshold": 0.5, "split_smoothing_um": 0.4, "split_depth": 0.25}


class HoverTask(Task):
    name: ClassVar[str] = "hover"
    recipe_type: ClassVar[type[Schedule]] = Recipe
    recipe: Recipe

    def network(self) -> nn.Module:
        return HoverNet(self.recipe.channels, self.recipe.encoder)

    def examples(self, first: int, length: int) -> Dataset[Example]:
        recipe = self.recipe
        pictures = [typed for each in recipe.labelled for typed in read_typed(recipe, each, each.training_folds())]
        return Crops.of(recipe, pictures, first, length)

    def validation(self) -> Sequence[Example]:
        found = []
        for each in self.recipe.labelled:
            folds = [] if each.validation_fold is None else [each.validation_fold]
            typed = read_typed(self.recipe, each, folds)
            found += [whole(picture) for picture in typed if min(picture.types.shape) >= _LEAST]
        return found

    def loss(self, answer: Tensor, wanted: Tensor) -> Tensor:
        return loss(answer, wanted, self.recipe)

    def write_model(self, network: nn.Module, folder: Path) -> None:
        tensors = {"mask": _MASK, "distance": _DISTANCE}
        if self.recipe.channels:
            tensors["class"] = _CLASS
        outputs = list(tensors.values())
        weights = onnx_bytes(ShippedHover(network, typed=self.recipe.channels > 0), outputs)
        text = manifest_text(self.recipe, "instances", tensors, _OBJECTS, _SETTINGS)
        write_model(folder, weights, outputs, text, channels={_CLASS: self.recipe.channels})


class ShippedHover(nn.Module):
    """A HoVer-Net between bytes, NHWC: mask, the energy that things are split by, and types where there are some."""

    def __init__(self, network: nn.Module, *, typed: bool) -> None:
        super().__init__()
        self.network = network
        self.energy = Energy()
        self.typed = typed

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        answer = self.network(image.permute(0, 3, 1, 2).float())
        planes = [torch.sigmoid(answer[:, :1]), self.energy(answer[:, 1:3])[:, None]]
        if self.typed:
            planes.append(torch.softmax(answer[:, 3:], dim=1))
        return tuple(torch.floor(each * 255.0 + 0.5).to(torch.uint8).permute(0, 2, 3, 1) for each in planes)
