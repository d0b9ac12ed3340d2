"""The stream of clicks to train on: click ``i`` of a seed is always the same, whoever makes it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from dicomsvc.ai.training import backdrop
from dicomsvc.ai.training.augmentation import crop, photographed, restained
from dicomsvc.ai.training.bank import make_bank
from dicomsvc.ai.training.labelled import Labelled, read_folder, resized
from dicomsvc.ai.training.nuclick.clicking import Click, crop_at, drawn_click
from dicomsvc.ai.training.nuclick.recipe import Recipe, WeighedFolder
from dicomsvc.ai.training.rendering import Renderer
from dicomsvc.ai.training.task import Example
from dicomsvc.ai.training.unlabelled import regions
from dicomsvc.errors import BadRequest

_RESTAINED: Final = 0.3
_USUAL_DIAMETER: Final = 13.0
_CLICKS_TO_VALIDATE: Final = 8
_PICTURE, _CLICK = 0, 1


@dataclass(frozen=True, slots=True, eq=False)
class Sources:
    """``real`` holds the pictures of each folder, ``weights`` how often a folder is taken (their sum is 1)."""

    renderer: Renderer
    real: Sequence[Sequence[Labelled]]
    weights: Sequence[float]


@dataclass(frozen=True, slots=True, eq=False)
class Clicks(Dataset[Example]):
    """``length`` clicks from number ``first`` on: ``(5, side, side)`` UINT8, and the mask ``(1, side, side)``.

    Several clicks that follow each other are in the same picture, which is made once.
    """

    recipe: Recipe
    sources: Sources
    first: int
    length: int
    _latest: dict[int, Labelled] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        cv2.setNumThreads(1)
        number = self.first + index
        picture = number // self.recipe.clicks
        if picture not in self._latest:
            self._latest.clear()
            self._latest[picture] = self._picture(np.random.default_rng((self.recipe.seed, _PICTURE, picture)))
        sample = self._latest[picture]
        chance = np.random.default_rng((self.recipe.seed, _CLICK, number))
        return example(sample, drawn_click(sample, self.recipe.nothing, chance), self.recipe.side)

    def _picture(self, chance: np.random.Generator) -> Labelled:
        sources = self.sources
        if chance.random() < self.recipe.rendered:
            sample = sources.renderer.render(chance)
        else:
            folder = sources.real[int(chance.choice(len(sources.real), p=sources.weights))]
            source = folder[int(chance.integers(len(folder)))]
            sample = crop(source, sources.renderer.side, chance, self.recipe.diameter)
            if chance.random() < _RESTAINED:
                sample = restained(sample, chance)
        return Labelled(sample.name, photographed(sample.pixels, chance), sample.labels)


def example(sample: Labelled, click: Click, side: int) -> Example:
    """Return what goes into the network for a click, and the mask that is to come out."""
    pixels, maps, wanted = crop_at(sample, click, side)
    both = np.concatenate([pixels, maps], axis=2).transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(both)), torch.from_numpy(wanted[np.newaxis].astype(np.float32))


def training_data(recipe: Recipe) -> Sources:
    """Read all that pictures are made of.

    Raises
    ------
    BadRequest
        When a folder or a slide is not there, no nucleus can be cut out, or all pictures are held out.
    """
    cv2.setNumThreads(1)
    bank = make_bank(read_folder(recipe.fluorescence))
    if recipe.rendered > 0 and not len(bank):
        raise BadRequest(f"{recipe.fluorescence} has no nucleus that is whole and large enough to be rendered")
    backdrops = [backdrop.of_picture(pixels) for slide in recipe.slide for pixels in regions(slide, recipe.seed)]
    # Twice the crop: clicks lie apart, and most crops are whole.
    renderer = Renderer(bank, backdrops, 2 * recipe.side)
    pairs = [(each.weight, _labelled(each, each.training_folds())) for each in recipe.labelled]
    kept = [(weight, samples) for weight, samples in pairs if samples]
    if not kept and recipe.rendered < 1:
        raise BadRequest("no labelled picture is left to train on; all are held out")
    total = sum(weight for weight, _ in kept)
    return Sources(renderer, [samples for _, samples in kept], [weight / total for weight, _ in kept])


def validation_data(recipe: Recipe) -> list[Example]:
    """Return some clicks on each picture of the folds that are looked at while training, its nuclei of usual size."""
    found = []
    for each in recipe.labelled:
        for sample in _labelled(each, [] if each.validation_fold is None else [each.validation_fold]):
            scaled = resized(sample, _USUAL_DIAMETER / sample.diameter())
            for number in range(_CLICKS_TO_VALIDATE):
                chance = np.random.default_rng((recipe.seed, number))
                found.append(example(scaled, drawn_click(scaled, recipe.nothing, chance), recipe.side))
    return found


def _labelled(folder: WeighedFolder, folds: Sequence[int]) -> list[Labelled]:
    return [sample for sample in read_folder(folder.folder, folder.groups, folds) if sample.labels.any()]
