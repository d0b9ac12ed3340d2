"""The stream of training crops: crop ``i`` of a seed is always the same, whoever makes it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
    labelled: Sequence["Source"]
    first: int
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        return _pair(self.sample(index))

    def sample(self, index: int) -> Labelled:
        """Return a crop with its labels, for tasks that want other targets."""
        cv2.setNumThreads(1)
        chance = np.random.default_rng((self.recipe.seed, self.first + index))
        if chance.random() < self.recipe.rendered:
            sample = self.renderer.render(chance)
        else:
            sample = crop(self._picture(chance), self.recipe.side, chance, self.recipe.diameter)
            if chance.random() < _RESTAINED:
                sample = restained(sample, chance)
        return replace(sample, pixels=photographed(sample.pixels, chance))

    def _picture(self, chance: np.random.Generator) -> Labelled:
        shares = np.array([source.share for source in self.labelled])
        source = self.labelled[int(chance.choice(len(shares), p=shares / shares.sum()))]
        return source.pictures[int(chance.integers(len(source.pictures)))]


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """The labelled pictures of one folder, and how often crops are cut from them."""

    pictures: Sequence[Labelled]
    share: float


def training_data(recipe: Recipe) -> tuple[Renderer, list[Source]]:
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
    found = []
    for each in recipe.labelled:
        pictures = list(read_folder(each.folder, each.groups, each.training_folds()))
        pictures = [sample for sample in pictures if sample.labels.any()]
        if pictures:
            found.append(Source(pictures, each.share or len(pictures)))
    return Renderer(bank, backdrops, recipe.side), found


def validation_data(recipe: Recipe) -> list[Example]:
    """Return the pictures of the folds that are looked at while training, with targets."""
    return [_pair(sample) for sample in validation_pictures(recipe)]


def validation_pictures(recipe: Recipe) -> list[Labelled]:
    """Return the pictures of the folds that are looked at while training, scaled to nuclei of usual size."""
    found = []
    for each in recipe.labelled:
        folds = [] if each.validation_fold is None else [each.validation_fold]
        for sample in read_folder(each.folder, each.groups, folds):
            if sample.labels.any():
                scaled = resized(sample, _USUAL_DIAMETER / sample.diameter())
                rows, columns = (max(MULTIPLE, size // MULTIPLE * MULTIPLE) for size in scaled.labels.shape)
                if min(scaled.labels.shape) >= MULTIPLE:
                    found.append(_cut(scaled, rows, columns))
    return found


def _cut(sample: Labelled, rows: int, columns: int) -> Labelled:
    part = np.s_[:rows, :columns]
    unknown = None if sample.unknown is None else sample.unknown[part]
    return Labelled(sample.name, sample.pixels[part], sample.labels[part], unknown)


def _pair(sample: Labelled) -> Example:
    image = np.ascontiguousarray(sample.pixels.transpose(2, 0, 1))
    return torch.from_numpy(image), torch.from_numpy(targets(sample.labels, sample.unknown))
