"""The recipe of a patch classifier."""

from typing import Literal

from pydantic import Field, model_validator

from dicomsvc.ai.training.describing import ModelClass
from dicomsvc.ai.training.recipe import DataPath, Schedule, Share, Strict

Network = Literal["efficientnet_lite0", "mobilenet_v2", "resnet18", "resnet34", "vgg16", "plain"]


class PatchClass(ModelClass):
    """A class; ``names`` are what the data call it, its label unless told.

    ``background`` is for glass and everything else that is no tissue: it gets no segment and no share.
    """

    names: tuple[str, ...] = ()
    background: bool = False

    def known_as(self) -> tuple[str, ...]:
        return tuple(name.casefold() for name in (self.names or (self.label,)))


class PatchSource(Strict):
    """Where patches are: in ``slide`` by a ``table`` or by ``outlines``; or pictures in a ``folder`` of each class.

    A table is CSV with the columns ``x``, ``y`` (top left), ``size``, ``class`` and optionally ``prob``, in pixels of
    the slide's finest level; outlines are GeoJSON. ``group`` names the patient: patches of a group are never parted.
    """

    mpp: float = Field(gt=0.05, lt=20)
    slide: DataPath | None = None
    table: DataPath | None = None
    outlines: DataPath | None = None
    folder: DataPath | None = None
    group: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "PatchSource":
        ways = [each for each in (self.table, self.outlines, self.folder) if each is not None]
        if len(ways) != 1 or (self.folder is None) != (self.slide is not None):
            raise ValueError("needs a slide with a table or with outlines, or else a folder")
        return self


class Recipe(Schedule):
    """``side`` is the tile in pixels of ``mpp``; ``core`` the part of it that a cell of the map is.

    ``balance`` is 0 for classes as often as they are, 1 for all equally often. ``gap_um`` lies between parts where one
    slide is cut into blocks of ``block_um``. ``most`` patches of a class are taken.
    """

    mpp: float = Field(gt=0.05, lt=20)
    coarsest_mpp: float | None = Field(default=None, gt=0.05, lt=40)
    core: int | None = Field(default=None, ge=16, le=512)
    network: Network = "efficientnet_lite0"
    classes: tuple[PatchClass, ...] = Field(min_length=2, max_length=200, alias="class")
    source: tuple[PatchSource, ...] = Field(min_length=1)
    balance: Share = 0.5
    most: int = Field(default=1200, ge=1)
    least_probability: Share = 0.0
    validation_share: Share = 0.15
    test_share: Share = 0.25
    block_um: float = Field(default=2000, gt=0)
    gap_um: float = Field(default=100, ge=0)
    covered: Share = 0.75
    """How much of a patch must lie in an outline."""
    only_tissue: bool = True
    title: str = Field(default="Patch classes", max_length=64)
    summary: str = "Tells the class of each patch of a slide."
    intended_use: str = "Research: mapping kinds of tissue and their shares of the area. Not for diagnosis."
    limitations: str = "Measured on what it was trained beside only."
    training_data: str = "A site's own annotations."
    licence: str = "none stated"
    dataset: str = Field(default="the held-out part of the recipe's patches", max_length=200)

    @model_validator(mode="after")
    def _fits(self) -> "Recipe":
        names = [name for each in self.classes for name in each.known_as()]
        if len(set(names)) != len(names):
            raise ValueError("two classes have the same name in the data")
        if sum(each.background for each in self.classes) > 1:
            raise ValueError("one class at most is the background")
        if self.validation_share + self.test_share >= 1:
            raise ValueError("nothing is left to train on")
        if self.core is not None and (self.core > self.side or (self.side - self.core) % 2):
            raise ValueError("core must be smaller than side by an even number")
        return self

    @property
    def overlap(self) -> int:
        return 0 if self.core is None else (self.side - self.core) // 2

    @property
    def ordered(self) -> tuple[PatchClass, ...]:
        """The classes as the network has them: the background first."""
        return tuple(sorted(self.classes, key=lambda each: not each.background))
