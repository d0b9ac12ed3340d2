"""The recipe of a virtual stain."""

from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from dicomsvc.ai.training.recipe import DataPath, Schedule, Strict


def _ordered(part: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= part[0] < part[1] <= 1:
        raise ValueError("must be two shares of the width, the smaller first")
    return part


Part = Annotated[tuple[float, float], AfterValidator(_ordered)]
"""From where to where of a picture's width, 0 to 1."""


class Channel(Strict):
    """A stain to be inferred; ``weight`` is how much more its bright pixels count in the loss."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,15}$")
    label: str = Field(min_length=1, max_length=64)
    stands_for: str = Field(default="", max_length=200)
    colour: tuple[int, int, int] = (255, 255, 255)
    weight: float = Field(default=6.0, ge=0, le=100)


class Pair(Strict):
    """A picture of H&E and others in grey on the same pixel grid, by the channel's name."""

    file: DataPath
    channels: dict[str, DataPath]
    training: Part | None = None
    validation: Part | None = None
    test: Part | None = None


class Recipe(Schedule):
    """``mpp`` is that of the pictures and of the model; ``blocks`` of 1024 pixels are held of each pair's part.

    ``title``, ``summary``, ``limitations``, ``training_data`` and ``dataset`` go into the model's ``model.toml``.
    """

    mpp: float = Field(gt=0.05, lt=10)
    channel: tuple[Channel, ...] = Field(min_length=1, max_length=16)
    pair: tuple[Pair, ...] = Field(min_length=1)
    blocks: int = Field(default=60, ge=1, le=500)
    nuclei: str | None = None
    """The channel that shows nuclei, in which cells are found for measuring; without it no cells are measured."""
    title: str = Field(default="Virtual stains", max_length=64)
    summary: str = "Infers other stains from H&E."
    limitations: str = "Trained on few slides; figures hold for those only."
    training_data: str = "Aligned pictures of one section in two stains."
    licence: str = "none stated"
    dataset: str = Field(default="the recipe's test part", max_length=200)

    @model_validator(mode="after")
    def _named(self) -> "Recipe":
        names = {each.name for each in self.channel}
        if len(names) != len(self.channel):
            raise ValueError("channels must have different names")
        for pair in self.pair:
            if set(pair.channels) != names:
                raise ValueError(f"{pair.file.name} must have a picture for each of {', '.join(sorted(names))}")
            _apart(pair)
        if self.nuclei is not None and self.nuclei not in names:
            raise ValueError(f"nuclei names {self.nuclei}, which is no channel")
        return self


def _apart(pair: Pair) -> None:
    parts = sorted(each for each in (pair.training, pair.validation, pair.test) if each is not None)
    if any(left[1] > right[0] for left, right in pairwise(parts)):
        raise ValueError(f"the parts of {pair.file.name} must not share pixels")
