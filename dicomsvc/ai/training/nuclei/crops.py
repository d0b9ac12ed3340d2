"""The stream of training crops: crop ``i`` of a seed is always the same, whoever makes it."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from dicomsvc.ai.training import backdrop
from dicomsvc.ai.training.augmentation import crop, photographed, restained
from dicomsvc.ai.training.bank import make_bank
from dicomsvc.ai.training.labelled import Labelled, read_folder, resized
from dicomsvc.ai.training.networks.lite0 import MULTIPLE
from dicomsvc.ai.training.nuclei.recipe import Recipe
from dicomsvc.ai.training.nuclei.targets import targets
from dicomsvc.ai.training.rendering import Renderer
from dicomsvc.ai.training.task import Example
from dicomsvc.ai.training.unlabelled import regions
from dicomsvc.errors import BadRequest

_RESTAINED = 0.5
_USUAL_DIAMETER = 13.0


@dataclass(frozen=True, slots=True, eq=False)
class Crops(Dataset[Example]):
    """``length`` crops from number ``first`` on: image ``(3, side, side)`` UINT8 and targets as float32."""

    recipe: Recipe
    renderer: Renderer
    labelled: Sequence[Labelled]
    first: int
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        cv2.setNumThreads(1)
        chance = np.random.default_rng((self.recipe.seed, self.first + index))
        if chance.random() < self.recipe.rendered:
            sample = self.renderer.render(chance)
        else:
            source = self.labelled[int(chance.integers(len(self.labelled)))]
            sample = crop(source, self.recipe.side, chance, self.recipe.diameter)
            if chance.random() < _RESTAINED:
                sample = restained(sample, chance)
        return _pair(Labelled(sample.name, photographed(sample.pixels, chance), sample.labels))


def training_data(recipe: Recipe) -> tuple[Renderer, list[Labelled]]:
    """Read all that crops are made of.

    Raises
    ------
    BadRequest
        When a folder or a slide is not there, or no nucleus can be cut out.
    """
    cv2.setNumThreads(1)
    bank = make_bank(read_folder(recipe.fluorescence))
    if recipe.rendered > 0 and not len(bank):
        raise BadRequest(f"{recipe.fluorescence} has no nucleus that is whole and large enough to be rendered")
    backdrops = [backdrop.of_picture(pixels) for slide in recipe.slide for pixels in regions(slide, recipe.seed)]
    labelled = [
        sample
        for each in recipe.labelled
        for sample in read_folder(each.folder, each.groups, each.training_folds())
        if sample.labels.any()
    ]
    return Renderer(bank, backdrops, recipe.side), labelled


def validation_data(recipe: Recipe) -> list[Example]:
    """Return the pictures of the folds that are looked at while training, scaled to nuclei of usual size."""
    found = []
    for each in recipe.labelled:
        folds = [] if each.validation_fold is None else [each.validation_fold]
        for sample in read_folder(each.folder, each.groups, folds):
            if sample.labels.any():
                scaled = resized(sample, _USUAL_DIAMETER / sample.diameter())
                rows, columns = (max(MULTIPLE, size // MULTIPLE * MULTIPLE) for size in scaled.labels.shape)
                if min(scaled.labels.shape) >= MULTIPLE:
                    found.append(
                        _pair(Labelled(sample.name, scaled.pixels[:rows, :columns], scaled.labels[:rows, :columns]))
                    )
    return found


def _pair(sample: Labelled) -> Example:
    image = np.ascontiguousarray(sample.pixels.transpose(2, 0, 1))
    return torch.from_numpy(image), torch.from_numpy(targets(sample.labels))
