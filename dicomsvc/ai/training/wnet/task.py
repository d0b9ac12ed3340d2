"""Data, network and loss of a W-Net, and the model folder that is made of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from dicomsvc.ai.training.export import Shipped, onnx_bytes, write_model
from dicomsvc.ai.training.labelled import Labelled
from dicomsvc.ai.training.networks.wnet import WNet
from dicomsvc.ai.training.nuclei.crops import Crops, training_data, validation_pictures
from dicomsvc.ai.training.recipe import Schedule
from dicomsvc.ai.training.task import Example, Task
from dicomsvc.ai.training.wnet.recipe import Recipe
from dicomsvc.ai.training.wnet.targets import CHANNELS, targets
from dicomsvc.errors import BadRequest

_MANIFEST = Path(__file__).with_name("wnet.toml")


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs(Dataset[Example]):
    """The crops of the task ``nuclei`` with a W-Net's targets."""

    crops: Crops
    recipe: Recipe

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: int) -> Example:
        return _pair(self.crops.sample(index), self.recipe)


def _pair(sample: Labelled, recipe: Recipe) -> Example:
    image = np.ascontiguousarray(sample.pixels.transpose(2, 0, 1))
    return torch.from_numpy(image), torch.from_numpy(targets(sample.labels, recipe, sample.unknown))


def _begin_with_nuclei(network: WNet, file: Path) -> None:
    if not file.is_file():
        raise BadRequest(f"{file} does not exist; `nuclei` names the best.pt of a run of the task nuclei")
    try:
        network.load_nuclei(torch.load(file, map_location="cpu", weights_only=True)["network"])
    except (KeyError, RuntimeError) as error:
        raise BadRequest(f"{file} is not of a run of the task nuclei") from error


class WNetTask(Task):
    name: ClassVar[str] = "wnet"
    recipe_type: ClassVar[type[Schedule]] = Recipe
    recipe: Recipe

    def network(self) -> nn.Module:
        network = WNet()
        network.load_imagenet()
        if self.recipe.nuclei is not None:
            _begin_with_nuclei(network, self.recipe.nuclei)
        if not self.recipe.joint:
            network.hold_first()
        return network

    def examples(self, first: int, length: int) -> Dataset[Example]:
        renderer, labelled = training_data(self.recipe)
        if not labelled and self.recipe.rendered < 1:
            raise BadRequest("no labelled picture is left to train on; all are held out")
        return _Pairs(Crops(self.recipe, renderer, labelled, first, length), self.recipe)

    def validation(self) -> Sequence[Example]:
        return [_pair(sample, self.recipe) for sample in validation_pictures(self.recipe)]

    def loss(self, answer: Tensor, wanted: Tensor) -> Tensor:
        """Return cross entropy of the mask and ``alpha`` times L1 of the density (equation 5)."""
        mask, density, known = wanted.unbind(1)
        entropy = functional.binary_cross_entropy_with_logits(answer[:, 0], mask, known)
        away = ((torch.sigmoid(answer[:, 1]) - density).abs() * known).mean()
        return (entropy + self.recipe.alpha * away) / known.mean().clamp_min(1e-3)

    def write_model(self, network: nn.Module, folder: Path) -> None:
        weights = onnx_bytes(Shipped(network, len(CHANNELS)), CHANNELS)
        write_model(folder, weights, CHANNELS, _MANIFEST.read_text(encoding="utf-8"))
