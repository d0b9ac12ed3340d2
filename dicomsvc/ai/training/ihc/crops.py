"""The crops that the IHC network learns from, and rendered pictures with known truth to measure it on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from dicomsvc.ai.training import backdrop
from dicomsvc.ai.training.augmentation import crop
from dicomsvc.ai.training.backdrop import Chance
from dicomsvc.ai.training.bank import make_bank
from dicomsvc.ai.training.ihc.layout import Layout, Layouts, of_picture
from dicomsvc.ai.training.ihc.photograph import photographed
from dicomsvc.ai.training.ihc.recipe import Recipe
from dicomsvc.ai.training.ihc.staining import Stained, stained
from dicomsvc.ai.training.ihc.targets import targets
from dicomsvc.ai.training.labelled import FOLDS, Labelled, read_folder
from dicomsvc.ai.training.task import Example
from dicomsvc.ai.training.unlabelled import regions
from dicomsvc.errors import BadRequest

_VALIDATION_SEED = 1_000_003


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """A rendered picture and all that is known of it."""

    pixels: npt.NDArray[np.uint8]
    layout: Layout
    dyes: Stained

    @property
    def percent_positive(self) -> float:
        """Percentage of the nuclei that can be seen; NaN without any."""
        shown = np.unique(self.layout.labels)
        shown = shown[shown > 0]
        return 100 * float(self.dyes.positive[shown].mean()) if len(shown) else float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class Fields:
    """Renders fields; number ``i`` of a seed is always the same."""

    layouts: Layouts
    labelled: Sequence[Labelled]
    rendered: float
    diameter: tuple[float, float]
    seed: int

    def field(self, number: int) -> Field:
        cv2.setNumThreads(1)
        chance = np.random.default_rng((self.seed, number))
        layout = self._layout(chance)
        dyes = stained(layout, chance)
        return Field(photographed(dyes, chance), layout, dyes)

    def _layout(self, chance: Chance) -> Layout:
        if not self.labelled or chance.random() < self.rendered:
            return self.layouts.made(chance)
        source = self.labelled[int(chance.integers(len(self.labelled)))]
        return of_picture(crop(source, self.layouts.side, chance, self.diameter), chance)


@dataclass(frozen=True, slots=True, eq=False)
class Crops(Dataset[Example]):
    """``length`` crops from number ``first`` on: image ``(3, side, side)`` UINT8 and targets as float32."""

    fields: Fields
    first: int
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        field = self.fields.field(self.first + index)
        image = np.ascontiguousarray(field.pixels.transpose(2, 0, 1))
        return torch.from_numpy(image), torch.from_numpy(targets(field.layout, field.dyes))


def training_fields(recipe: Recipe) -> Fields:
    """Read all that training crops are made of, without what the recipe holds out.

    Raises
    ------
    BadRequest
        When a folder or a slide is not there, or no nucleus can be cut out.
    """
    folds = [fold for fold in range(FOLDS) if fold != recipe.test_fold]
    labelled = [
        sample
        for each in recipe.labelled
        for sample in read_folder(each.folder, each.groups, each.training_folds())
        if sample.labels.any()
    ]
    return _fields(recipe, folds, labelled, recipe.side, recipe.seed)


def held_out_fields(recipe: Recipe, side: int = 512, *, coloured: bool = False) -> Fields:
    """Return pictures of nuclei that the recipe holds out, over backdrops of its slides or made ones.

    With ``coloured`` they are the held-out coloured pictures, real tissue in other dyes.

    Raises
    ------
    BadRequest
        When the recipe holds nothing out.
    """
    if recipe.test_fold is None:
        raise BadRequest("the recipe has no test_fold: all nuclei were trained on")
    labelled = [
        sample
        for each in recipe.labelled
        if coloured and each.test_fold is not None
        for sample in read_folder(each.folder, each.groups, [each.test_fold])
        if sample.labels.any()
    ]
    if coloured and not labelled:
        raise BadRequest("the recipe holds no coloured picture out")
    fields = _fields(recipe, [recipe.test_fold], labelled, side, recipe.seed + 7)
    return replace(fields, rendered=0.0) if coloured else fields


def validation_examples(fields: Fields, count: int) -> list[Example]:
    """Return rendered pictures that training never sees, of the same nuclei."""
    other = Fields(fields.layouts, fields.labelled, fields.rendered, fields.diameter, fields.seed + _VALIDATION_SEED)
    crops = Crops(other, 0, count)
    return [crops[number] for number in range(count)]


def _fields(recipe: Recipe, folds: Sequence[int], labelled: Sequence[Labelled], side: int, seed: int) -> Fields:
    cv2.setNumThreads(1)
    bank = make_bank(read_folder(recipe.fluorescence, folds=folds))
    if not len(bank):
        raise BadRequest(f"{recipe.fluorescence} has no nucleus that is whole and large enough to be rendered")
    backdrops = [backdrop.of_picture(pixels) for slide in recipe.slide for pixels in regions(slide, recipe.seed)]
    return Fields(Layouts(bank, backdrops, side), labelled, recipe.rendered, recipe.diameter, seed)
