"""Data, network and loss of a patch classifier, and the model folder that is made of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from dicomsvc.ai.training.export import onnx_bytes, write_model
from dicomsvc.ai.training.networks.classifiers import classifier
from dicomsvc.ai.training.patches.crops import Crops, balanced, example
from dicomsvc.ai.training.patches.description import TENSOR, manifest_text
from dicomsvc.ai.training.patches.measuring import measure_and_note
from dicomsvc.ai.training.patches.pixels import read_patches
from dicomsvc.ai.training.patches.recipe import Recipe
from dicomsvc.ai.training.patches.sources import find_patches, limited
from dicomsvc.ai.training.patches.splitting import Part, split
from dicomsvc.ai.training.recipe import Schedule
from dicomsvc.ai.training.task import Example, Task
from dicomsvc.errors import BadRequest

_VALIDATION: Final = 180
_MAX_BATCH: Final = 32


class PatchTask(Task):
    name: ClassVar[str] = "patches"
    recipe_type: ClassVar[type[Schedule]] = Recipe
    recipe: Recipe

    def network(self) -> nn.Module:
        return classifier(self.recipe.network, len(self.recipe.classes))

    def examples(self, first: int, length: int) -> Dataset[Example]:
        recipe = self.recipe
        patches = limited(split(find_patches(recipe), recipe)[Part.TRAINING], recipe.most, recipe.seed)
        labels = np.array([each.label for each in patches], np.int64)
        there = set(labels.tolist())
        absent = [each.label for number, each in enumerate(recipe.ordered) if number not in there]
        if absent:
            raise BadRequest(f"no patch to train on is left of class {', '.join(absent)}: all are held out")
        pixels = read_patches(patches, recipe.side, recipe.mpp)
        return Crops(recipe, pixels, labels, balanced(labels, recipe.balance), first, length)

    def validation(self) -> Sequence[Example]:
        recipe = self.recipe
        held = split(find_patches(recipe), recipe)[Part.VALIDATION]
        patches = limited(held, max(1, _VALIDATION // len(recipe.classes)), recipe.seed)
        pixels = read_patches(patches, recipe.side, recipe.mpp)
        return [example(each, patch.label) for each, patch in zip(pixels, patches, strict=True)]

    def loss(self, answer: Tensor, wanted: Tensor) -> Tensor:
        return functional.cross_entropy(answer, wanted)

    def write_model(self, network: nn.Module, folder: Path) -> None:
        """Write the model folder; with a test part measure it there, and write the report beside the folder."""
        side, classes = self.recipe.side, len(self.recipe.classes)
        weights = onnx_bytes(_Shipped(network), [TENSOR], side)
        text = manifest_text(self.recipe)
        write_model(folder, weights, [TENSOR], text, side, shape=(classes,), max_batch=_MAX_BATCH)
        measure_and_note(self.recipe, folder)


class _Shipped(nn.Module):
    """A classifier between bytes: ``(n, rows, columns, 3)`` in, ``(n, classes)`` out, 255 for certain."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        logits = self.network(image.permute(0, 3, 1, 2).float())
        return (torch.floor(torch.softmax(logits, dim=1) * 255.0 + 0.5).to(torch.uint8),)
