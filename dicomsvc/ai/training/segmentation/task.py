"""Data, network and loss of a network for the class of each pixel, and the model folder that is made of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from dicomsvc.ai.training.export import TILE, onnx_bytes, write_model
from dicomsvc.ai.training.networks.segmenters import segmenter
from dicomsvc.ai.training.recipe import Schedule
from dicomsvc.ai.training.segmentation.crops import Crops, example, trimmed
from dicomsvc.ai.training.segmentation.description import manifest_text
from dicomsvc.ai.training.segmentation.losses import loss
from dicomsvc.ai.training.segmentation.pictures import Picture, read_pictures
from dicomsvc.ai.training.segmentation.recipe import Recipe
from dicomsvc.ai.training.task import Example, Task

TENSOR: Final = "PROBABILITY"
_MULTIPLE: Final = 32
_OBJECTS: Final = ("SEG", "SR")


class SegmentationTask(Task):
    name: ClassVar[str] = "segmentation"
    recipe_type: ClassVar[type[Schedule]] = Recipe
    recipe: Recipe

    def network(self) -> nn.Module:
        return segmenter(self.recipe.decoder, self.recipe.encoder, self.recipe.channels)

    def examples(self, first: int, length: int) -> Dataset[Example]:
        recipe = self.recipe
        pictures = [
            picture for each in recipe.labelled for picture in read_pictures(recipe, each, each.training_folds())
        ]
        return Crops.of(recipe, pictures, first, length)

    def validation(self) -> Sequence[Example]:
        found = []
        for each in self.recipe.labelled:
            folds = [] if each.validation_fold is None else [each.validation_fold]
            found += [_whole(picture) for picture in read_pictures(self.recipe, each, folds) if _is_enough(picture)]
        return found

    def loss(self, answer: Tensor, wanted: Tensor) -> Tensor:
        return loss(answer, wanted, self.recipe.losses, self.recipe.weights)

    def write_model(self, network: nn.Module, folder: Path) -> None:
        shipped = ShippedClasses(network)
        weights = onnx_bytes(shipped, [TENSOR])
        text = manifest_text(self.recipe, "segmentation", {"probability": TENSOR}, _OBJECTS)
        write_model(folder, weights, [TENSOR], text, shape=(TILE, TILE, self.recipe.channels))


class ShippedClasses(nn.Module):
    """A network between bytes, NHWC: 255 in a channel is certainty of its class."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        likely = torch.softmax(self.network(image.permute(0, 3, 1, 2).float()), dim=1)
        return (torch.floor(likely * 255.0 + 0.5).to(torch.uint8).permute(0, 2, 3, 1),)


def _is_enough(picture: Picture) -> bool:
    return min(picture.classes.shape) >= _MULTIPLE


def _whole(picture: Picture) -> Example:
    part = trimmed(picture.classes.shape, _MULTIPLE)
    return example(picture.pixels[part], picture.classes[part].copy())
