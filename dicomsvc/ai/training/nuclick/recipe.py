"""The recipe of the network for clicks."""

from pydantic import Field

from dicomsvc.ai.training.recipe import DataPath, LabelledFolder, Schedule, Share, Slide


class WeighedFolder(LabelledFolder):
    """``weight`` is how often a picture is taken from here, beside those of the other folders."""

    weight: float = Field(default=1.0, gt=0)


class Recipe(Schedule):
    """``rendered`` is the share of pictures that are rendered, ``nothing`` of clicks that hit no nucleus.

    ``diameter`` is the range of median sizes of real nuclei, ``clicks`` how many are made in one picture.
    """

    fluorescence: DataPath
    labelled: tuple[WeighedFolder, ...] = Field(min_length=1)
    slide: tuple[Slide, ...] = ()
    rendered: Share = 0.5
    nothing: Share = 0.1
    diameter: tuple[float, float] = (8.0, 20.0)
    clicks: int = Field(default=4, ge=1, le=64)
